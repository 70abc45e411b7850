//! The futures of a local driver.

use super::meter::downcast;
use super::queued::Ended;
use super::state::GivenUp;
use super::{Handle, Inner};
use crate::driver::batching::Decision;
use crate::driver::held::{Erased, Held};
use crate::driver::timed_out::TimedOut;
use crate::driver::users_code::catch_and_forget;
use crate::driver::{InBox, InHeld};
use crate::{Errno, Operation};
use core::fmt;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::panic::resume_unwind;

/// An operation as a future, from [`LocalDriver::perform`](super::LocalDriver::perform). It gives
/// the result and the operation, with its buffer.
///
/// It starts when it is polled first. Dropped before that, it does nothing; dropped later, it
/// leaves the operation to the driver: a POLL is cancelled, others run to their end, and their
/// buffers are dropped then.
///
/// It stays on its thread:
///
/// ```compile_fail,E0277
/// use linux_aio::{LocalDriver, op::Read};
///
/// let driver = LocalDriver::new(1).unwrap();
/// let file = std::fs::File::open("/dev/zero").unwrap();
/// let read = driver.perform(Read::new(file, vec![1; 64], 0));
/// std::thread::spawn(move || drop(read));
/// ```
///
/// # Panics
///
/// [`poll`](Future::poll) panics if the future has given its result already, or if the future was
/// polled before a fork and is polled again in the child.
#[must_use = "a future does nothing unless it is polled"]
pub struct LocalFuture<O> {
    pub(super) inner: Handle,
    phase: Phase<O>,
}

enum Phase<O> {
    New(Held<O>),
    /// The driver has it, at this entry.
    Started(usize),
    Finished,
}

// Nothing is pinned: the operation has memory of its own, where it stays.
impl<O> Unpin for LocalFuture<O> {}

impl<O> LocalFuture<O> {
    pub(super) fn new(inner: Handle, op: Held<O>) -> Self {
        Self { inner, phase: Phase::New(op) }
    }
}

impl<O: Operation + 'static> LocalFuture<O> {
    /// Gives the operation to the driver. Returns whether it may have ended, or the operation if
    /// the driver takes none.
    #[inline(always)]
    fn start(&mut self, waker: &Waker) -> Result<bool, InHeld<O>> {
        // The clone may panic. Until then the future keeps its operation.
        let waker = waker.clone();
        let op = self.take_op();
        if let Err(errno) = self.inner.check_process() {
            // Not dropped: the clone may belong to a runtime of the parent's.
            mem::forget(waker);
            return Err((Err(errno), op));
        }
        let started = {
            let state = &mut *self.inner.state.borrow_mut();
            let op = if state.is_plain() { op.erase() } else { self.inner.start_rarely(op) };
            state.start(op, waker)
        };
        let (entry, decision) = match started {
            Ok(started) => started,
            Err((errno, op, waker)) => {
                catch_and_forget(|| drop(waker));
                return Err((Err(errno), downcast(op)));
            }
        };
        self.phase = Phase::Started(entry);
        match decision {
            Decision::Now => _ = self.inner.turn(),
            // A step is coming, unless nobody but futures run any.
            Decision::WithNextStep if self.inner.is_hosted() && !self.inner.turning.get() => {}
            Decision::AfterReadyTasks | Decision::WithNextStep => self.inner.turn_later(),
        }
        // If a step has ended it all the same, it has called the waker.
        Ok(decision == Decision::Now || self.inner.is_left_alone())
    }

    /// Takes the operation of a future that has not started.
    pub(super) fn take_op(&mut self) -> Held<O> {
        match mem::replace(&mut self.phase, Phase::Finished) {
            Phase::New(op) => op,
            _ => unreachable!("only the first poll takes it"),
        }
    }

    pub(super) fn is_new(&self) -> bool {
        matches!(self.phase, Phase::New(_))
    }

    /// Leaves the operation to the driver, since its deadline has passed. Returns its outcome if it
    /// has just ended.
    pub(super) fn give_up(&mut self) -> Result<InHeld<O>, TimedOut<O>> {
        let Phase::Started(entry) = self.phase else {
            unreachable!("a future that is pending has started")
        };
        self.inner.assert_parent();
        self.phase = Phase::Finished;
        let mut actions = self.inner.take_actions();
        let given_up = self.inner.state.borrow_mut().give_up(entry, &mut actions);
        self.inner.run_actions(actions);
        match given_up {
            GivenUp::Ended(ended) => Ok(outcome(ended)),
            GivenUp::NotAdmitted(op) => Err(TimedOut::new(Some(downcast::<O>(op).into_inner()))),
            GivenUp::Left => {
                // Not now: the task has asked for a bound, and `io_submit` has none.
                self.inner.turn_later();
                Err(TimedOut::new(None))
            }
        }
    }
}

