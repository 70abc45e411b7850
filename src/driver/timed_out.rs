//! [`TimedOut`], the error of a deadline that has passed.

use super::thread::ThreadError;
use crate::Errno;
use core::fmt;
use std::io;

/// Tells that an operation had not completed at its deadline.
///
/// The operation may still be done: see [`WithDeadline`](super::WithDeadline). As an [`io::Error`]
/// it is of the kind [`TimedOut`](io::ErrorKind::TimedOut).
///
/// If the driver cannot start the thread of its timer, the time is up at once: the operation is not
/// started, and comes back. The [errno](Self::errno) is not `ETIMEDOUT` then, and the text says
/// which limit to raise.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Driver, Errno, op::Read};
/// use std::{fs::File, time::Instant};
///
/// let driver = Driver::on_thread(8)?;
/// let read = driver.perform(Read::new(File::open("/dev/zero")?, vec![1; 64], 0));
/// // The time is up before the operation starts, so it comes back.
/// let timed_out = pollster::block_on(read.deadline(Instant::now())).unwrap_err();
/// assert_eq!(timed_out.errno(), Errno::ETIMEDOUT);
/// assert_eq!(timed_out.into_operation().expect("it never started").buf, [1; 64]);
/// # Ok(()) }
/// ```
pub struct TimedOut<O> {
    pub(super) op: Option<O>,
    /// The reason if the thread of the timer could not be started.
    pub(super) no_timer: Option<ThreadError>,
}

impl<O> TimedOut<O> {
    pub(crate) fn new(op: Option<O>) -> Self {
        Self { op, no_timer: None }
    }

    /// Names the thread whose lack is the reason, if there is one.
    pub(super) fn without(self, no_timer: Option<ThreadError>) -> Self {
        Self { no_timer, ..self }
    }

    /// Returns [`Errno::ETIMEDOUT`]; or that of the timer's thread if it could not be started,
    /// which is `EAGAIN`.
    pub fn errno(&self) -> Errno {
        self.no_timer.map_or(Errno::ETIMEDOUT, ThreadError::errno)
    }

    /// Returns the operation, if it has never been given to the kernel. Returns `None` if the
    /// driver keeps the operation until the kernel is finished.
    pub fn into_operation(self) -> Option<O> {
        self.op
    }
}

impl<O> fmt::Debug for TimedOut<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedOut")
            .field("errno", &self.errno())
            .field("has_operation", &self.op.is_some())
            .finish()
    }
}

impl<O> fmt::Display for TimedOut<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.no_timer {
            return match self.op {
                Some(_) => write!(f, "the operation was not started: {error}"),
                None => write!(f, "the operation was given up: {error}"),
            };
        }
        f.write_str(match self.op {
            Some(_) => "the operation was not started before its deadline",
            None => {
                "the operation did not complete before its deadline; the driver keeps its buffer \
                 until the kernel is finished"
            }
        })
    }
}

impl<O> core::error::Error for TimedOut<O> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match &self.no_timer {
            // The text has all of its text.
            Some(error) => error.source(),
            None => Some(&Errno::ETIMEDOUT),
        }
    }
}

impl<O> From<TimedOut<O>> for Errno {
    fn from(timed_out: TimedOut<O>) -> Self {
        timed_out.errno()
    }
}

impl<O> From<TimedOut<O>> for io::Error {
    fn from(timed_out: TimedOut<O>) -> Self {
        // Without the operation, which may be neither `Send` nor `Sync`.
        let kind = Self::from(timed_out.errno()).kind();
        Self::new(kind, TimedOut { op: timed_out.op.map(drop), no_timer: timed_out.no_timer })
    }
}
