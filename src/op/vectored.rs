//! [`ReadV`] and [`WriteV`], with several buffers.

use super::buffers::{Buffers, Scratch};
use crate::abi::iovec;
use crate::buffer::{ReadTo, WriteFrom};
use crate::fd::AsFd;
use crate::room::Rooms;
use crate::{IoPrio, Iocb, Operation, Prepared, RwFlags};

/// Reads at an offset of a file to several buffers, one after the other. Completes with the count,
/// 0 at the end of the file, or if all buffers have length 0: as for [`Read`](super::Read), the
/// length of a buffer counts, not its capacity.
///
/// The buffers are an array, a `Vec` or a boxed slice ([`Buffers`]). The kernel takes at most 1024;
/// more complete with `EINVAL`.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, op::ReadV};
///
/// let mut queue = Queue::with_capacity(1)?;
/// let bufs: Vec<Vec<u8>> = (1..=3).map(|n| vec![1; n * 512]).collect();
/// queue.push(ReadV::new(std::fs::File::open("/dev/zero")?, bufs, 0))?;
/// let done = queue.wait()?.expect("a completion");
/// assert_eq!(done.result?, 6 * 512);
///
/// let next = ReadV { offset: 6 * 512, ..done.op }; // the same file and buffers again
/// queue.push(next)?;
/// # queue.wait()?.expect("a completion").result?;
/// # Ok(()) }
/// ```
///
/// Memory that is not initialised is filled buffer by buffer, too. Each [`Spare`](crate::Spare) has
/// what was read to it:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, Spare, op::ReadV};
///
/// let mut queue = Queue::with_capacity(1)?;
/// let zero = std::fs::File::open("/dev/zero")?;
/// let spare = |len| Spare::with_limit(Vec::with_capacity(len), len);
/// queue.push(ReadV::new(zero, vec![spare(16), spare(4096)], 0))?;
/// let done = queue.wait()?.expect("a completion");
/// assert_eq!(done.result?, 4112);
/// let bufs: Vec<Vec<u8>> = done.op.bufs.into_iter().map(Spare::into_inner).collect();
/// assert_eq!(bufs, [vec![0; 16], vec![0; 4096]]);
/// # Ok(()) }
/// ```
#[doc(alias("io_prep_preadv", "io_prep_preadv2", "preadv", "preadv2", "readv"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadV<F, S: Buffers> {
    /// Keeps the file open until the completion.
    pub fd: F,
    /// Receives the bytes: the first buffer until it is full, then the next.
    pub bufs: S,
    /// The offset in the file, in bytes.
    pub offset: u64,
    /// Flags of this operation alone.
    pub rw_flags: RwFlags,
    /// The I/O priority, by default that of the submitting thread.
    pub ioprio: IoPrio,
    /// Filled by `prepare`. Public so that `ReadV { offset, ..op }` compiles.
    pub iovecs: S::Iovecs,
}

impl<F, S: Buffers> ReadV<F, S> {
    /// Makes a read to `bufs` at `offset`, without flags and priority.
    pub fn new(fd: F, bufs: S, offset: u64) -> Self {
        let (rw_flags, ioprio, iovecs) = (RwFlags::empty(), IoPrio::INHERIT, bufs.iovecs());
        Self { fd, bufs, offset, rw_flags, ioprio, iovecs }
    }
}

impl<F: AsFd, S: Buffers<Buffer: ReadTo>> Operation for ReadV<F, S> {
    #[inline]
    fn prepare(&mut self) -> Prepared<'_> {
        let bufs = self.bufs.as_buffers_mut();
        let iovecs = self.iovecs.entries(bufs.len());
        let (mut rooms, mut count) = (Rooms::new(), 0);
        for (buf, entry) in bufs.iter_mut().zip(&mut *iovecs) {
            *entry = rooms.push(buf.lend());
            count += 1;
        }
        let fd = crate::Fd::from(self.fd.as_fd());
        let iocb = Iocb::preadv(fd.as_raw(), iovecs.as_ptr(), count, self.offset);
        // SAFETY: `count` entries were written. Their memory lies in rooms that different elements
        // of `self.bufs` have lent, and `self.iovecs` holds the entries. All of that is borrowed
        // from `self` for `'op`, as is the descriptor, which is open while `self.fd` is there.
        let prepared = unsafe { Prepared::from_iocb(iocb) };
        prepared.filling(rooms).rw_flags(self.rw_flags).ioprio(self.ioprio)
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        true
    }
}

/// Writes several buffers, one after the other, at an offset of a file. Completes with the
/// count, which may be short. Offset and durability are those of a [`Write`](super::Write).
///
/// The buffers are an array, a `Vec` or a boxed slice ([`Buffers`]). The kernel takes at most 1024;
/// more complete with `EINVAL`.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, op::WriteV};
///
/// let mut queue = Queue::with_capacity(1)?;
/// queue.push(WriteV::new(tempfile::tempfile()?, ["header: ", "body"], 0))?;
/// assert_eq!(queue.wait()?.expect("a completion").result?, 12);
/// # Ok(()) }
/// ```
#[doc(alias("io_prep_pwritev", "io_prep_pwritev2", "pwritev", "pwritev2", "writev"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteV<F, S: Buffers> {
    /// Keeps the file open until the completion.
    pub fd: F,
    /// The bytes to write, all of the first, then of the next.
    pub bufs: S,
    /// The offset in the file, in bytes.
    pub offset: u64,
    /// Flags of this operation alone.
    pub rw_flags: RwFlags,
    /// The I/O priority, by default that of the submitting thread.
    pub ioprio: IoPrio,
    /// Filled by `prepare`. Public so that `WriteV { offset, ..op }` compiles.
    pub iovecs: S::Iovecs,
}

impl<F, S: Buffers> WriteV<F, S> {
    /// Makes a write of `bufs` at `offset`, without flags and priority.
    pub fn new(fd: F, bufs: S, offset: u64) -> Self {
        let (rw_flags, ioprio, iovecs) = (RwFlags::empty(), IoPrio::INHERIT, bufs.iovecs());
        Self { fd, bufs, offset, rw_flags, ioprio, iovecs }
    }
}

impl<F: AsFd, S: Buffers<Buffer: WriteFrom>> Operation for WriteV<F, S> {
    #[inline]
    fn prepare(&mut self) -> Prepared<'_> {
        let bufs = self.bufs.as_buffers();
        let iovecs = self.iovecs.entries(bufs.len());
        let mut count = 0;
        for (buf, entry) in bufs.iter().zip(&mut *iovecs) {
            let bytes = buf.lend_bytes();
            let iov_base = bytes.as_ptr().expose_provenance();
            *entry = iovec { iov_base, iov_len: bytes.len() };
            count += 1;
        }
        let fd = crate::Fd::from(self.fd.as_fd());
        let iocb = Iocb::pwritev(fd.as_raw(), iovecs.as_ptr(), count, self.offset);
        // SAFETY: `count` entries were written. Their memory is that of slices that elements of
        // `self.bufs` have lent, and `self.iovecs` holds the entries. All of that is borrowed from
        // `self` for `'op`, as is the descriptor, which is open while `self.fd` is there.
        let prepared = unsafe { Prepared::from_iocb(iocb) };
        prepared.rw_flags(self.rw_flags).ioprio(self.ioprio)
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        true
    }
}
