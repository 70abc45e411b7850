//! [`Iocb`], one operation as the kernel reads it.

use crate::abi;
use crate::{IoPrio, Opcode, PollEvents, RwFlags};
use core::fmt;
use static_assertions::{assert_eq_align, assert_eq_size};

assert_eq_size!(Iocb, abi::iocb);
assert_eq_align!(Iocb, abi::iocb);

/// Describes one operation as the kernel reads it: a `struct iocb`, 64 bytes.
///
/// It is numbers, so building one is safe, whatever they are; handing it to the kernel
/// ([`Submitter::submit`](crate::Submitter::submit)) is what needs care. Constructors fill what
/// the operation takes, setters add options and return the value, and [`Iocb::as_raw_mut`] sets
/// any field to anything, for fuzzers.
///
/// ```
/// use linux_aio_raw::{Iocb, IoPrio, RwFlags};
///
/// let mut buf = [0u8; 512];
/// let iocb = Iocb::pread(3, buf.as_mut_ptr(), buf.len(), 4096)
///     .user_data(7)
///     .rw_flags(RwFlags::NOWAIT)
///     .ioprio(IoPrio::idle());
/// assert_eq!(iocb.as_raw().aio_offset, 4096);
/// assert_eq!(Iocb::from_bytes(iocb.to_bytes()), iocb);
/// ```
#[doc(alias = "iocb")]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Iocb(abi::iocb);

impl Iocb {
    /// Reads up to `len` bytes at `offset` of the file to `buf`. The event has the count.
    #[doc(alias = "io_prep_pread")]
    #[doc(alias = "IOCB_CMD_PREAD")]
    #[inline]
    pub fn pread(fd: i32, buf: *mut u8, len: usize, offset: u64) -> Self {
        Self::transfer(Opcode::PREAD, fd, buf.expose_provenance(), len, offset)
    }

    /// Writes up to `len` bytes of `buf` at `offset` of the file. The event has the count.
    #[doc(alias = "io_prep_pwrite")]
    #[doc(alias = "IOCB_CMD_PWRITE")]
    #[inline]
    pub fn pwrite(fd: i32, buf: *const u8, len: usize, offset: u64) -> Self {
        Self::transfer(Opcode::PWRITE, fd, buf.expose_provenance(), len, offset)
    }

    /// Reads at `offset` to `count` buffers, one after the other. The array of iovecs is copied
    /// when the operation is submitted; `count` is at most 1024 (`UIO_MAXIOV`).
    ///
    /// ```
    /// use linux_aio_raw::{Iocb, IoSliceMut};
    ///
    /// let (mut head, mut body) = ([0; 16], [0; 512]);
    /// let parts = [IoSliceMut::new(&mut head), IoSliceMut::new(&mut body)];
    /// let iocb = Iocb::preadv(3, parts.as_ptr().cast(), parts.len(), 4096);
    /// assert_eq!(iocb.as_raw().aio_nbytes, 2); // of buffers, not bytes
    /// ```
    #[doc(alias = "io_prep_preadv")]
    #[doc(alias = "IOCB_CMD_PREADV")]
    #[inline]
    pub fn preadv(fd: i32, iovecs: *const abi::iovec, count: usize, offset: u64) -> Self {
        Self::transfer(Opcode::PREADV, fd, iovecs.expose_provenance(), count, offset)
    }

    /// Writes `count` buffers, one after the other, at `offset`. The array of iovecs is copied
    /// when the operation is submitted; `count` is at most 1024 (`UIO_MAXIOV`).
    #[doc(alias = "io_prep_pwritev")]
    #[doc(alias = "IOCB_CMD_PWRITEV")]
    #[inline]
    pub fn pwritev(fd: i32, iovecs: *const abi::iovec, count: usize, offset: u64) -> Self {
        Self::transfer(Opcode::PWRITEV, fd, iovecs.expose_provenance(), count, offset)
    }

    /// Brings data and metadata to stable storage (`fsync(2)`). The event has 0.
    #[doc(alias = "io_prep_fsync")]
    #[doc(alias = "IOCB_CMD_FSYNC")]
    #[inline]
    pub fn fsync(fd: i32) -> Self {
        Self::transfer(Opcode::FSYNC, fd, 0, 0, 0)
    }

    /// Brings data, and the metadata needed to read it, to stable storage (`fdatasync(2)`). The
    /// event has 0.
    #[doc(alias = "io_prep_fdsync")]
    #[doc(alias = "IOCB_CMD_FDSYNC")]
    #[inline]
    pub fn fdsync(fd: i32) -> Self {
        Self::transfer(Opcode::FDSYNC, fd, 0, 0, 0)
    }

