//! [`Read`] and [`Write`], with one buffer.

use crate::buffer::{ReadTo, WriteFrom};
use crate::fd::AsFd;
use crate::{IoPrio, Operation, Prepared, RwFlags};

/// Reads at an offset of a file. Completes with the count, 0 at the end of the file.
///
/// **The length of the buffer counts, not its capacity.** `Vec::with_capacity(n)` has length 0: a
/// read to it completes with 0 at once, which looks like the end of the file. Use `vec![0; n]` or
/// [`AlignedBuf`](crate::AlignedBuf). (A read of no bytes is legal, and reads nothing.)
///
/// On a file opened with `O_DIRECT`, the buffer's address, its length and the offset must be
/// multiples of what [`Geometry`](crate::geometry::Geometry) says; otherwise it completes with
/// `EINVAL`.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, op::Read};
/// use std::{fs::File, sync::Arc};
///
/// let zero = Arc::new(File::open("/dev/zero")?);
/// let mut queue = Queue::with_capacity(1)?;
/// queue.push(Read::new(zero, vec![1; 64], 0))?;
/// let done = queue.wait()?.expect("a completion");
/// assert_eq!((done.result?, &done.op.buf[..]), (64, &[0; 64][..]));
/// // The same file and buffer, at another offset.
/// queue.push(Read { offset: 64, ..done.op })?;
/// # Ok(()) }
/// ```
#[doc(alias("io_prep_pread", "pread", "aio_read"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read<F, B> {
    /// Keeps the file open until the completion.
    pub fd: F,
    /// Receives the bytes; all of its length is offered to the kernel, and none of its capacity.
    pub buf: B,
    /// The offset in the file, in bytes.
    pub offset: u64,
    /// Flags of this operation alone.
    pub rw_flags: RwFlags,
    /// The I/O priority, by default that of the submitting thread.
    pub ioprio: IoPrio,
}

impl<F, B> Read<F, B> {
    /// Makes a read to `buf` at `offset`, without flags and priority.
    #[inline]
    pub const fn new(fd: F, buf: B, offset: u64) -> Self {
        Self { fd, buf, offset, rw_flags: RwFlags::empty(), ioprio: IoPrio::INHERIT }
    }
}

impl<F: AsFd, B: ReadTo> Operation for Read<F, B> {
    #[inline]
    fn prepare(&mut self) -> Prepared<'_> {
        let prepared = Prepared::read_to(self.fd.as_fd().into(), self.buf.lend(), self.offset);
        prepared.rw_flags(self.rw_flags).ioprio(self.ioprio)
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        true
    }
}

/// Writes at an offset of a file. Completes with the count, which may be short.
///
/// If the file is open with `O_APPEND`, the kernel ignores the offset and writes at the end of the
/// file. [`RwFlags::NOAPPEND`] makes the offset count (since Linux 6.9), and [`RwFlags::APPEND`]
/// appends to any file.
///
/// A write is durable only after an [`Fdsync`](super::Fdsync) or [`Fsync`](super::Fsync) that
/// begins when the write has completed. With [`RwFlags::DSYNC`] it is durable when it completes:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, RwFlags, op::Write};
///
/// let mut queue = Queue::with_capacity(1)?;
/// let record = Write::new(tempfile::tempfile()?, b"committed".to_vec(), 0);
/// queue.push(Write { rw_flags: RwFlags::DSYNC, ..record })?;
/// let done = queue.wait()?.expect("a completion");
/// assert_eq!(done.result?, 9); // The record would survive a power failure.
/// # Ok(()) }
/// ```
///
/// On a file opened with `O_DIRECT`, the buffer's address, its length and the offset must be
/// multiples of what [`Geometry`](crate::geometry::Geometry) says; otherwise it completes with
/// `EINVAL`.
#[doc(alias("io_prep_pwrite", "pwrite", "aio_write"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<F, B> {
    /// Keeps the file open until the completion.
    pub fd: F,
    /// The bytes to write, all of them.
    pub buf: B,
    /// The offset in the file, in bytes.
    pub offset: u64,
    /// Flags of this operation alone.
    pub rw_flags: RwFlags,
    /// The I/O priority, by default that of the submitting thread.
    pub ioprio: IoPrio,
}

impl<F, B> Write<F, B> {
    /// Makes a write of `buf` at `offset`, without flags and priority.
    #[inline]
    pub const fn new(fd: F, buf: B, offset: u64) -> Self {
        Self { fd, buf, offset, rw_flags: RwFlags::empty(), ioprio: IoPrio::INHERIT }
    }
}

impl<F: AsFd, B: WriteFrom> Operation for Write<F, B> {
    #[inline]
    fn prepare(&mut self) -> Prepared<'_> {
        let bytes = self.buf.lend_bytes();
        let prepared = Prepared::write_from(self.fd.as_fd().into(), bytes, self.offset);
        prepared.rw_flags(self.rw_flags).ioprio(self.ioprio)
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        true
    }
}
