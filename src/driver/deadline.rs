//! [`WithDeadline`], a future that ends at a time even if its operation does not.
//!
//! It is a future of an operation and an alarm (`alarm_clock.rs`). Both drivers use it: what it
//! asks of a future is [`GivesUp`].

use super::alarm_clock::{Alarm, Rings, is_up};
use super::future::OpFuture;
use super::thread::ThreadError;
use super::timed_out::TimedOut;
use crate::clock;
use crate::{Errno, Operation};
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::time::Instant;

/// The outcome of an operation: its result, and the operation.
pub(crate) type Outcome<O> = (Result<u32, Errno>, O);

/// A future of an operation that can be given up: [`OpFuture`] or
/// [`LocalFuture`](crate::LocalFuture).
pub trait GivesUp: Unpin {
    type Op;
    type Alarm: Rings;

    /// Returns whether the operation has not been started, and this is the process to start it.
    fn can_be_refused(&self) -> bool;

    /// Makes an alarm of the driver's.
    ///
    /// # Errors
    /// Those of starting a thread.
    fn alarm(&self, at: Instant) -> Result<Self::Alarm, ThreadError>;

    /// Takes the operation of a future that has not started.
    fn refuse(&mut self) -> Self::Op;

    fn poll_op(&mut self, cx: &mut Context<'_>) -> Poll<Outcome<Self::Op>>;

    /// Leaves the operation to the driver, since its deadline has passed. If it has just completed,
    /// returns that. If the kernel never had it, the error contains it.
    fn give_up(&mut self) -> Result<Outcome<Self::Op>, TimedOut<Self::Op>>;
}

/// Performs an operation that is given up at a deadline.
///
/// [`OpFuture::deadline`], [`OpFuture::timeout`] and the functions of the same names of
/// [`LocalFuture`](crate::LocalFuture) make it, and
/// [`DriverWithDeadline`](crate::DriverWithDeadline) for every operation. It gives what the future
/// of the operation gives, or [`TimedOut`] once the deadline has passed.
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
/// A thread of the driver wakes the task; in
/// [`LocalDriver::block_on`](crate::LocalDriver::block_on) the sleep ends. It needs no timer of the
/// runtime, and fires if the runtime of the [`Reactor`](crate::Reactor) is gone. The task must be
/// able to run: if its own thread is blocked in `io_submit`, see
/// [`Driver`](crate::Driver#blocking), nothing polls the future.
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
pub struct WithDeadline<F: GivesUp> {
    future: F,
    /// `None` if it is too far away for the clock.
    deadline: Option<Instant>,
    /// There from the first poll to the end, if there is a deadline.
    alarm: Option<F::Alarm>,
}

impl<O: Operation + Send + 'static> OpFuture<O> {
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
    pub fn deadline(self, deadline: Instant) -> WithDeadline<Self> {
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
    pub fn timeout(self, timeout: Duration) -> WithDeadline<Self> {
        WithDeadline::new(self, clock::now().checked_add(timeout))
    }
}

impl<F: GivesUp> WithDeadline<F> {
    pub(crate) fn new(future: F, deadline: Option<Instant>) -> Self {
        Self { future, deadline, alarm: None }
    }

    /// Sets another deadline, which may also be later. It is for operations of a
    /// [`DriverWithDeadline`](crate::DriverWithDeadline).
    ///
    /// # Errors
    /// The future gives [`TimedOut`] at the deadline, and at once if the driver cannot start the
    /// thread of its timer.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Driver, op::Read};
    /// use std::{fs::File, time::{Duration, Instant}};
    ///
    /// let driver = Driver::on_thread(8)?.with_deadline(Duration::from_secs(1));
    /// let read = driver.perform(Read::new(File::open("/dev/zero")?, vec![1; 64], 0));
    /// let deadline = Instant::now() + Duration::from_secs(30);
    /// let (result, read) = pollster::block_on(read.deadline(deadline))?;
    /// assert_eq!((result?, read.buf), (64, vec![0; 64]));
    /// # Ok(()) }
    /// ```
    pub fn deadline(self, deadline: Instant) -> Self {
        self.until(Some(deadline))
    }

