//! `include/uapi/linux/aio_abi.h`: the request, the event and their constants.
//!
//! It must never turn a number of these structures into a pointer or a reference. All fields are
//! integers of fixed width, and any value in any field is allowed: whether it makes sense is for
//! the kernel to say.

use core::mem::offset_of;

use static_assertions::const_assert_eq;

use crate::bytes::{get, put};
use crate::{__kernel_rwf_t, __kernel_ulong_t};

/// Names an AIO context (`include/uapi/linux/aio_abi.h`, `io_setup(2)`).
///
/// It is the address of the context's [`aio_ring`](crate::aio_ring) in the process. On x32 the
/// kernel reads and writes only the lower 32 bits of the one that `io_setup` is given.
pub type aio_context_t = __kernel_ulong_t;

/// `pread(2)`: `aio_nbytes` bytes at `aio_offset` into the memory at `aio_buf`.
pub const IOCB_CMD_PREAD: u16 = 0;
/// `pwrite(2)`: `aio_nbytes` bytes at `aio_offset` from the memory at `aio_buf`.
pub const IOCB_CMD_PWRITE: u16 = 1;
/// `fsync(2)`; `aio_buf`, `aio_nbytes`, `aio_offset` and `aio_rw_flags` must be 0.
pub const IOCB_CMD_FSYNC: u16 = 2;
/// `fdatasync(2)`; `aio_buf`, `aio_nbytes`, `aio_offset` and `aio_rw_flags` must be 0.
pub const IOCB_CMD_FDSYNC: u16 = 3;
/// Was experimental and is gone: the header keeps the number in a comment, and `io_submit` says
/// `EINVAL`.
pub const IOCB_CMD_PREADX: u16 = 4;
/// One-shot `poll(2)` for the `POLL*` bits in `aio_buf`; `aio_nbytes`, `aio_offset` and
/// `aio_rw_flags` must be 0. Since Linux 4.19: the version in 4.18-rc1 was reverted before 4.18.
pub const IOCB_CMD_POLL: u16 = 5;
/// In the header, but implemented by no kernel: `io_submit` says `EINVAL`.
pub const IOCB_CMD_NOOP: u16 = 6;
/// `preadv(2)`: `aio_buf` is the address of `aio_nbytes` [`iovec`](crate::iovec)s.
pub const IOCB_CMD_PREADV: u16 = 7;
/// `pwritev(2)`: `aio_buf` is the address of `aio_nbytes` [`iovec`](crate::iovec)s.
pub const IOCB_CMD_PWRITEV: u16 = 8;

/// In [`iocb::aio_flags`]: `aio_resfd` is an eventfd to signal.
///
/// It has the value of [`RWF_HIPRI`](crate::RWF_HIPRI), which belongs into another field.
pub const IOCB_FLAG_RESFD: u32 = 1 << 0;
/// In [`iocb::aio_flags`]: `aio_reqprio` is an I/O priority.
///
/// It has the value of [`RWF_DSYNC`](crate::RWF_DSYNC), which belongs into another field.
pub const IOCB_FLAG_IOPRIO: u32 = 1 << 1;

/// One request (`include/uapi/linux/aio_abi.h`, `io_submit(2)`): 64 bytes on every architecture.
///
/// `aio_key` and `aio_rw_flags` trade places with the byte order of the machine.
///
/// Its alignment is that of `u64`: 8, but 4 on 32-bit x86, C-SKY and m68k. On m68k C has 2, so a
/// request that comes from C there may not be referred to, only copied by
/// [`from_bytes`](Self::from_bytes).
///
/// ```
/// use linux_aio_abi::{IOCB_CMD_PREAD, iocb};
///
/// let mut buf = [0u8; 512];
/// let request = iocb {
///     aio_lio_opcode: IOCB_CMD_PREAD,
///     aio_fildes: 3,
///     aio_buf: buf.as_mut_ptr().expose_provenance() as u64,
///     aio_nbytes: buf.len() as u64,
///     ..iocb::ZERO
/// };
/// assert_eq!(iocb::from_bytes(request.to_bytes()), request);
/// ```
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct iocb {
    /// The caller's own value; comes back as [`io_event::data`].
    pub aio_data: u64,
    /// Written by `io_submit` ([`KIOCB_KEY`](crate::KIOCB_KEY)) and checked by `io_cancel`.
    #[cfg(target_endian = "little")]
    pub aio_key: u32,
    /// `RWF_*` flags.
    pub aio_rw_flags: __kernel_rwf_t,
    /// Written by `io_submit` ([`KIOCB_KEY`](crate::KIOCB_KEY)) and checked by `io_cancel`.
    #[cfg(target_endian = "big")]
    pub aio_key: u32,
    /// `IOCB_CMD_*`.
    pub aio_lio_opcode: u16,
    /// I/O priority, with [`IOCB_FLAG_IOPRIO`].
    pub aio_reqprio: i16,
    /// The file descriptor.
    pub aio_fildes: u32,
    /// Address of the data or of the [`iovec`](crate::iovec)s; for a poll the event mask.
    pub aio_buf: u64,
    /// Length of the data in bytes, or the number of [`iovec`](crate::iovec)s.
    pub aio_nbytes: u64,
    /// Position in the file in bytes.
    pub aio_offset: i64,
    /// Must be 0, otherwise `EINVAL`.
    pub aio_reserved2: u64,
    /// `IOCB_FLAG_*`; unknown bits are ignored.
    pub aio_flags: u32,
    /// The eventfd, with [`IOCB_FLAG_RESFD`].
    pub aio_resfd: u32,
}

