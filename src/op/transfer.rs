//! [`Read`] and [`Write`], with one buffer.

use crate::fd::AsFd;
use crate::{IoPrio, Operation, Prepared, RwFlags};

/// A read at an offset of a file. Completes with the count, 0 at the end of the file.
///
/// On a file opened with `O_DIRECT`, the buffer's address, its length and the offset must be
/// multiples of what [`Geometry`](crate::geometry::Geometry) says; otherwise it completes with
/// `EINVAL`.
#[derive(Clone, Copy, Debug)]
pub struct Read<F, B> {
    /// Keeps the file open until the completion.
    pub fd: F,
    /// Receives the bytes; all of it is offered to the kernel.
    pub buf: B,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// Flags of this operation alone.
    pub rw_flags: RwFlags,
    /// The I/O priority, by default that of the submitting thread.
    pub ioprio: IoPrio,
}

impl<F, B> Read<F, B> {
    /// A read to `buf` at `offset`, without flags and priority.
    #[inline]
    pub const fn new(fd: F, buf: B, offset: u64) -> Self {
        Self { fd, buf, offset, rw_flags: RwFlags::NONE, ioprio: IoPrio::INHERIT }
    }
}

impl<F: AsFd, B: AsMut<[u8]>> Operation for Read<F, B> {
    #[inline]
    fn prepare(&mut self) -> Prepared<'_> {
        let prepared = Prepared::read(self.fd.as_fd().into(), self.buf.as_mut(), self.offset);
        prepared.rw_flags(self.rw_flags).ioprio(self.ioprio)
    }
}

/// A write at an offset of a file. Completes with the count, which may be short.
///
/// On a file opened with `O_DIRECT`, the buffer's address, its length and the offset must be
/// multiples of what [`Geometry`](crate::geometry::Geometry) says; otherwise it completes with
/// `EINVAL`.
#[derive(Clone, Copy, Debug)]
pub struct Write<F, B> {
    /// Keeps the file open until the completion.
    pub fd: F,
    /// The bytes to write, all of them.
    pub buf: B,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// Flags of this operation alone.
    pub rw_flags: RwFlags,
    /// The I/O priority, by default that of the submitting thread.
    pub ioprio: IoPrio,
}

impl<F, B> Write<F, B> {
    /// A write of `buf` at `offset`, without flags and priority.
    #[inline]
    pub const fn new(fd: F, buf: B, offset: u64) -> Self {
        Self { fd, buf, offset, rw_flags: RwFlags::NONE, ioprio: IoPrio::INHERIT }
    }
}

impl<F: AsFd, B: AsRef<[u8]>> Operation for Write<F, B> {
    #[inline]
    fn prepare(&mut self) -> Prepared<'_> {
        let prepared = Prepared::write(self.fd.as_fd().into(), self.buf.as_ref(), self.offset);
        prepared.rw_flags(self.rw_flags).ioprio(self.ioprio)
    }
}
