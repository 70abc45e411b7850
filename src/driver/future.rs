//! The futures of a driver.

use super::entry::{EntryRef, Held};
use super::state::GivenUp;
use super::timed_out::TimedOut;
use super::tracing::Span;
use super::users_code::catch_and_forget;
use super::{Driver, Handle};
use crate::{Errno, Operation};
use alloc::boxed::Box;
use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
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
    /// The operation's. It is this future's but while the phase is `Started`, and not there any
    /// more once it is `Finished`.
    entry: EntryRef,
    phase: Phase,
    span: Span,
    op: PhantomData<O>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The operation is this future's.
    New,
    /// The driver has it.
    Started,
    Finished,
}

/// Tells what a poll has found that found no outcome at first.
enum Waited {
    /// The waker will be called.
    Pending,
    Ended,
    /// The driver does not take the operation, which is still the future's.
    Refused(Errno),
}

impl<O> OpFuture<O> {
    pub(super) fn is_new(&self) -> bool {
        self.phase == Phase::New
    }
}

// Nothing is pinned: the operation has memory of its own, where it stays.
impl<O> Unpin for OpFuture<O> {}

impl<O: Operation + Send + 'static> OpFuture<O> {
    /// Performs an operation that is in its place already.
    #[inline(always)]
    pub(crate) fn new(driver: &Driver, op: Held<O>) -> Self {
        let shared = driver.shared.clone();
        let entry = op.share();
        // It is this future's from now on.
        mem::forget(op);
        Self { shared, entry, phase: Phase::New, span: Span::new(), op: PhantomData }
    }

    /// Starts the operation, or sets the waker of one that has started.
    #[inline(always)]
    fn wait(&mut self, waker: &Waker) -> Waited {
        match self.phase {
            // The clone may panic. Until then the future keeps its operation.
            Phase::New => self.start(waker.clone()),
            Phase::Started => self.wait_on(waker),
            Phase::Finished => polled_after_end(),
        }
    }

    /// Has `waker` called when the operation ends.
    #[cold]
    fn wait_on(&mut self, waker: &Waker) -> Waited {
        in_parent_only(self.shared.check_process());
        if !self.will_wake(waker) {
            self.set_waker(waker);
        }
        self.look()
    }

    /// Returns whether the operation has ended by now.
    #[inline(always)]
    fn look(&self) -> Waited {
        if self.entry.has_ended() { Waited::Ended } else { Waited::Pending }
    }

    /// Gives the operation to the driver.
    ///
    /// A function of its own, so that a poll which finds the outcome saves no registers for it.
    #[inline(never)]
    fn start(&mut self, waker: Waker) -> Waited {
        // The clone of the span may panic. Until then the future keeps its operation.
        let traced = self.span.traced();
        // SAFETY: It has not started, so the operation is this future's.
        unsafe { self.entry.trace(traced) };
        let mut state = match self.shared.lock() {
            Ok(state) => state,
            Err(errno) => return refused(errno, waker),
        };
        if let Some(errno) = state.refusal() {
            drop(state);
            return refused(errno, waker);
        }
        self.phase = Phase::Started;
        let decision = state.start(self.entry, waker);
        drop(state);
        if !self.shared.submit(decision) {
            return Waited::Pending;
        }
        // The event loop has run here, and so have users' wakers.
        in_parent_only(self.shared.check_process());
        self.look()
    }

    /// Replaces the waker, unless the operation has just ended.
    fn set_waker(&mut self, waker: &Waker) {
        let waker = waker.clone();
        in_parent_only(
            self.shared.with_state(|state, deferred| state.set_waker(self.entry, waker, deferred)),
        );
    }

    /// Takes the operation, which is this future's.
    ///
    /// # Safety
    /// The future has not started, or its operation has ended or was never admitted.
    #[inline(always)]
    unsafe fn take_op(&mut self) -> Held<O> {
        debug_assert!(self.phase != Phase::Finished);
        self.phase = Phase::Finished;
        // SAFETY: The promise of the caller. It is called once, as the phase says.
        unsafe { self.entry.hold() }
    }
}

