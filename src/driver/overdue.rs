//! [`Overdue`], an operation that the kernel has had for long, and [`CloseWithin`], which names
//! those that keep a driver open.

use super::Handle;
use super::queued_operation::transfers;
use super::thread::ThreadError;
use crate::clock;
use crate::{Errno, Iocb, Opcode};
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;
use std::time::Instant;

/// Describes an operation that the kernel has had for long.
///
/// [`Driver::overdue`](super::Driver::overdue) lists them.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Driver, PollEvents, op::Poll};
/// use std::{task::{Context, Waker}, time::Duration};
///
/// let driver = Driver::on_thread(32)?;
/// let (reader, _writer) = std::os::unix::net::UnixStream::pair()?;
/// let mut waiting = Box::pin(driver.perform(Poll::new(reader, PollEvents::IN)));
/// let _ = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
/// for late in driver.overdue(Duration::ZERO) {
///     println!("the kernel still has: {late}");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overdue {
    /// The operation's kind.
    pub opcode: Opcode,
    /// The number of the operation's descriptor.
    pub fd: i32,
    /// The offset in the file, in bytes. 0 for a sync and a POLL.
    pub offset: u64,
    /// The bytes of the buffer of a PREAD or PWRITE. The number of buffers of a PREADV or PWRITEV.
    /// 0 for a sync and a POLL.
    pub length: u64,
    /// The time since the driver submitted the operation first.
    pub age: Duration,
    /// True if the future is gone: dropped, or past its deadline.
    pub abandoned: bool,
}

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ", self.opcode)?;
        match self.opcode {
            Opcode::PREAD | Opcode::PWRITE => {
                write!(f, "of {} bytes at offset {} ", self.length, self.offset)?;
            }
            Opcode::PREADV | Opcode::PWRITEV => {
                write!(f, "of {} buffers at offset {} ", self.length, self.offset)?;
            }
            _ => {}
        }
        write!(f, "of descriptor {}, for {:?}", self.fd, self.age)?;
        if self.abandoned { f.write_str(", abandoned") } else { Ok(()) }
    }
}

/// Describes an operation as it is given to the kernel. Plain numbers: neither the operation nor
/// its slot may be looked at while the kernel has them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) opcode: Opcode,
    fd: i32,
    offset: u64,
    length: u64,
}

impl Facts {
    #[inline(always)]
    pub(super) fn of(iocb: &Iocb) -> Self {
        let raw = iocb.as_raw();
        let (offset, length) = (raw.aio_offset as u64, raw.aio_nbytes);
        Self { opcode: iocb.opcode(), fd: raw.aio_fildes as i32, offset, length }
    }
}

/// An operation that was given to the kernel, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Submitted {
    pub(super) facts: Facts,
    pub(super) at: Instant,
}

impl Submitted {
    pub(super) fn overdue(&self, age: Duration, abandoned: bool) -> Overdue {
        let Facts { opcode, fd, offset, length } = self.facts;
        let of_transfer = |number| if transfers(opcode) { number } else { 0 };
        let (offset, length) = (of_transfer(offset), of_transfer(length));
        Overdue { opcode, fd, offset, length, age, abandoned }
    }
}

/// Waits for the end of a driver, but not for longer than a given time.
///
/// [`Driver::close_within`](super::Driver::close_within) makes it. It is ready at once in a forked
/// child.
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
pub struct CloseWithin {
    shared: Handle,
    closer: u64,
    /// `None` if it is too far away for the clock.
    deadline: Option<Instant>,
    /// The reason if the thread of the timer could not be started.
    no_timer: Option<ThreadError>,
}

impl CloseWithin {
    pub(super) fn new(shared: Handle, time: Duration) -> Self {
        let now = clock::now();
        let mut deadline = now.checked_add(time);
        let mut no_timer = None;
        if deadline.is_some() && shared.check_process().is_ok() {
            no_timer = shared.start_timer().err();
        }
        if no_timer.is_some() {
            // Nothing would tell that the time is up: it is up now.
            deadline = Some(now);
        }
        let close = shared.with_state(|state, deferred| state.close_until(deadline, deferred));
        Self { closer: close.unwrap_or_default(), shared, deadline, no_timer }
    }
}

impl Future for CloseWithin {
    type Output = Result<(), Unfinished>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = cx.waker().clone();
        let destroyed = self
            .shared
            .with_state(|state, deferred| state.poll_destroyed(self.closer, waker, deferred));
        let calls = self.shared.blocking.poll_calls(cx);
        // A forked child has nothing to wait for.
        if destroyed.unwrap_or(true) && calls.is_ready() {
            return Poll::Ready(Ok(()));
        }
        // After the waker was stored, as in `WithDeadline`.
        let now = clock::now();
        if self.deadline.is_none_or(|at| now < at) {
            return Poll::Pending;
        }
        let operations = self.shared.with_state(|state, deferred| {
            state.end_waiting(Errno::ECANCELED, deferred);
            deferred.run_on_helper = state.is_drained();
            state.overdue(Duration::ZERO, now)
        });
        let operations = operations.unwrap_or_default();
        Poll::Ready(Err(Unfinished { operations, no_timer: self.no_timer }))
    }
}

impl Drop for CloseWithin {
    fn drop(&mut self) {
        let _ =
            self.shared.with_state(|state, deferred| state.forget_closer(self.closer, deferred));
    }
}

impl fmt::Debug for CloseWithin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloseWithin").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// Names the operations that a driver could not end in time.
///
/// [`Driver::close_within`](super::Driver::close_within) gives it. As an [`io::Error`] it is of the
/// kind [`TimedOut`](io::ErrorKind::TimedOut).
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
    no_timer: Option<ThreadError>,
}

impl Unfinished {
    /// Returns [`Errno::ETIMEDOUT`].
    pub fn errno(&self) -> Errno {
        Errno::ETIMEDOUT
    }

    /// Returns the operations that the kernel still has, the oldest first. The list is empty if the
    /// kernel had finished all, and only the end of the context was missing.
    pub fn operations(&self) -> &[Overdue] {
        &self.operations
    }
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.operations.len();
        match self.operations.first() {
            None => f.write_str("the driver has not ended in time")?,
            Some(oldest) => write!(
                f,
                "the driver has not ended in time: {count} operations are in the kernel, the \
                 oldest is {oldest}"
            )?,
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
