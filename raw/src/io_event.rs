//! [`IoEvent`], the kernel's record that an operation has ended.

use crate::{Errno, abi};
use static_assertions::{assert_eq_align, assert_eq_size};

assert_eq_size!(IoEvent, abi::io_event);
assert_eq_align!(IoEvent, abi::io_event);

/// Records that an operation has ended: the kernel's `struct io_event`, 32 bytes.
///
/// ```
/// use linux_aio_raw::{Errno, IoEvent, abi::io_event};
///
/// let event = IoEvent::from_raw(io_event { data: 7, res: 512, ..io_event::default() });
/// assert_eq!((event.user_data(), event.result()), (7, Ok(512)));
/// let failed = IoEvent::from_raw(io_event { res: -5, ..io_event::default() });
/// assert_eq!(failed.result(), Err(Errno::EIO));
/// ```
#[doc(alias = "io_event")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct IoEvent(abi::io_event);

impl IoEvent {
    /// Returns the number that the iocb carried in `aio_data`.
    #[inline]
    pub const fn user_data(&self) -> u64 {
        self.0.data
    }

    /// Returns how the operation ended: the byte count of a read or write, 0 for FSYNC and FDSYNC,
    /// the events of a POLL; or the error.
    #[inline]
    pub const fn result(&self) -> Result<u32, Errno> {
        Errno::check_result(self.0.res)
    }

    /// Returns the address from which the iocb was submitted. A number, since nothing says that
    /// there is still an iocb.
    #[inline]
    pub const fn iocb_addr(&self) -> u64 {
        self.0.obj
    }

    /// Returns the second result: 0 for reads and writes; USB gadgets put a status here.
    #[inline]
    pub const fn res2(&self) -> i64 {
        self.0.res2
    }

    /// Wraps any `struct io_event`.
    #[inline]
    pub const fn from_raw(raw: abi::io_event) -> Self {
        Self(raw)
    }

    /// Returns every field.
    #[inline]
    pub const fn as_raw(&self) -> &abi::io_event {
        &self.0
    }
}
