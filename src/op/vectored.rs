//! [`ReadV`] and [`WriteV`], with several buffers.

use crate::abi::iovec;
use crate::fd::AsFd;
use crate::{IoPrio, Iocb, Operation, Prepared, RwFlags};

const NO_BUFFER: iovec = iovec { iov_base: 0, iov_len: 0 };

/// A read at an offset of a file to `N` buffers, one after the other. Completes with the count, 0 at
/// the end of the file, or if all buffers have length 0: as for [`Read`](super::Read), the length of
/// a buffer counts, not its capacity.
#[derive(Clone, Debug)]
pub struct ReadV<F, B, const N: usize> {
    /// Keeps the file open until the completion.
    pub fd: F,
    /// Receive the bytes, the first until it is full, then the next.
    pub bufs: [B; N],
    /// Where in the file, in bytes.
    pub offset: u64,
    /// Flags of this operation alone.
    pub rw_flags: RwFlags,
    /// The I/O priority, by default that of the submitting thread.
    pub ioprio: IoPrio,
    /// What the kernel reads at submission; filled by `prepare`.
    iovecs: [iovec; N],
}

impl<F, B, const N: usize> ReadV<F, B, N> {
    /// A read to `bufs` at `offset`, without flags and priority.
    pub const fn new(fd: F, bufs: [B; N], offset: u64) -> Self {
        let (rw_flags, ioprio, iovecs) = (RwFlags::NONE, IoPrio::INHERIT, [NO_BUFFER; N]);
        Self { fd, bufs, offset, rw_flags, ioprio, iovecs }
    }
}

impl<F: AsFd, B: AsMut<[u8]>, const N: usize> Operation for ReadV<F, B, N> {
    #[inline]
    fn prepare(&mut self) -> Prepared<'_> {
        for (buf, place) in self.bufs.iter_mut().zip(&mut self.iovecs) {
            let buf = buf.as_mut();
            let iov_base = buf.as_mut_ptr().expose_provenance();
            *place = iovec { iov_base, iov_len: buf.len() };
        }
        let fd = crate::Fd::from(self.fd.as_fd());
        let iocb = Iocb::preadv(fd.as_raw(), self.iovecs.as_ptr(), N, self.offset);
        // SAFETY: The addresses are of `self.iovecs` and of what `self.bufs` gave for writing by a
        // loan of `self`, which is lent for `'op` as a whole and so cannot be had again before;
        // the descriptor is open as long as `self.fd` is there.
        let prepared = unsafe { Prepared::from_iocb(iocb) };
        prepared.rw_flags(self.rw_flags).ioprio(self.ioprio)
    }
}

/// A write of `N` buffers, one after the other, at an offset of a file. Completes with the count,
/// which may be short. Offset and durability are those of a [`Write`](super::Write).
#[derive(Clone, Debug)]
pub struct WriteV<F, B, const N: usize> {
    /// Keeps the file open until the completion.
    pub fd: F,
    /// The bytes to write, all of the first, then of the next.
    pub bufs: [B; N],
    /// Where in the file, in bytes.
    pub offset: u64,
    /// Flags of this operation alone.
    pub rw_flags: RwFlags,
    /// The I/O priority, by default that of the submitting thread.
    pub ioprio: IoPrio,
    /// What the kernel reads at submission; filled by `prepare`.
    iovecs: [iovec; N],
}

impl<F, B, const N: usize> WriteV<F, B, N> {
    /// A write of `bufs` at `offset`, without flags and priority.
    pub const fn new(fd: F, bufs: [B; N], offset: u64) -> Self {
        let (rw_flags, ioprio, iovecs) = (RwFlags::NONE, IoPrio::INHERIT, [NO_BUFFER; N]);
        Self { fd, bufs, offset, rw_flags, ioprio, iovecs }
    }
}

impl<F: AsFd, B: AsRef<[u8]>, const N: usize> Operation for WriteV<F, B, N> {
    #[inline]
    fn prepare(&mut self) -> Prepared<'_> {
        for (buf, place) in self.bufs.iter().zip(&mut self.iovecs) {
            let buf = buf.as_ref();
            *place = iovec { iov_base: buf.as_ptr().expose_provenance(), iov_len: buf.len() };
        }
        let fd = crate::Fd::from(self.fd.as_fd());
        let iocb = Iocb::pwritev(fd.as_raw(), self.iovecs.as_ptr(), N, self.offset);
        // SAFETY: The addresses are of `self.iovecs` and of what `self.bufs` gave for reading by a
        // loan of `self`, which is lent for `'op` as a whole and so cannot be written before; the
        // descriptor is open as long as `self.fd` is there.
        let prepared = unsafe { Prepared::from_iocb(iocb) };
        prepared.rw_flags(self.rw_flags).ioprio(self.ioprio)
    }
}
