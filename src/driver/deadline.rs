//! [`WithDeadline`], a future that ends at a time even if its operation does not.

use super::future::OpFuture;
use super::timed_out::TimedOut;
use crate::clock;
use crate::{Errno, Operation};
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::time::Instant;

/// Performs an operation that is given up at a deadline.
///
/// [`OpFuture::deadline`] and [`OpFuture::timeout`] make it. It gives what the future of the
/// operation gives, or [`TimedOut`] once the deadline has passed.
///
/// # What becomes of the operation
///
/// The kernel cannot take back a read, a write or a sync. The driver keeps such an operation, with
/// its file and its buffer, until the kernel is finished. Its slot stays in use for as long.
///
/// - The kernel has the operation: [`TimedOut`] holds nothing. A POLL is cancelled.
/// - The operation waits for a slot, or was never polled: [`TimedOut`] gives it back.
/// - The operation has completed by the time that the future is polled: the future gives the
///   result, even if the deadline has passed.
///
/// # When it fires
///
/// A thread of the driver wakes the task. It needs no timer of the runtime, and fires if the
/// runtime of the [`Reactor`](crate::Reactor) is gone. The task must be able to run: if its own
/// thread is blocked in `io_submit`, see [`Driver`](crate::Driver#blocking), nothing polls the
/// future.
///
/// # Panics
///
/// [`poll`](Future::poll) panics as that of [`OpFuture`] does: after the end, and in a forked child
/// if the parent has polled the future.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::{Driver, EventFd, PollEvents, op::Poll};
/// use std::time::Duration;
///
/// let driver = Driver::on_thread(8)?;
/// let silent = EventFd::new()?;
/// let poll = driver.perform(Poll::new(silent, PollEvents::IN));
/// let timed_out = pollster::block_on(poll.timeout(Duration::from_millis(1))).unwrap_err();
/// assert_eq!(std::io::Error::from(timed_out).kind(), std::io::ErrorKind::TimedOut);
/// # Ok(()) }
/// ```
#[must_use = "a future does nothing unless it is polled"]
#[doc(alias = "timeout")]
pub struct WithDeadline<O> {
    future: OpFuture<O>,
    /// `None` if it is too far away for the clock.
    deadline: Option<Instant>,
}

impl<O> OpFuture<O> {
    /// Gives the operation up at `deadline`, unless it has completed by then.
    ///
    /// [`WithDeadline`] says what becomes of the operation. If `deadline` has passed when the
    /// future is polled first, the operation is not started, and comes back.
    ///
    /// # Errors
    /// The future gives [`TimedOut`] at the deadline, and at once if the driver cannot start the
    /// thread of its timer. The result is otherwise that of [`perform`](crate::Driver::perform).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Driver, op::Read};
    /// use std::{fs::File, time::{Duration, Instant}};
    ///
    /// let driver = Driver::on_thread(8)?;
    /// let deadline = Instant::now() + Duration::from_secs(30);
    /// let read = driver.perform(Read::new(File::open("/dev/zero")?, vec![1; 64], 0));
    /// let (result, read) = pollster::block_on(read.deadline(deadline))?;
    /// assert_eq!((result?, read.buf), (64, vec![0; 64]));
    /// # Ok(()) }
    /// ```
    pub fn deadline(self, deadline: Instant) -> WithDeadline<O> {
        WithDeadline::new(self, Some(deadline))
    }

    /// Gives the operation up when `timeout` has passed since this call, unless it has completed by
    /// then. [`Duration::MAX`] sets no deadline.
    ///
    /// # Errors
    /// Those of [`deadline`](Self::deadline).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Driver, op::Read};
    /// use std::{fs::File, time::Duration};
    ///
    /// let driver = Driver::on_thread(8)?;
    /// let read = driver.perform(Read::new(File::open("/dev/zero")?, vec![1; 64], 0));
    /// match pollster::block_on(read.timeout(Duration::from_secs(30))) {
    ///     Ok((result, read)) => assert_eq!((result?, read.buf), (64, vec![0; 64])),
    ///     Err(timed_out) => println!("the disk hangs: {timed_out}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn timeout(self, timeout: Duration) -> WithDeadline<O> {
        WithDeadline::new(self, clock::now().checked_add(timeout))
    }
}

impl<O> WithDeadline<O> {
    pub(super) fn new(future: OpFuture<O>, deadline: Option<Instant>) -> Self {
        Self { future, deadline }
    }
}

impl<O: Operation + Send + 'static> Future for WithDeadline<O> {
    type Output = Result<(Result<u32, Errno>, O), TimedOut<O>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(at) = self.deadline else {
            return self.future.poll_with(cx, None).map(Ok);
        };
        if self.future.is_new() {
            // Before the operation starts, so that one that comes too late never does.
            if let Some(ended) = self.future.refuse_new(at) {
                return Poll::Ready(ended);
            }
        }
        if let Poll::Ready(output) = self.future.poll_with(cx, Some(at)) {
            return Poll::Ready(Ok(output));
        }
        // After the waker was stored. The timer calls the waker that it finds after the deadline,
        // once. If that was an older one, the deadline has passed, and this sees it.
        if clock::now() < at {
            return Poll::Pending;
        }
        Poll::Ready(self.future.give_up())
    }
}

impl<O> fmt::Debug for WithDeadline<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithDeadline")
            .field("future", &self.future)
            .field("deadline", &self.deadline)
            .finish()
    }
}