impl<O: Operation + Send + 'static> Future for OpFuture<O> {
    type Output = (Result<u32, Errno>, O);

    #[inline(always)]
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
        if self.phase != Phase::Started || !self.entry.has_ended() {
            match self.wait(cx.waker()) {
                Waited::Pending => return Poll::Pending,
                Waited::Ended => {}
                Waited::Refused(errno) => {
                    self.span.ended(Err(errno));
                    // SAFETY: The driver has not taken it.
                    return output(Err(errno), unsafe { self.take_op() });
                }
            }
        }
        in_parent_only(self.shared.check_process());
        // SAFETY: It has ended.
        let (result, op) = unsafe { self.finish() };
        output(result, op)
    }

    /// Returns whether the end of the operation calls this waker, or one that does the same. Mostly
    /// it does, and a clone is saved.
    fn will_wake(&self, waker: &Waker) -> bool {
        let _state = in_parent_only(self.shared.lock());
        self.entry.will_wake(waker)
    }

    /// Takes the outcome.
    ///
    /// # Safety
    /// The operation has ended.
    #[inline(always)]
    unsafe fn finish(&mut self) -> InHeld<O> {
        let entry = self.entry;
        if entry.is_measured.get() {
            self.polled();
        }
        let result = entry.result();
        // SAFETY: The promise of the caller.
        let op = unsafe { self.take_op() };
        if entry.has_panicked() {
            go_on_panicking(op, entry);
        }
        self.span.ended(result);
        (result, op)
    }

    /// Ends the measurement of the operation.
    #[cold]
    fn polled(&self) {
        in_parent_only(self.shared.lock()).polled(self.entry);
    }

    /// Takes the operation of a future that has not started, since its deadline has passed.
    pub(super) fn refuse_new(&mut self) -> O {
        assert!(self.is_new(), "only a future that has not started is refused");
        self.span.left("deadline");
        // SAFETY: It has not started.
        unsafe { self.take_op() }.into_inner()
    }

    /// Leaves the operation to the driver, since its deadline has passed. If it has just completed,
    /// returns that.
    pub(super) fn give_up(&mut self) -> Result<(Result<u32, Errno>, O), TimedOut<O>> {
        assert!(self.phase == Phase::Started, "a future that is pending has started");
        let (entry, phase) = (self.entry, &mut self.phase);
        let given_up = self.shared.with_state(|state, deferred| {
            let given_up = state.give_up(entry, deferred);
            // At once: what is deferred may unwind, and then this future is dropped.
            *phase = match given_up {
                GivenUp::Ended => Phase::Started,
                GivenUp::NotAdmitted => Phase::New,
                GivenUp::Left => Phase::Finished,
            };
            given_up
        });
        match in_parent_only(given_up) {
            GivenUp::Ended => {
                // SAFETY: It has ended.
                let (result, op) = unsafe { self.finish() };
                Ok((result, op.into_inner()))
            }
            GivenUp::NotAdmitted => {
                // SAFETY: It was never admitted, and the driver has forgotten it.
                let op = unsafe { self.take_op() };
                self.span.left("deadline");
                Err(TimedOut::new(Some(op.into_inner())))
            }
            GivenUp::Left => {
                self.span.left("deadline");
                Err(TimedOut::new(None))
            }
        }
    }
}

/// Gives an operation back that the driver does not take.
#[cold]
fn refused(errno: Errno, waker: Waker) -> Waited {
    catch_and_forget(|| drop(waker));
    Waited::Refused(errno)
}

#[cold]
fn polled_after_end() -> ! {
    panic!("an operation's future was polled after its end")
}

/// Panics with the payload of an operation's own panic.
#[cold]
fn go_on_panicking<O>(op: Held<O>, entry: EntryRef) -> ! {
    let payload = entry.take_panic();
    // Its drop must not panic while this one unwinds. The entry goes with it.
    catch_and_forget(|| drop(op));
    match payload {
        Some(payload) => resume_unwind(payload),
        None => unreachable!("an operation that has panicked has a payload"),
    }
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
        match mem::replace(&mut self.phase, Phase::Finished) {
            // SAFETY: It has not started, so the operation is this future's, which is dropped.
            Phase::New => drop(unsafe { self.entry.hold::<O>() }),
            Phase::Started => {
                let entry = self.entry;
                // In a forked child the operation is left to the parent.
                let _ = self.shared.with_state(|state, deferred| {
                    // SAFETY: This is its future, which has started it and is dropped.
                    unsafe { state.abandon(entry, deferred) }
                });
                self.span.left("dropped");
            }
            Phase::Finished => {}
        }
    }
}

impl<O> Drop for OpFuture<O> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.phase != Phase::Finished {
            self.leave();
        }
    }
}

impl<O> fmt::Debug for OpFuture<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::New => "new",
            Phase::Started => "started",
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