impl Inner {
    /// Takes an operation of a driver that measures, or takes no more operations.
    #[cold]
    fn start_rarely<O: Operation + 'static>(&self, op: Held<O>) -> Held<dyn Erased> {
        if self.measures.get() { self.meter.measure(op) } else { op.erase() }
    }

    /// Panics in a forked child.
    ///
    /// There is no better answer there: the kernel may be using the buffer, and nobody in the child
    /// would wake the task.
    #[inline(always)]
    fn assert_parent(&self) {
        assert!(
            self.check_process().is_ok(),
            "the operation was started before fork(): its future completes in the parent only"
        );
    }

    /// Has `waker` called when the operation ends. Returns `true` if it may have ended meanwhile.
    fn wait(&self, entry: usize, waker: &Waker) -> bool {
        if !self.state.borrow().wakes(entry, waker) {
            // The clone is users' code. It may turn, and so end the operation.
            let waker = waker.clone();
            let unused = self.state.borrow_mut().set_waker(entry, waker);
            catch_and_forget(|| drop(unused));
        } else if !self.is_left_alone() {
            return false;
        }
        if self.is_left_alone() {
            self.turn();
        }
        true
    }
}

impl<O: Operation + 'static> Future for LocalFuture<O> {
    type Output = (Result<u32, Errno>, O);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_held(cx).map(|(result, op)| (result, op.into_inner()))
    }
}

impl<O: Operation + 'static> LocalFuture<O> {
    /// Polls the future, and leaves the operation in its box.
    #[inline]
    pub(crate) fn poll_boxed(&mut self, cx: &mut Context<'_>) -> Poll<InBox<O>> {
        self.poll_held(cx).map(|(result, op)| (result, op.into_box()))
    }

    #[inline(always)]
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<InHeld<O>> {
        let perhaps_ended = match self.phase {
            Phase::New(_) => match self.start(cx.waker()) {
                Ok(perhaps_ended) => perhaps_ended,
                Err(refused) => return Poll::Ready(refused),
            },
            Phase::Started(entry) => {
                self.inner.assert_parent();
                let ended = self.inner.state.borrow().has_ended(entry);
                ended || self.inner.wait(entry, cx.waker())
            }
            Phase::Finished => panic!("an operation's future was polled after its end"),
        };
        let Phase::Started(entry) = self.phase else {
            unreachable!("a future that is pending has started")
        };
        if !perhaps_ended {
            return Poll::Pending;
        }
        // Users' code has run since, which may have forked.
        self.inner.assert_parent();
        let Some(ended) = self.inner.state.borrow_mut().take_end(entry) else {
            return Poll::Pending;
        };
        self.phase = Phase::Finished;
        Poll::Ready(outcome(ended))
    }
}

/// Returns the outcome of an operation, or unwinds with its panic.
#[inline(always)]
fn outcome<O: 'static>(ended: Ended) -> InHeld<O> {
    match ended {
        Ended::Done { result, op } => (result, downcast(op)),
        Ended::Panicked { payload, op } => {
            // Its drop must not panic while this one unwinds.
            catch_and_forget(|| drop(op));
            resume_unwind(payload)
        }
    }
}

impl<O> Drop for LocalFuture<O> {
    fn drop(&mut self) {
        let Phase::Started(entry) = self.phase else { return };
        // In a forked child the operation is left to the parent.
        if self.inner.check_process().is_err() {
            return;
        }
        let mut actions = self.inner.take_actions();
        let turns = self.inner.state.borrow_mut().abandon(entry, &mut actions);
        self.inner.run_actions(actions);
        if turns {
            self.inner.turn();
        }
    }
}

impl<O> fmt::Debug for LocalFuture<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::New(_) => "new",
            Phase::Started(_) => "started",
            Phase::Finished => "finished",
        };
        f.debug_struct("LocalFuture").field("phase", &phase).finish_non_exhaustive()
    }
}

/// The end of a local driver as a future, from [`LocalDriver::close`](super::LocalDriver::close).
/// It is ready at once in a forked child.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::LocalDriver;
///
/// let driver = LocalDriver::new(8)?;
/// // It needs a handle that goes on with the work.
/// driver.block_on(driver.clone().close());
/// # Ok(()) }
/// ```
#[must_use = "a future does nothing unless it is polled"]
pub struct LocalClose {
    pub(super) inner: Handle,
    /// Which of those who wait this is.
    closer: u64,
}

impl LocalClose {
    pub(super) fn new(inner: Handle) -> Self {
        let mut closer = 0;
        if inner.check_process().is_ok() {
            closer = inner.state.borrow_mut().close();
        }
        Self { inner, closer }
    }
}

impl Future for LocalClose {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // A forked child has nothing to wait for.
        if self.inner.check_process().is_err() {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        let unused = self.inner.state.borrow_mut().await_end(self.closer, waker);
        catch_and_forget(|| drop(unused));
        let drained = self.inner.state.borrow().is_drained();
        if drained || self.inner.is_left_alone() {
            self.inner.turn();
        }
        let calls = self.inner.threads.poll_calls(cx);
        if self.inner.state.borrow().destroyed { calls } else { Poll::Pending }
    }
}

impl Drop for LocalClose {
    fn drop(&mut self) {
        if self.inner.check_process().is_ok() {
            let unused = self.inner.state.borrow_mut().forget_closer(self.closer);
            catch_and_forget(|| drop(unused));
        }
    }
}

impl fmt::Debug for LocalClose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalClose").finish_non_exhaustive()
    }
}
