//! [`Overdue`], an operation that the kernel has had for long.

use super::announced::transfers;
use crate::{Iocb, Opcode};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;
use core::time::Duration;
use std::time::Instant;

/// Describes an operation that the kernel has had for long.
///
/// [`Driver::overdue`](super::Driver::overdue) and
/// [`LocalDriver::overdue`](crate::LocalDriver::overdue) list them. A call that a thread of the
/// driver makes for a [`File`](crate::File#direct-and-buffered-files) is no operation, and is not
/// listed.
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
pub(crate) struct Facts {
    pub(crate) opcode: Opcode,
    fd: i32,
    offset: u64,
    length: u64,
}

impl Facts {
    #[inline(always)]
    pub(crate) fn of(iocb: &Iocb) -> Self {
        let raw = iocb.as_raw();
        let (offset, length) = (raw.aio_offset as u64, raw.aio_nbytes);
        Self { opcode: iocb.opcode(), fd: raw.aio_fildes as i32, offset, length }
    }

    /// Describes a sync of no file.
    pub(crate) fn of_sync() -> Self {
        Self { opcode: Opcode::FSYNC, fd: -1, offset: 0, length: 0 }
    }
}

/// An operation that was given to the kernel, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Submitted {
    pub(crate) facts: Facts,
    pub(crate) at: Instant,
}

impl Submitted {
    fn overdue(&self, age: Duration, abandoned: bool) -> Overdue {
        let Facts { opcode, fd, offset, length } = self.facts;
        let of_transfer = |number| if transfers(opcode) { number } else { 0 };
        let (offset, length) = (of_transfer(offset), of_transfer(length));
        Overdue { opcode, fd, offset, length, age, abandoned }
    }
}

/// Lists those that were submitted so long before `now`, the oldest first. With each comes whether
/// its future is gone.
pub(crate) fn late(
    submitted: impl Iterator<Item = (Submitted, bool)>,
    age: Duration,
    now: Instant,
) -> Vec<Overdue> {
    let late = |(submitted, abandoned): (Submitted, bool)| {
        let since = now.saturating_duration_since(submitted.at);
        (since >= age).then(|| submitted.overdue(since, abandoned))
    };
    let mut late: Vec<_> = submitted.filter_map(late).collect();
    late.sort_by_key(|operation| Reverse(operation.age));
    late
}