impl iocb {
    /// All fields 0: a read of no bytes from file descriptor 0.
    pub const ZERO: Self = Self {
        aio_data: 0,
        aio_key: 0,
        aio_rw_flags: 0,
        aio_lio_opcode: IOCB_CMD_PREAD,
        aio_reqprio: 0,
        aio_fildes: 0,
        aio_buf: 0,
        aio_nbytes: 0,
        aio_offset: 0,
        aio_reserved2: 0,
        aio_flags: 0,
        aio_resfd: 0,
    };

    /// Returns the bytes as they lie in memory, in the machine's byte order.
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let at = &mut bytes;
        put(at, offset_of!(Self, aio_data), &self.aio_data.to_ne_bytes());
        put(at, offset_of!(Self, aio_key), &self.aio_key.to_ne_bytes());
        put(at, offset_of!(Self, aio_rw_flags), &self.aio_rw_flags.to_ne_bytes());
        put(at, offset_of!(Self, aio_lio_opcode), &self.aio_lio_opcode.to_ne_bytes());
        put(at, offset_of!(Self, aio_reqprio), &self.aio_reqprio.to_ne_bytes());
        put(at, offset_of!(Self, aio_fildes), &self.aio_fildes.to_ne_bytes());
        put(at, offset_of!(Self, aio_buf), &self.aio_buf.to_ne_bytes());
        put(at, offset_of!(Self, aio_nbytes), &self.aio_nbytes.to_ne_bytes());
        put(at, offset_of!(Self, aio_offset), &self.aio_offset.to_ne_bytes());
        put(at, offset_of!(Self, aio_reserved2), &self.aio_reserved2.to_ne_bytes());
        put(at, offset_of!(Self, aio_flags), &self.aio_flags.to_ne_bytes());
        put(at, offset_of!(Self, aio_resfd), &self.aio_resfd.to_ne_bytes());
        bytes
    }

    /// Returns the request that these 64 bytes are in memory, in the machine's byte order. Every
    /// value of every byte is accepted.
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        let at = &bytes;
        Self {
            aio_data: u64::from_ne_bytes(get(at, offset_of!(Self, aio_data))),
            aio_key: u32::from_ne_bytes(get(at, offset_of!(Self, aio_key))),
            aio_rw_flags: __kernel_rwf_t::from_ne_bytes(get(at, offset_of!(Self, aio_rw_flags))),
            aio_lio_opcode: u16::from_ne_bytes(get(at, offset_of!(Self, aio_lio_opcode))),
            aio_reqprio: i16::from_ne_bytes(get(at, offset_of!(Self, aio_reqprio))),
            aio_fildes: u32::from_ne_bytes(get(at, offset_of!(Self, aio_fildes))),
            aio_buf: u64::from_ne_bytes(get(at, offset_of!(Self, aio_buf))),
            aio_nbytes: u64::from_ne_bytes(get(at, offset_of!(Self, aio_nbytes))),
            aio_offset: i64::from_ne_bytes(get(at, offset_of!(Self, aio_offset))),
            aio_reserved2: u64::from_ne_bytes(get(at, offset_of!(Self, aio_reserved2))),
            aio_flags: u32::from_ne_bytes(get(at, offset_of!(Self, aio_flags))),
            aio_resfd: u32::from_ne_bytes(get(at, offset_of!(Self, aio_resfd))),
        }
    }
}

