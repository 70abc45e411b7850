//! [`CloseWithin`], the end of a driver that is not waited for longer than a given time, and
//! [`Unfinished`], which names the operations that keep the driver open.

use super::alarm_clock::{Alarm, Rings, is_up};
use super::future::Close;
use super::overdue::Overdue;
use super::thread::ThreadError;
use crate::Errno;
use crate::clock;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;
use std::time::Instant;

/// The end of a driver that can be given up: [`Close`] or [`LocalClose`](crate::LocalClose).
pub trait Closes: Future<Output = ()> + Unpin {
    type Alarm: Rings;

    /// Makes an alarm of the driver's.
    ///
    /// # Errors
    /// Those of starting a thread.
    fn alarm(&self, at: Instant) -> Result<Self::Alarm, ThreadError>;

    /// Leaves what is in the kernel to the driver, and ends what waits for a slot. Returns the
    /// operations that the kernel has.
    fn give_up(&mut self) -> Vec<Overdue>;

    /// Returns the number of calls that the driver's threads have not ended.
    fn calls(&self) -> usize;
}

/// Waits for the end of a driver, but not for longer than a given time.
///
/// [`Driver::close_within`](super::Driver::close_within) and
/// [`LocalDriver::close_within`](crate::LocalDriver::close_within) make it. It is ready at once in
/// a forked child.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::Driver;
/// use std::time::Duration;
///
/// let driver = Driver::on_thread(8)?;
/// let ended = pollster::block_on(driver.close_within(Duration::from_secs(60)));
/// assert!(ended.is_ok());
/// # Ok(()) }
/// ```
#[must_use = "a future does nothing unless it is polled"]
pub struct CloseWithin<C: Closes = Close> {
    close: C,
    /// `None` if the deadline is too far away for the clock.
    deadline: Option<Instant>,
    /// There from the first poll to the end, if there is a deadline. Made there, since a local
    /// driver needs a thread for it unless the poll is that of `block_on`.
    alarm: Option<C::Alarm>,
}

impl<C: Closes> CloseWithin<C> {
    pub(crate) fn new(close: C, time: Duration) -> Self {
        Self { close, deadline: clock::now().checked_add(time), alarm: None }
    }
}

impl<C: Closes> Future for CloseWithin<C> {
    type Output = Result<(), Unfinished>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = Pin::into_inner(self);
        if Pin::new(&mut this.close).poll(cx).is_ready() {
            this.alarm = None;
            return Poll::Ready(Ok(()));
        }
        // After the waker was stored, as in `WithDeadline`.
        let Self { close, deadline, alarm } = this;
        match is_up(alarm, *deadline, |at| close.alarm(at), cx) {
            Ok(false) => Poll::Pending,
            up => {
                *alarm = None;
                let (operations, calls) = (close.give_up(), close.calls());
                Poll::Ready(Err(Unfinished { operations, calls, no_timer: up.err() }))
            }
        }
    }
}

impl Closes for Close {
    type Alarm = Alarm;

    fn alarm(&self, at: Instant) -> Result<Alarm, ThreadError> {
        self.shared.blocking.alarm(at)
    }

    fn give_up(&mut self) -> Vec<Overdue> {
        let now = clock::now();
        let operations = self.shared.with_state(|state, deferred| {
            state.end_waiting(Errno::ECANCELED, deferred);
            deferred.run_on_helper = state.is_drained();
            state.overdue(Duration::ZERO, now)
        });
        operations.unwrap_or_default()
    }

    fn calls(&self) -> usize {
        self.shared.blocking.calls()
    }
}

impl<C: Closes> fmt::Debug for CloseWithin<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloseWithin").finish_non_exhaustive()
    }
}

/// Names the operations that a driver could not end in time.
///
/// [`close_within`](super::Driver::close_within) of a driver gives it. As an [`io::Error`] it is of
/// the kind [`TimedOut`](io::ErrorKind::TimedOut).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Driver, op::Read};
/// use std::{fs::File, time::Duration};
///
/// let driver = Driver::on_thread(32)?;
/// let zero = File::open("/dev/zero")?;
/// pollster::block_on(driver.perform(Read::new(zero, vec![1; 64], 0))).0?;
/// match pollster::block_on(driver.close_within(Duration::from_secs(60))) {
///     Ok(()) => println!("nothing is in flight"),
///     Err(unfinished) => println!("{unfinished}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    operations: Vec<Overdue>,
    /// The number of calls that the driver's threads had not ended.
    calls: usize,
    no_timer: Option<ThreadError>,
}

impl Unfinished {
    /// Returns [`Errno::ETIMEDOUT`].
    pub fn errno(&self) -> Errno {
        Errno::ETIMEDOUT
    }

    /// Returns the operations that the kernel still has, the oldest first. The list is empty if the
    /// kernel had finished all. Then a call of a file on a thread of the driver was missing, which
    /// the text says, or the end of the context.
    pub fn operations(&self) -> &[Overdue] {
        &self.operations
    }
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.operations.len();
        f.write_str("the driver has not ended in time")?;
        if let Some(oldest) = self.operations.first() {
            let are = if count == 1 { "operation is" } else { "operations are" };
            write!(f, ": {count} {are} in the kernel, the oldest is {oldest}")?;
        }
        if self.calls > 0 {
            let calls = self.calls;
            let are = if calls == 1 { "call of a file is" } else { "calls of files are" };
            write!(f, ": {calls} {are} on its threads, such as an open or a write")?;
        }
        match &self.no_timer {
            Some(error) => write!(f, "; the time was up at once: {error}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for Unfinished {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&Errno::ETIMEDOUT)
    }
}

impl From<Unfinished> for Errno {
    fn from(error: Unfinished) -> Self {
        error.errno()
    }
}

impl From<Unfinished> for io::Error {
    fn from(error: Unfinished) -> Self {
        Self::new(io::ErrorKind::TimedOut, error)
    }
}
