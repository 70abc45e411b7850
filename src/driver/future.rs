//! The futures of a driver.

use super::Handle;
use super::held::Held;
use super::queued_operation::{Ended, Sent};
use super::state::GivenUp;
use super::timed_out::TimedOut;
use super::tracing::{Span, downcast, erase};
use super::users_code::{Payload, catch_and_forget};
use crate::{Errno, Operation};
use alloc::boxed::Box;
use core::fmt;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::panic::resume_unwind;

/// The output of a future, with the operation where it is.
pub(crate) type InHeld<O> = (Result<u32, Errno>, Held<O>);

/// The output of a future, with the operation in its box.
pub(crate) type InBox<O> = (Result<u32, Errno>, Box<O>);

/// An operation as a future, from [`Driver::perform`](super::Driver::perform). It gives the result
/// and the operation, with its buffer.
///
/// It starts when it is polled first. Dropped before that, it does nothing; dropped later, it
/// leaves the operation to the driver: a POLL is cancelled, others run to their end, and their
/// buffers are dropped then. [`timeout`](Self::timeout) ends the future of an operation that hangs.
///
/// # Panics
///
/// [`poll`](Future::poll) panics if the future has given its result already, or if the future was
/// polled before a fork and is polled again in the child. [`Driver`](super::Driver#forks) says why.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Driver, op::Read};
/// use std::fs::File;
///
/// let driver = Driver::on_thread(32)?;
/// let read = || std::io::Result::Ok(Read::new(File::open("/dev/zero")?, vec![1; 64], 0));
/// let (unwanted, wanted) = (driver.perform(read()?), driver.perform(read()?));
/// drop(unwanted); // It was never polled, so it never started.
/// let (result, read) = pollster::block_on(wanted);
/// assert_eq!((result?, read.buf), (64, vec![0; 64]));
/// # Ok(()) }
/// ```
#[must_use = "a future does nothing unless it is polled"]
pub struct OpFuture<O> {
    pub(super) shared: Handle,
    phase: Phase<O>,
    span: Span,
}

enum Phase<O> {
    New(Held<O>),
    /// The driver has it, at this entry.
    Started(usize),
    Finished,
}

impl<O> OpFuture<O> {
    pub(super) fn new(shared: Handle, op: Held<O>) -> Self {
        Self { shared, phase: Phase::New(op), span: Span::new() }
    }

    /// Sets the phase once the operation has been taken. To assign would also drop the operation.
    #[inline(always)]
    fn set_phase(&mut self, phase: Phase<O>) {
        let before = mem::replace(&mut self.phase, phase);
        debug_assert!(!matches!(before, Phase::New(_)));
        mem::forget(before);
    }

    pub(super) fn is_new(&self) -> bool {
        matches!(self.phase, Phase::New(_))
    }
}

// Nothing is pinned: the operation has memory of its own, where it stays.
impl<O> Unpin for OpFuture<O> {}

