//! Gives deadlines what they ask of a local driver: its futures can be given up, and so can its
//! end.

use super::alarm::LocalAlarm;
use super::close::LocalClose;
use super::future::LocalFuture;
use super::{Inner, LocalDriver};
use crate::driver::close_within::Closes;
use crate::driver::deadline::{GivesUp, Outcome, WithDeadline};
use crate::driver::thread::ThreadError;
use crate::driver::timed_out::TimedOut;
use crate::{DriverWithDeadline, Errno, Operation, Overdue, clock};
use alloc::vec::Vec;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::time::Instant;

impl<O: Operation + 'static> LocalFuture<O> {
    /// Gives the operation up at `deadline`, unless it has completed by then.
    ///
    /// [`WithDeadline`] says what becomes of the operation. If `deadline` has passed when the
    /// future is polled first, the operation is not started, and comes back.
    ///
    /// # Errors
    /// The future gives [`TimedOut`] at the deadline. The result is otherwise that of
    /// [`perform`](crate::LocalDriver::perform). Outside of
    /// [`block_on`](crate::LocalDriver::block_on) a thread tells when the deadline comes. If it
    /// cannot be started, the time is up at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{LocalDriver, op::Read};
    /// use std::{fs::File, time::{Duration, Instant}};
    ///
    /// let driver = LocalDriver::new(8)?;
    /// // One deadline for all that a request needs.
    /// let deadline = Instant::now() + Duration::from_secs(30);
    /// let read = driver.perform(Read::new(File::open("/dev/zero")?, vec![1; 64], 0));
    /// let (result, read) = driver.block_on(read.deadline(deadline))?;
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
    /// The future gives [`TimedOut`] when the time is up; also at once, if the thread that would
    /// tell cannot be started. The result is otherwise that of
    /// [`perform`](crate::LocalDriver::perform).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{LocalDriver, op::Read};
    /// use std::{fs::File, time::Duration};
    ///
    /// let driver = LocalDriver::new(8)?;
    /// let read = driver.perform(Read::new(File::open("/dev/zero")?, vec![1; 64], 0));
    /// match driver.block_on(read.timeout(Duration::from_secs(30))) {
    ///     Ok((result, read)) => assert_eq!((result?, read.buf), (64, vec![0; 64])),
    ///     Err(timed_out) => println!("the disk hangs: {timed_out}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn timeout(self, timeout: Duration) -> WithDeadline<Self> {
        WithDeadline::new(self, clock::now().checked_add(timeout))
    }
}

impl LocalDriver {
    /// Gives up every operation and every request of a file of this handle after a time.
    /// [`DriverWithDeadline`] says more. [`Duration::MAX`] sets no deadline.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{LocalDriver, op::Read};
    /// use std::{fs::File, time::Duration};
    ///
    /// let driver = LocalDriver::new(8)?.with_deadline(Duration::from_secs(30));
    /// let read = Read::new(File::open("/dev/zero")?, vec![1; 64], 0);
    /// let (result, read) = driver.get_ref().block_on(driver.perform(read))?;
    /// assert_eq!((result?, read.buf), (64, vec![0; 64]));
    /// # Ok(()) }
    /// ```
    #[doc(alias = "timeout")]
    pub fn with_deadline(self, time: Duration) -> DriverWithDeadline<Self> {
        DriverWithDeadline::new(self, time)
    }
}

impl DriverWithDeadline<LocalDriver> {
    /// Returns a future that performs `op` as [`LocalDriver::perform`] does, and gives it up when
    /// the time of the handle has passed since this call.
    ///
    /// # Errors
    /// The future gives [`TimedOut`] when the time is up; also at once, if the thread that would
    /// tell cannot be started. The result is otherwise that of [`LocalDriver::perform`].
    #[doc(alias = "submit")]
    #[doc(alias = "io_submit")]
    pub fn perform<O: Operation + 'static>(&self, op: O) -> WithDeadline<LocalFuture<O>> {
        self.get_ref().perform(op).timeout(self.time())
    }
}

impl<O: Operation + 'static> GivesUp for LocalFuture<O> {
    type Op = O;
    type Alarm = LocalAlarm;

    fn can_be_refused(&self) -> bool {
        self.is_new() && self.handle().check_process().is_ok()
    }

    fn alarm(&self, at: Instant) -> Result<LocalAlarm, ThreadError> {
        LocalAlarm::new(self.handle(), at)
    }

    fn refuse(&mut self) -> O {
        self.take_op()
    }

    fn poll_op(&mut self, cx: &mut Context<'_>) -> Poll<Outcome<O>> {
        Pin::new(self).poll(cx)
    }

    fn give_up(&mut self) -> Result<Outcome<O>, TimedOut<O>> {
        Self::give_up(self)
    }
}

impl Closes for LocalClose {
    type Alarm = LocalAlarm;

    fn alarm(&self, at: Instant) -> Result<LocalAlarm, ThreadError> {
        LocalAlarm::new(self.inner.clone(), at)
    }

    fn give_up(&mut self) -> Vec<Overdue> {
        self.inner.give_up()
    }

    fn calls(&self) -> usize {
        self.inner.threads.calls()
    }
}

impl Inner {
    /// Gives up to wait for the end. From now on the drop of the driver leaks rather than waits.
    fn give_up(&self) -> Vec<Overdue> {
        if self.check_process().is_err() {
            return Vec::new();
        }
        self.given_up.set(true);
        self.end_waiting(Errno::ECANCELED);
        // Whoever does the driver's work destroys the context if that were all.
        self.turn_later();
        self.overdue(Duration::ZERO)
    }
}