    /// Sets another deadline: when `timeout` has passed since this call. [`Duration::MAX`] sets no
    /// deadline.
    ///
    /// # Errors
    /// The future gives [`TimedOut`] when the time is up, and at once if the driver cannot start
    /// the thread of its timer.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Driver, op::Read};
    /// use std::{fs::File, time::Duration};
    ///
    /// let driver = Driver::on_thread(8)?.with_deadline(Duration::from_secs(1));
    /// let read = driver.perform(Read::new(File::open("/dev/zero")?, vec![1; 64], 0));
    /// let (result, read) = pollster::block_on(read.timeout(Duration::MAX))?;
    /// assert_eq!((result?, read.buf), (64, vec![0; 64]));
    /// # Ok(()) }
    /// ```
    pub fn timeout(self, timeout: Duration) -> Self {
        self.until(clock::now().checked_add(timeout))
    }

    fn until(self, deadline: Option<Instant>) -> Self {
        // The alarm of a future that has been polled is that of the deadline before. Another one
        // is made when the future is polled next.
        Self { deadline, alarm: None, ..self }
    }

    /// Ends a future that has not started, if its deadline has passed or nothing could tell that it
    /// does. Makes the alarm otherwise.
    fn refuse(&mut self, at: Instant) -> Option<TimedOut<F::Op>> {
        if at <= clock::now() {
            return Some(TimedOut::new(Some(self.future.refuse())));
        }
        match self.future.alarm(at) {
            Ok(alarm) => {
                self.alarm = Some(alarm);
                None
            }
            Err(error) => {
                let op = Some(self.future.refuse());
                Some(TimedOut { op, no_timer: Some(error) })
            }
        }
    }
}

impl<F: GivesUp> Future for WithDeadline<F> {
    type Output = Result<Outcome<F::Op>, TimedOut<F::Op>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = Pin::into_inner(self);
        if let (None, Some(at)) = (&this.alarm, this.deadline) {
            // Before the operation starts, so that one that comes too late never does. A forked
            // child gets its own answer when the operation is started.
            if this.future.can_be_refused() {
                if let Some(timed_out) = this.refuse(at) {
                    return Poll::Ready(Err(timed_out));
                }
            }
        }
        if let Poll::Ready(outcome) = this.future.poll_op(cx) {
            this.alarm = None;
            return Poll::Ready(Ok(outcome));
        }
        // The look at the clock comes last. If the alarm has called an older waker, the time is up.
        let Self { future, alarm, deadline } = this;
        // The alarm is there, unless the deadline was set after the first poll.
        match is_up(alarm, *deadline, |at| future.alarm(at), cx) {
            Ok(false) => Poll::Pending,
            up => {
                *alarm = None;
                let timed_out = future.give_up();
                Poll::Ready(timed_out.map_err(|timed_out| timed_out.without(up.err())))
            }
        }
    }
}

impl<O: Operation + Send + 'static> GivesUp for OpFuture<O> {
    type Op = O;
    type Alarm = Alarm;

    fn can_be_refused(&self) -> bool {
        self.is_new() && self.shared.check_process().is_ok()
    }

    fn alarm(&self, at: Instant) -> Result<Alarm, ThreadError> {
        self.shared.blocking.alarm(at)
    }

    fn refuse(&mut self) -> O {
        self.refuse_new()
    }

    fn poll_op(&mut self, cx: &mut Context<'_>) -> Poll<Outcome<O>> {
        Pin::new(self).poll(cx)
    }

    fn give_up(&mut self) -> Result<Outcome<O>, TimedOut<O>> {
        Self::give_up(self)
    }
}

impl<F: GivesUp + fmt::Debug> fmt::Debug for WithDeadline<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithDeadline")
            .field("future", &self.future)
            .field("deadline", &self.deadline)
            .finish()
    }
}