impl<O: Operation + Send + 'static> OpFuture<O> {
    /// Gives the operation to the driver.
    #[inline(always)]
    fn start(&mut self, waker: &Waker) -> Poll<InHeld<O>> {
        // The clones may panic. Until then the future keeps its operation.
        let (waker, span) = (waker.clone(), self.span.clone());
        let op = erase(self.take_op(), span);
        let mut state = match self.shared.lock() {
            Ok(state) => state,
            Err(errno) => return Poll::Ready(self.refused(errno, op, waker)),
        };
        if let Some(errno) = state.refusal() {
            drop(state);
            return Poll::Ready(self.refused(errno, op, waker));
        }
        let (entry, decision) = state.start(op, waker);
        drop(state);
        self.set_phase(Phase::Started(entry));
        if self.shared.submit(decision) { self.take_end(entry) } else { Poll::Pending }
    }

    /// Gives an operation back that the driver does not take.
    #[cold]
    fn refused(&self, errno: Errno, op: Held<Sent>, waker: Waker) -> InHeld<O> {
        catch_and_forget(|| drop(waker));
        self.span.ended(Err(errno));
        (Err(errno), downcast(op))
    }

    /// Looks whether the operation has ended inside of `io_submit`.
    #[inline(never)]
    fn take_end(&mut self, entry: usize) -> Poll<InHeld<O>> {
        let ended = in_parent_only(self.shared.lock()).take_end(entry);
        ended.map_or(Poll::Pending, |ended| Poll::Ready(self.finish(ended)))
    }

    /// Takes the operation of a future that has not started.
    fn take_op(&mut self) -> Held<O> {
        match mem::replace(&mut self.phase, Phase::Finished) {
            Phase::New(op) => op,
            _ => unreachable!("only the first poll takes it"),
        }
    }

    /// Has `waker` called when the operation ends, unless it just has.
    #[cold]
    fn wait(&mut self, entry: usize, waker: &Waker) -> Poll<InHeld<O>> {
        let waker = waker.clone();
        let ended = in_parent_only(self.shared.with_state(|state, deferred| {
            state.set_waker(entry, waker, deferred);
            state.take_end(entry)
        }));
        ended.map_or(Poll::Pending, |ended| Poll::Ready(self.finish(ended)))
    }
}

impl<O: Operation + Send + 'static> Future for OpFuture<O> {
    type Output = (Result<u32, Errno>, O);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_as(cx, |result, op| op.take(|op| Poll::Ready((result, op))))
    }
}

impl<O: Operation + Send + 'static> OpFuture<O> {
    /// Polls the future, and leaves the operation where it is.
    #[inline(always)]
    pub(crate) fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<InHeld<O>> {
        self.poll_as(cx, |result, op| Poll::Ready((result, op)))
    }

    /// Polls the future, which gives what `output` makes of the result and the operation.
    #[inline(always)]
    fn poll_as<T>(
        &mut self,
        cx: &mut Context<'_>,
        output: impl FnOnce(Result<u32, Errno>, Held<O>) -> Poll<T>,
    ) -> Poll<T> {
        self.shared.machine.check_executor();
        let span = self.span.clone();
        let _entered = span.enter();
        let ended = match self.phase {
            Phase::New(_) => self.start(cx.waker()),
            Phase::Started(entry) => {
                let mut state = in_parent_only(self.shared.lock());
                if let Some(ended) = state.take_end(entry) {
                    drop(state);
                    let (result, op) = self.finish(ended);
                    return output(result, op);
                }
                // Mostly it is the same one, and its clone is saved.
                let is_set = state.will_wake(entry, cx.waker());
                drop(state);
                if is_set { Poll::Pending } else { self.wait(entry, cx.waker()) }
            }
            Phase::Finished => polled_after_end(),
        };
        match ended {
            Poll::Ready((result, op)) => output(result, op),
            Poll::Pending => Poll::Pending,
        }
    }

    #[inline(always)]
    fn finish(&mut self, ended: Ended) -> InHeld<O> {
        self.set_phase(Phase::Finished);
        let Ended { op, result, panic } = ended;
        if let Some(payload) = panic {
            go_on_panicking(op, *payload);
        }
        self.span.ended(result);
        (result, downcast(op))
    }

    /// Takes the operation of a future that has not started, since its deadline has passed.
    pub(super) fn refuse_new(&mut self) -> O {
        self.span.left("deadline");
        self.take_op().into_inner()
    }

    /// Leaves the operation to the driver, since its deadline has passed. If it has just completed,
    /// returns that.
    pub(super) fn give_up(&mut self) -> Result<(Result<u32, Errno>, O), TimedOut<O>> {
        let Phase::Started(entry) = self.phase else {
            unreachable!("a future that is pending has started")
        };
        let given_up = in_parent_only(
            self.shared.with_state(|state, deferred| state.give_up(entry, deferred)),
        );
        self.phase = Phase::Finished;
        if !matches!(given_up, GivenUp::Ended(_)) {
            self.span.left("deadline");
        }
        match given_up {
            GivenUp::Ended(ended) => {
                let (result, op) = self.finish(ended);
                Ok((result, op.into_inner()))
            }
            GivenUp::NotAdmitted(op) => Err(TimedOut::new(Some(downcast::<O>(op).into_inner()))),
            GivenUp::Left => Err(TimedOut::new(None)),
        }
    }
}

