//! Target `scope_simulated`: as `queue_simulated`, in [`IoContext::scope`], on borrowed buffers,
//! left by return and by panic.
//!
//! What must hold beside: a scope is left only when the kernel is finished with every buffer; where
//! waiting and `io_destroy` fail, it is left by the end of the process alone.

use super::layer::{Pool, Run};
use super::memory::{Buffer, Buffers};
use super::operation::{Ledger, Op};
use super::{Filters, Kernel, Killed, Script, judge, report};
use crate::divergence::{Verdict, ensure};
use crate::input::Source;
use linux_aio::{Errno, IoContext, Scope, ScopeError, Slot};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::sync::Once;

/// Operations at a time. More than a scope queues before it submits by itself.
const SLOTS: usize = 80;
/// Buffers of a scope.
const BUFFERS: usize = 90;

/// A panic that leaves a scope on purpose.
struct Left;

/// Has panics that leave a scope on purpose not printed.
pub fn hide_panics() {
    static HIDDEN: Once = Once::new();
    HIDDEN.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<Left>() && !info.payload().is::<Killed>() {
                usual(info);
            }
        }));
    });
}

/// Buffers that are used again and again.
struct Reused<'b>(Vec<&'b mut [u8]>);

impl<'b> Pool<&'b mut [u8]> for Reused<'b> {
    fn take(&mut self, _: &mut Source<'_>) -> Option<&'b mut [u8]> {
        self.0.pop()
    }

    fn give_back(&mut self, buffers: Vec<&'b mut [u8]>) {
        self.0.extend(buffers);
    }
}

/// Runs the steps of an input over a kernel with a script. Gives how many operations that were.
pub fn run(steps: &[u8], script: Script) -> Verdict<u64> {
    hide_panics();
    let mut source = Source::new(steps);
    let kernel = super::kernel(script);
    let _entered = kernel.enter();
    let (mut ledger, all) = (Ledger::new(kernel.clone()), Buffers::default());
    let asked = 1 + source.below(SLOTS) as u32;
    let Ok(mut context) = IoContext::new(asked) else { return Ok(0) };
    context.use_ring(!source.once_in(4));
    while !source.is_empty() {
        let mut buffers: Vec<Buffer> = (0..BUFFERS).map(|i| all.make(i * 3)).collect();
        let left = one_scope(&mut source, &kernel, &mut ledger, &mut context, &mut buffers)?;
        ledger.forget();
        if left == Way::Killed {
            // The end of the process.
            context.into_raw();
            judge(kernel.end())?;
            return Ok(ledger.operations);
        }
        judge(kernel.check())?;
        let held = kernel.in_flight();
        ensure(held == 0, || format!("a scope was left with {held} operations in the kernel"))?;
        if kernel.contexts() == 0 {
            // It was destroyed, since waiting failed.
            break;
        }
    }
    drop(context);
    judge(kernel.end())?;
    Ok(ledger.operations)
}

/// How a scope was left.
#[derive(PartialEq, Eq)]
enum Way {
    Finished,
    Killed,
}

fn one_scope(
    source: &mut Source<'_>,
    kernel: &Kernel,
    ledger: &mut Ledger,
    context: &mut IoContext,
    buffers: &mut [Buffer],
) -> Verdict<Way> {
    let mut pool = Reused(buffers.iter_mut().map(AsMut::as_mut).collect());
    let mut slots = [const { Slot::new() }; SLOTS];
    let (count, mut fatal) = (1 + source.below(SLOTS), false);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut run = Run::new(kernel, ledger);
        linux_aio::scope(context, &mut slots[..count], |io| {
            inside(source, &mut run, io, &mut pool)?;
            fatal = leave(source, kernel);
            Ok(())
        })
    }));
    kernel.filter(Filters::default());
    match outcome {
        Ok(Ok(verdict)) => verdict.map(|()| Way::Finished),
        Ok(Err(ScopeError::InFlight(count))) => {
            Err(report(format!("{count} operations in flight between scopes")))
        }
        Ok(Err(error)) => Err(report(error.to_string())),
        Err(panic) if panic.is::<Left>() => Ok(Way::Finished),
        Err(panic) if panic.is::<Killed>() => {
            ensure(fatal, || "the process was killed for nothing".into())?;
            Ok(Way::Killed)
        }
        Err(panic) => resume_unwind(panic),
    }
}

fn inside<'b>(
    source: &mut Source<'_>,
    run: &mut Run<'_>,
    io: &Scope<Op<&'b mut [u8]>>,
    pool: &mut Reused<'b>,
) -> Verdict {
    if io.capacity() % 2 == 0 {
        run.make_descriptor(&io)?;
    }
    for _ in 0..300 {
        if source.is_empty() || source.once_in(64) {
            break;
        }
        run.step(source, &mut { io }, pool)?;
    }
    match source.below(4) {
        0 => run.drain(&mut { io }, pool),
        1 => {
            // Also where waiting fails; but who dies while he panics aborts.
            panic_any(Left)
        }
        _ => Ok(()),
    }
}

/// What the kernel refuses when a scope is left. `true` if that may be fatal.
fn leave(source: &mut Source<'_>, kernel: &Kernel) -> bool {
    let errnos = [Errno::EPERM, Errno::ENOSYS, Errno::EINVAL];
    let mut filters = Filters::default();
    if source.once_in(4) {
        filters.getevents = Some(source.pick(&errnos));
    }
    if source.once_in(4) {
        filters.cancel = Some(source.pick(&[Errno::EPERM, Errno::ENOSYS]));
    }
    let fatal = filters.getevents.is_some() || filters.cancel.is_some();
    if source.once_in(2) {
        filters.destroy = Some(source.pick(&errnos));
    }
    kernel.filter(filters);
    fatal && filters.destroy.is_some()
}