const_assert_eq!(size_of::<iocb>(), 64);
const_assert_eq!(align_of::<iocb>(), align_of::<u64>());
const_assert_eq!(offset_of!(iocb, aio_data), 0);
#[cfg(target_endian = "little")]
const_assert_eq!(offset_of!(iocb, aio_key), 8);
#[cfg(target_endian = "little")]
const_assert_eq!(offset_of!(iocb, aio_rw_flags), 12);
#[cfg(target_endian = "big")]
const_assert_eq!(offset_of!(iocb, aio_rw_flags), 8);
#[cfg(target_endian = "big")]
const_assert_eq!(offset_of!(iocb, aio_key), 12);
const_assert_eq!(offset_of!(iocb, aio_lio_opcode), 16);
const_assert_eq!(offset_of!(iocb, aio_reqprio), 18);
const_assert_eq!(offset_of!(iocb, aio_fildes), 20);
const_assert_eq!(offset_of!(iocb, aio_buf), 24);
const_assert_eq!(offset_of!(iocb, aio_nbytes), 32);
const_assert_eq!(offset_of!(iocb, aio_offset), 40);
const_assert_eq!(offset_of!(iocb, aio_reserved2), 48);
const_assert_eq!(offset_of!(iocb, aio_flags), 56);
const_assert_eq!(offset_of!(iocb, aio_resfd), 60);

/// One completion (`include/uapi/linux/aio_abi.h`, `io_getevents(2)`): 32 bytes on every
/// architecture.
///
/// ```
/// use linux_aio_abi::io_event;
///
/// let event = io_event { data: 7, res: 512, ..io_event::default() };
/// assert_eq!(io_event::from_bytes(event.to_bytes()), event);
/// ```
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct io_event {
    /// [`iocb::aio_data`] of the request.
    pub data: u64,
    /// Address of the request's [`iocb`] when it was submitted.
    pub obj: u64,
    /// The result of the operation: a count of bytes, event bits, or a negative errno.
    pub res: i64,
    /// A second result: 0 for reads and writes.
    pub res2: i64,
}

impl io_event {
    /// Returns the bytes as they lie in memory, in the machine's byte order.
    pub fn to_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let at = &mut bytes;
        put(at, offset_of!(Self, data), &self.data.to_ne_bytes());
        put(at, offset_of!(Self, obj), &self.obj.to_ne_bytes());
        put(at, offset_of!(Self, res), &self.res.to_ne_bytes());
        put(at, offset_of!(Self, res2), &self.res2.to_ne_bytes());
        bytes
    }

    /// Returns the event that these 32 bytes are in memory, in the machine's byte order. Every
    /// value of every byte is accepted.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let at = &bytes;
        Self {
            data: u64::from_ne_bytes(get(at, offset_of!(Self, data))),
            obj: u64::from_ne_bytes(get(at, offset_of!(Self, obj))),
            res: i64::from_ne_bytes(get(at, offset_of!(Self, res))),
            res2: i64::from_ne_bytes(get(at, offset_of!(Self, res2))),
        }
    }
}

const_assert_eq!(size_of::<io_event>(), 32);
const_assert_eq!(align_of::<io_event>(), align_of::<u64>());
const_assert_eq!(offset_of!(io_event, data), 0);
const_assert_eq!(offset_of!(io_event, obj), 8);
const_assert_eq!(offset_of!(io_event, res), 16);
const_assert_eq!(offset_of!(io_event, res2), 24);

/// Any 64 bytes are a request: every field takes any value.
#[cfg(feature = "arbitrary")]
#[cfg_attr(docsrs, doc(cfg(feature = "arbitrary")))]
impl<'a> arbitrary::Arbitrary<'a> for iocb {
    fn arbitrary(u: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(Self::from_bytes(u.arbitrary()?))
    }

    fn size_hint(depth: usize) -> (usize, Option<usize>) {
        <[u8; 64] as arbitrary::Arbitrary<'_>>::size_hint(depth)
    }
}

/// Any 32 bytes are an event: every field takes any value.
#[cfg(feature = "arbitrary")]
#[cfg_attr(docsrs, doc(cfg(feature = "arbitrary")))]
impl<'a> arbitrary::Arbitrary<'a> for io_event {
    fn arbitrary(u: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(Self::from_bytes(u.arbitrary()?))
    }

    fn size_hint(depth: usize) -> (usize, Option<usize>) {
        <[u8; 32] as arbitrary::Arbitrary<'_>>::size_hint(depth)
    }
}
