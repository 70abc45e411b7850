//! Target `queue_simulated`: sequences of push, submit, wait, look, cancel and drop on a [`Queue`]
//! over a simulated kernel, whose script comes from the input, too.
//!
//! What must hold: whatever the kernel does, each operation completes once, whole, as the kernel
//! has done it, and not before; strays are counted and ignored; only errors that must come out do;
//! buffers are dropped once, when the kernel is finished; where `io_destroy` fails they stay.

use super::layer::{Pool, Run};
use super::memory::{Buffer, Buffers};
use super::operation::{Ledger, Op};
use super::{Filters, Kernel, Script, judge, report};
use crate::divergence::{Verdict, ensure};
use crate::input::Source;
use linux_aio::{Errno, IoContext, Queue};

/// Operations at a time, at most.
const MOST: usize = 48;
/// The length of most buffers is below this.
const LONGEST: usize = 300;

/// Buffers that are made when they are needed, and dropped.
pub(super) struct Fresh<'a>(pub(super) &'a Buffers);

impl Pool<Buffer> for Fresh<'_> {
    fn take(&mut self, source: &mut Source<'_>) -> Option<Buffer> {
        // Rarely a long one: that is slow.
        let times = if source.once_in(16) { 16 } else { 1 };
        Some(self.0.make(source.below(LONGEST) * times))
    }

    fn give_back(&mut self, buffers: Vec<Buffer>) {
        drop(buffers);
    }
}

/// Runs the steps of an input over a kernel with a script. Gives how many operations that were.
pub fn run(steps: &[u8], script: Script) -> Verdict<u64> {
    let mut source = Source::new(steps);
    let kernel = super::kernel(script);
    let _entered = kernel.enter();
    let (mut ledger, buffers) = (Ledger::new(kernel.clone()), Buffers::default());
    while !source.is_empty() {
        if !one_queue(&mut source, &kernel, &mut ledger, &buffers)? {
            break;
        }
    }
    judge(kernel.end())?;
    Ok(ledger.operations)
}

fn make(source: &mut Source<'_>) -> Option<Queue<Op<Buffer>>> {
    let capacity = 1 + source.below(MOST) as u32;
    if source.once_in(2) {
        return Queue::with_capacity(capacity).ok();
    }
    // More than there is room for in the kernel, perhaps without a ring.
    let mut context = IoContext::new(1 + source.below(capacity as usize) as u32).ok()?;
    context.use_ring(source.once_in(2));
    Queue::new(context, capacity).ok()
}

/// `false` where its context is left.
fn one_queue(
    source: &mut Source<'_>,
    kernel: &Kernel,
    ledger: &mut Ledger,
    buffers: &Buffers,
) -> Verdict<bool> {
    let Some(mut queue) = make(source) else { return Ok(true) };
    let mut run = Run::new(kernel, ledger);
    if queue.capacity() % 2 == 0 {
        run.make_descriptor(&&mut queue)?;
    }
    for _ in 0..500 {
        if source.is_empty() || source.once_in(128) {
            break;
        }
        if source.once_in(16) {
            ready(source, &mut run, &mut queue)?;
        } else {
            run.step(source, &mut &mut queue, &mut Fresh(buffers))?;
        }
    }
    if source.once_in(4) {
        return end(source, kernel, ledger, queue, buffers);
    }
    kernel.calm();
    run.drain(&mut &mut queue, &mut Fresh(buffers))?;
    let count = buffers.count();
    ensure(count == 0, || format!("{count} buffers are left"))?;
    drop(queue);
    ensure(kernel.contexts() == 0, || "a dropped queue left its context".into())?;
    Ok(true)
}

/// A completion in its slot: taken, pushed again, or dropped.
fn ready(source: &mut Source<'_>, run: &mut Run<'_>, queue: &mut Queue<Op<Buffer>>) -> Verdict {
    let polled = queue.ready().or_else(|error| run.could_not_poll(error.errno()).map(|()| None));
    let Some(mut ready) = polled? else { return run.found_nothing(&queue) };
    let (token, result) = (ready.token(), ready.result());
    run.ledger.complete(Some(token), result, ready.op())?;
    run.over(token);
    match source.below(4) {
        0 => {
            let number = run.ledger.number();
            ready.op_mut().number = number;
            let token = ready.push_again();
            run.ledger.gave(number, Some(token));
        }
        1 => drop(ready),
        _ => drop(ready.take()),
    }
    Ok(())
}

/// Drops a queue with what is in it, perhaps where `io_destroy` fails.
fn end(
    source: &mut Source<'_>,
    kernel: &Kernel,
    ledger: &mut Ledger,
    queue: Queue<Op<Buffer>>,
    buffers: &Buffers,
) -> Verdict<bool> {
    let (there, fails) = (buffers.count(), source.once_in(2));
    let errnos = [Errno::EPERM, Errno::ENOSYS, Errno::EINVAL];
    let destroy = fails.then(|| source.pick(&errnos));
    kernel.filter(Filters { destroy, ..Filters::default() });
    drop(queue);
    ledger.forget();
    let left = if fails { there } else { 0 };
    ensure(buffers.count() == left, || format!("{} buffers are left of {there}", buffers.count()))?;
    kernel.calm();
    match (fails, kernel.contexts()) {
        (true, 1) | (false, 0) => Ok(!fails),
        (_, contexts) => Err(report(format!("{contexts} contexts are left"))),
    }
}