#[cold]
fn polled_after_end() -> ! {
    panic!("an operation's future was polled after its end")
}

/// Panics with the payload of an operation's own panic.
#[cold]
fn go_on_panicking(op: Held<Sent>, payload: Payload) -> ! {
    // Its drop must not panic while this one unwinds.
    catch_and_forget(|| drop(op));
    resume_unwind(payload)
}

/// Unwraps what the driver knows of an operation that has started. Panics in a forked child.
///
/// There is no better answer there. The operation cannot be given back, since the kernel may be
/// using its buffer. A future that stays pending would hang the task: no thread of the child wakes
/// it.
#[inline(always)]
pub(super) fn in_parent_only<R>(known: Result<R, Errno>) -> R {
    match known {
        Ok(known) => known,
        Err(_) => started_before_fork(),
    }
}

#[cold]
fn started_before_fork() -> ! {
    panic!("the operation was started before fork(): its future completes in the parent only")
}

impl<O> OpFuture<O> {
    /// Leaves the operation of a future that is dropped before its end.
    #[cold]
    fn leave(&mut self) {
        // A new one is dropped with the future.
        if let Phase::Started(entry) = self.phase {
            // In a forked child the operation is left to the parent.
            let _ = self.shared.with_state(|state, deferred| state.abandon(entry, deferred));
            self.span.left("dropped");
        }
    }
}

impl<O> Drop for OpFuture<O> {
    #[inline(always)]
    fn drop(&mut self) {
        if !matches!(self.phase, Phase::Finished) {
            self.leave();
        }
    }
}

impl<O> fmt::Debug for OpFuture<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::New(_) => "new",
            Phase::Started(_) => "started",
            Phase::Finished => "finished",
        };
        f.debug_struct("OpFuture").field("phase", &phase).finish_non_exhaustive()
    }
}

/// The end of a driver as a future, from [`Driver::close`](super::Driver::close). It is ready at
/// once in a forked child.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::Driver;
///
/// let driver = Driver::on_thread(32)?;
/// pollster::block_on(driver.close()); // Nothing is in flight now, and the context is gone.
/// # Ok(()) }
/// ```
#[must_use = "a future does nothing unless it is polled"]
pub struct Close {
    pub(super) shared: Handle,
    /// Which of those who wait this is.
    closer: u64,
}

impl Close {
    pub(super) fn new(shared: Handle) -> Self {
        // The parent's driver stays open, and a forked child needs no ticket.
        let closer = shared.with_state(|state, deferred| state.close(deferred)).unwrap_or_default();
        Self { shared, closer }
    }
}

impl Future for Close {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.machine.check_executor();
        let waker = cx.waker().clone();
        let destroyed = self
            .shared
            .with_state(|state, deferred| state.poll_destroyed(self.closer, waker, deferred));
        let calls = self.shared.blocking.poll_calls(self.closer, cx);
        match destroyed {
            // A clone may have forked. A child has nothing to wait for.
            _ if self.shared.check_process().is_err() => Poll::Ready(()),
            Ok(false) => Poll::Pending,
            _ => calls,
        }
    }
}

impl Drop for Close {
    fn drop(&mut self) {
        let _ =
            self.shared.with_state(|state, deferred| state.forget_closer(self.closer, deferred));
        self.shared.blocking.forget_closer(self.closer);
    }
}

impl fmt::Debug for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Close").finish_non_exhaustive()
    }
}