    /// Waits, once, until one of `events` holds for the file. The event has those that do.
    ///
    /// ```
    /// use linux_aio_raw::{Iocb, Opcode, PollEvents};
    ///
    /// let iocb = Iocb::poll(3, PollEvents::IN | PollEvents::RDHUP);
    /// assert_eq!(iocb.opcode(), Opcode::POLL);
    /// ```
    #[doc(alias = "io_prep_poll")]
    #[doc(alias = "IOCB_CMD_POLL")]
    #[inline]
    pub fn poll(fd: i32, events: PollEvents) -> Self {
        Self::transfer(Opcode::POLL, fd, events.bits() as usize, 0, 0)
    }

    #[inline]
    fn transfer(opcode: Opcode, fd: i32, buf: usize, len: usize, offset: u64) -> Self {
        Self(abi::iocb {
            aio_lio_opcode: opcode.as_raw(),
            aio_fildes: fd as u32,
            aio_buf: buf as u64,
            aio_nbytes: len as u64,
            aio_offset: offset as i64,
            ..abi::iocb::ZERO
        })
    }

    /// Sets the number that comes back as [`IoEvent::user_data`](crate::IoEvent::user_data):
    /// `aio_data`.
    #[doc(alias = "aio_data")]
    #[must_use]
    #[inline]
    pub fn user_data(mut self, data: u64) -> Self {
        self.0.aio_data = data;
        self
    }

    /// Sets the flags of the operation, `aio_rw_flags`. For reads and writes; others give `EINVAL`
    /// with any.
    #[doc(alias = "aio_rw_flags")]
    #[must_use]
    #[inline]
    pub fn rw_flags(mut self, flags: RwFlags) -> Self {
        self.0.aio_rw_flags = flags.bits();
        self
    }

    /// Sets the I/O priority: `aio_reqprio`, and the flag without which the kernel ignores it.
    #[doc(alias = "aio_reqprio")]
    #[doc(alias = "IOCB_FLAG_IOPRIO")]
    #[must_use]
    #[inline]
    pub fn ioprio(mut self, priority: IoPrio) -> Self {
        self.0.aio_reqprio = priority.number();
        self.0.aio_flags = self.0.aio_flags & !abi::IOCB_FLAG_IOPRIO | priority.flag();
        self
    }

    /// Names an eventfd that is signalled when the event is on the ring: `aio_resfd`, and its flag.
    ///
    /// An operation that `io_submit` refuses, or has no room for, has no event and does not signal
    /// it.
    ///
    /// ```
    /// use linux_aio_raw::{EventFd, Iocb};
    /// use std::os::fd::AsRawFd;
    ///
    /// let eventfd = EventFd::new()?;
    /// let iocb = Iocb::fsync(3).eventfd(eventfd.as_raw_fd());
    /// assert_eq!(iocb.as_raw().aio_resfd, eventfd.as_raw_fd() as u32);
    /// # Ok::<(), linux_aio_raw::Errno>(())
    /// ```
    #[doc(alias = "io_set_eventfd")]
    #[doc(alias = "IOCB_FLAG_RESFD")]
    #[doc(alias = "aio_resfd")]
    #[must_use]
    #[inline]
    pub fn eventfd(mut self, fd: i32) -> Self {
        self.0.aio_resfd = fd as u32;
        self.0.aio_flags |= abi::IOCB_FLAG_RESFD;
        self
    }

    /// Returns what the operation does.
    #[inline]
    pub fn opcode(&self) -> Opcode {
        Opcode::from_raw(self.0.aio_lio_opcode)
    }

    /// Wraps any `struct iocb`.
    #[inline]
    pub const fn from_raw(raw: abi::iocb) -> Self {
        Self(raw)
    }

    /// Returns every field, to read.
    #[inline]
    pub const fn as_raw(&self) -> &abi::iocb {
        &self.0
    }

    /// Returns every field, to set to anything.
    ///
    /// ```
    /// use linux_aio_raw::Iocb;
    ///
    /// let mut iocb = Iocb::fsync(3);
    /// iocb.as_raw_mut().aio_reserved2 = 1; // which the kernel refuses
    /// assert_ne!(iocb, Iocb::fsync(3));
    /// ```
    #[inline]
    pub const fn as_raw_mut(&mut self) -> &mut abi::iocb {
        &mut self.0
    }

    /// Returns the 64 bytes that the kernel sees.
    #[inline]
    pub fn to_bytes(&self) -> [u8; 64] {
        self.0.to_bytes()
    }

    /// Takes any 64 bytes as an operation.
    #[inline]
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(abi::iocb::from_bytes(bytes))
    }
}

impl fmt::Debug for Iocb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let raw = &self.0;
        f.debug_struct("Iocb")
            .field("opcode", &self.opcode())
            .field("fd", &(raw.aio_fildes as i32))
            .field("buf", &format_args!("{:#x}", raw.aio_buf))
            .field("len", &raw.aio_nbytes)
            .field("offset", &raw.aio_offset)
            .field("user_data", &raw.aio_data)
            .field("rw_flags", &RwFlags::from_bits_retain(raw.aio_rw_flags))
            .field("flags", &raw.aio_flags)
            .finish_non_exhaustive()
    }
}
