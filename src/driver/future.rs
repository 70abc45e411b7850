//! The futures of a driver.

use super::Handle;
use super::deadline::Outcome;
use super::held::Held;
use super::queued_operation::Ended;
use super::state::GivenUp;
use super::timed_out::TimedOut;
use super::tracing::{Span, downcast, erase};
use super::users_code::catch_and_forget;
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

    pub(super) fn is_new(&self) -> bool {
        matches!(self.phase, Phase::New(_))
    }
}

// Nothing is pinned: the operation has memory of its own, where it stays.
impl<O> Unpin for OpFuture<O> {}

impl<O: Operation + Send + 'static> OpFuture<O> {
    /// Gives the operation to the driver, and says how it has ended, if it has. `Err` where it
    /// takes none.
    fn start(&mut self, waker: &Waker) -> Result<Option<Ended>, InHeld<O>> {
        #[cfg(feature = "sim")]
        crate::sys::sim::future_starts();
        // The clones may panic. Until then the future keeps its operation.
        let (waker, span) = (waker.clone(), self.span.clone());
        let op = erase(self.take_op(), span);
        let state = match self.shared.lock() {
            Ok(state) => state,
            Err(errno) => return Err((Err(errno), downcast(op))),
        };
        let (started, ran) = self.shared.with_locked(state, |state, deferred| {
            (state.start(op, waker, deferred), deferred.run_now)
        });
        let entry = started.map_err(|(errno, op)| (Err(errno), downcast(op)))?;
        self.phase = Phase::Started(entry);
        // Perhaps it has ended inside of `io_submit`.
        Ok(if ran { self.take_end(entry) } else { None })
    }

    fn take_end(&self, entry: usize) -> Option<Ended> {
        in_parent_only(self.shared.lock().map(|mut state| state.take_end(entry)))
    }

    /// Takes the operation of a future that has not started.
    fn take_op(&mut self) -> Held<O> {
        match mem::replace(&mut self.phase, Phase::Finished) {
            Phase::New(op) => op,
            _ => unreachable!("only the first poll takes it"),
        }
    }

    /// Has `waker` called when the operation ends, unless it just has.
    fn wait(&self, entry: usize, waker: Waker) -> Option<Ended> {
        in_parent_only(self.shared.with_state(|state, deferred| {
            state.set_waker(entry, waker, deferred);
            state.take_end(entry)
        }))
    }
}

impl<O: Operation + Send + 'static> Future for OpFuture<O> {
    type Output = (Result<u32, Errno>, O);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_held(cx).map(|(result, op)| (result, op.into_inner()))
    }
}

impl<O: Operation + Send + 'static> OpFuture<O> {
    /// Polls the future, and leaves the operation in its box.
    #[inline(always)]
    pub(crate) fn poll_boxed(&mut self, cx: &mut Context<'_>) -> Poll<InBox<O>> {
        self.poll_held(cx).map(|(result, op)| (result, op.into_box()))
    }

    #[inline(always)]
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<InHeld<O>> {
        let span = self.span.clone();
        let _entered = span.enter();
        let ended = match self.phase {
            Phase::New(_) => match self.start(cx.waker()) {
                Ok(ended) => ended,
                Err(refused) => {
                    self.span.ended(refused.0);
                    return Poll::Ready(refused);
                }
            },
            Phase::Started(entry) => {
                self.take_end(entry).or_else(|| self.wait(entry, cx.waker().clone()))
            }
            Phase::Finished => panic!("an operation's future was polled after its end"),
        };
        let Some(ended) = ended else { return Poll::Pending };
        Poll::Ready(self.finish(ended))
    }

    fn finish(&mut self, ended: Ended) -> InHeld<O> {
        self.phase = Phase::Finished;
        match ended {
            Ended::Done { result, op } => {
                self.span.ended(result);
                (result, downcast(op))
            }
            Ended::Panicked { payload, op } => {
                // Its drop must not panic while this one unwinds.
                catch_and_forget(|| drop(op));
                resume_unwind(payload)
            }
        }
    }

    /// Takes the operation of a future that has not started, since its deadline has passed.
    pub(super) fn refuse_new(&mut self) -> O {
        self.span.left("deadline");
        self.take_op().into_inner()
    }

    /// Leaves the operation to the driver, since its deadline has passed. If it has just completed,
    /// returns that.
    pub(super) fn give_up(&mut self) -> Result<Outcome<O>, TimedOut<O>> {
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

/// Unwraps what the driver knows of an operation that has started. Panics in a forked child.
///
/// There is no better answer there. The operation cannot be given back, since the kernel may be
/// using its buffer. A future that stays pending would hang the task: no thread of the child wakes
/// it.
pub(super) fn in_parent_only<R>(known: Result<R, Errno>) -> R {
    known.unwrap_or_else(|_| {
        panic!("the operation was started before fork(): its future completes in the parent only")
    })
}

impl<O> Drop for OpFuture<O> {
    fn drop(&mut self) {
        if let Phase::Started(entry) = self.phase {
            // In a forked child the operation is left to the parent.
            let _ = self.shared.with_state(|state, deferred| state.abandon(entry, deferred));
            self.span.left("dropped");
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
        let waker = cx.waker().clone();
        let destroyed = self
            .shared
            .with_state(|state, deferred| state.poll_destroyed(self.closer, waker, deferred));
        let calls = self.shared.blocking.poll_calls(cx);
        // A forked child has nothing to wait for.
        if destroyed.unwrap_or(true) { calls } else { Poll::Pending }
    }
}

impl Drop for Close {
    fn drop(&mut self) {
        let _ =
            self.shared.with_state(|state, deferred| state.forget_closer(self.closer, deferred));
    }
}

impl fmt::Debug for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Close").finish_non_exhaustive()
    }
}
