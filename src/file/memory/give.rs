//! The memory of writes.

use super::table::{self, entry};
use super::{MAX_BUFFERS, Memory, Span};
use crate::abi::iovec;
use crate::op::{Buffers, IovecVec};
use crate::raw::ForkGuard;
use crate::{Errno, Fd, Iocb, Prepared, RwFlags, WriteFrom};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::MemfdFlags;

/// A buffer to write.
pub(in crate::file) struct Give<B>(pub(in crate::file) B);

/// Buffers to write, one after the other.
pub(in crate::file) struct GiveAll<S> {
    pub(in crate::file) bufs: S,
    table: IovecVec,
}

/// Returns the entry for what a step writes of a buffer.
#[inline]
fn lend<B: WriteFrom>(buf: &B, part: impl FnOnce(usize) -> core::ops::Range<usize>) -> iovec {
    let bytes = buf.lend_bytes();
    let part = part(bytes.len());
    entry(bytes.skip(part.start).as_ptr(), part.len())
}

/// Copies bytes of a buffer, from `at` on. Returns how many there were.
fn copy<B: WriteFrom>(buf: &B, at: usize, to: &mut [u8]) -> Result<usize, Errno> {
    let span = Span { skip: at, len: to.len() };
    if let Some(bytes) = buf.as_plain() {
        let bytes = &bytes[span.of(bytes.len())];
        to[..bytes.len()].copy_from_slice(bytes);
        return Ok(bytes.len());
    }
    // Other threads may write to it, which only the kernel can cope with here.
    let memory = rustix::fs::memfd_create("linux-aio", MemfdFlags::CLOEXEC)?;
    let table = [lend(buf, |len| span.of(len))];
    // SAFETY: The buffer lends the memory, and is borrowed until the call returns.
    let count = unsafe { table::write_to_own(memory.as_fd(), &table) }?;
    Ok(rustix::io::pread(&memory, &mut to[..count], 0)?)
}

impl<B: WriteFrom + Send + 'static> Memory for Give<B> {
    const WRITES: bool = true;

    #[inline]
    fn len(&mut self) -> usize {
        self.0.lend_bytes().len()
    }

    #[inline]
    fn is_straight(&mut self, _done: usize, from: usize, address: usize, _length: usize) -> bool {
        self.0.lend_bytes().as_ptr().addr().wrapping_add(from) % address == 0
    }

    fn call(
        &mut self,
        fd: BorrowedFd<'_>,
        span: Span,
        offset: u64,
        flags: RwFlags,
    ) -> Result<usize, Errno> {
        let process = ForkGuard::of_this_process();
        let table = [lend(&self.0, |len| span.of(len))];
        // A child that it forks must not write, too: perhaps after others have written.
        process.check_strictly()?;
        // SAFETY: The buffer lends the memory, and is borrowed until the call returns.
        unsafe { table::write(fd, &table, offset, flags) }
    }

    #[inline]
    fn prepare<'op>(&'op mut self, fd: Fd<'op>, span: Span, offset: u64) -> Prepared<'op> {
        let bytes = self.0.lend_bytes();
        let part = span.of(bytes.len());
        let start = bytes.skip(part.start).as_ptr();
        let iocb = Iocb::pwrite(fd.as_raw(), start, part.len(), offset);
        // SAFETY: The buffer lends the memory. It is borrowed for `'op`, as is the descriptor.
        unsafe { Prepared::from_iocb(iocb) }
    }

    fn put(&mut self, _: usize, _: &[u8]) {
        unreachable!("it is written")
    }

    fn take(&mut self, at: usize, bytes: &mut [u8]) -> Result<usize, Errno> {
        copy(&self.0, at, bytes)
    }
}

impl<S: Buffers<Buffer: WriteFrom>> GiveAll<S> {
    pub(in crate::file) fn new(bufs: S) -> Self {
        Self { bufs, table: IovecVec::default() }
    }

    /// Writes the table of what a step writes.
    fn table(&mut self, span: Span) -> &mut [iovec] {
        table::fill(&mut self.table, entries(&self.bufs, span).take(MAX_BUFFERS))
    }
}

/// Returns the entries for what a step writes, buffer by buffer.
fn entries<S: Buffers<Buffer: WriteFrom>>(bufs: &S, span: Span) -> impl Iterator<Item = iovec> {
    let mut before = 0usize;
    let entries =
        bufs.as_buffers().iter().map(move |buf| lend(buf, |len| span.in_next(&mut before, len)));
    entries.filter(|entry| entry.iov_len > 0)
}

impl<S: Buffers<Buffer: WriteFrom> + Send + 'static> Memory for GiveAll<S> {
    const WRITES: bool = true;

    fn len(&mut self) -> usize {
        let lens = self.bufs.as_buffers().iter().map(|buf| buf.lend_bytes().len());
        lens.fold(0, usize::saturating_add)
    }

    fn is_straight(&mut self, _done: usize, from: usize, address: usize, length: usize) -> bool {
        from % length.max(address) == 0
            && self.bufs.as_buffers().len() <= MAX_BUFFERS
            && entries(&self.bufs, Span::EVERYTHING)
                .all(|entry| entry.iov_base % address == 0 && entry.iov_len % length == 0)
    }

    fn call(
        &mut self,
        fd: BorrowedFd<'_>,
        span: Span,
        offset: u64,
        flags: RwFlags,
    ) -> Result<usize, Errno> {
        let process = ForkGuard::of_this_process();
        let table = self.table(span);
        process.check_strictly()?;
        // SAFETY: The memory is what elements of the buffers have lent, which are borrowed until
        // the call returns.
        unsafe { table::write(fd, table, offset, flags) }
    }

    fn prepare<'op>(&'op mut self, fd: Fd<'op>, span: Span, offset: u64) -> Prepared<'op> {
        let table = self.table(span);
        let iocb = Iocb::pwritev(fd.as_raw(), table.as_ptr(), table.len(), offset);
        // SAFETY: The entries of the table were written. Their memory is what elements of the
        // buffers have lent. The table, these elements and the descriptor are borrowed for `'op`.
        unsafe { Prepared::from_iocb(iocb) }
    }

    fn put(&mut self, _: usize, _: &[u8]) {
        unreachable!("it is written")
    }

    fn take(&mut self, at: usize, bytes: &mut [u8]) -> Result<usize, Errno> {
        let (span, mut before, mut taken) = (Span { skip: at, len: bytes.len() }, 0, 0);
        for buf in self.bufs.as_buffers() {
            let part = span.in_next(&mut before, buf.lend_bytes().len());
            // The buffers may have become longer since.
            let to = bytes.len().min(taken + part.len());
            if taken < to {
                taken += copy(buf, part.start, &mut bytes[taken..to])?;
            }
        }
        Ok(taken)
    }
}
