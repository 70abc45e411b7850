//! [`Memory`], the buffers of a transfer. The only place that says what a buffer is.

use crate::abi::iovec;
use crate::op::{Buffers, IovecVec, Scratch};
use crate::raw::ForkGuard;
use crate::{Errno, Fd, Iocb, Prepared, RwFlags};
use alloc::vec::Vec;
use core::ops::Range;
use rustix::fd::BorrowedFd;
use rustix::io::ReadWriteFlags;
use std::io::{IoSlice, IoSliceMut};

/// The number of buffers that one call takes at most (`UIO_MAXIOV`).
const MAX_BUFFERS: usize = 1024;

/// The part of a transfer's bytes that one step moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// The number of bytes of the memory that come before it.
    pub(super) skip: usize,
    pub(super) len: usize,
}

impl Span {
    /// The same in a slice, which may have become shorter since it was asked.
    fn of(self, len: usize) -> Range<usize> {
        let end = self.skip.saturating_add(self.len).min(len);
        self.skip.min(end)..end
    }

    /// The same in the next of several buffers, which has this length. `before` is the length of
    /// those before it, and takes this one in.
    fn in_next(self, before: &mut usize, len: usize) -> Range<usize> {
        let skip = self.skip.saturating_sub(*before);
        let end = self.skip.saturating_add(self.len).saturating_sub(*before);
        *before = before.saturating_add(len);
        Self { skip, len: end - skip.min(end) }.of(len)
    }
}

/// The memory of a transfer, and its direction.
pub(super) trait Memory: Send + 'static {
    const WRITES: bool;

    /// Returns the number of bytes.
    fn len(&mut self) -> usize;

    /// Returns whether the kernel can move the bytes from `skip` on without a copy: whether they
    /// start at a multiple of `address`, and end, in each buffer, at a multiple of `length`.
    /// Memory that is in the value itself cannot be: it moves when the value does.
    fn is_straight(&mut self, skip: usize, address: usize, length: usize) -> bool;

    /// Moves bytes by a system call of this thread.
    fn call(
        &mut self,
        fd: BorrowedFd<'_>,
        span: Span,
        offset: u64,
        flags: RwFlags,
    ) -> Result<usize, Errno>;

    /// Makes an operation that moves bytes.
    fn prepare<'op>(
        &'op mut self,
        table: &'op mut IovecVec,
        fd: Fd<'op>,
        span: Span,
        offset: u64,
    ) -> Prepared<'op>;

    /// Copies bytes to the memory of a read.
    fn put(&mut self, at: usize, bytes: &[u8]);

    /// Copies bytes from the memory of a write. Returns how many there were.
    fn take(&mut self, at: usize, bytes: &mut [u8]) -> usize;
}

/// A buffer to fill.
pub(super) struct Fill<B>(pub(super) B);
/// Buffers to fill, one after the other.
pub(super) struct FillAll<S>(pub(super) S);
/// A buffer to write.
pub(super) struct Give<B>(pub(super) B);
/// Buffers to write, one after the other.
pub(super) struct GiveAll<S>(pub(super) S);

impl<B: AsMut<[u8]> + Send + 'static> Memory for Fill<B> {
    const WRITES: bool = false;

    fn len(&mut self) -> usize {
        self.0.as_mut().len()
    }

    fn is_straight(&mut self, skip: usize, address: usize, _length: usize) -> bool {
        let start = self.0.as_mut().as_ptr().addr();
        // Memory that is in the value moves with it.
        (start + skip) % address == 0 && !place(&self.0).contains(&start)
    }

    fn call(
        &mut self,
        fd: BorrowedFd<'_>,
        span: Span,
        offset: u64,
        flags: RwFlags,
    ) -> Result<usize, Errno> {
        let bytes = self.0.as_mut();
        let part = span.of(bytes.len());
        let bytes = &mut bytes[part];
        if flags.is_empty() {
            return Ok(rustix::io::pread(fd, bytes, offset)?);
        }
        Ok(rustix::io::preadv2(fd, &mut [IoSliceMut::new(bytes)], offset, bits(flags))?)
    }

    fn prepare<'op>(
        &'op mut self,
        _table: &'op mut IovecVec,
        fd: Fd<'op>,
        span: Span,
        offset: u64,
    ) -> Prepared<'op> {
        let bytes = self.0.as_mut();
        let part = span.of(bytes.len());
        Prepared::read(fd, &mut bytes[part], offset)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        let to = self.0.as_mut();
        let part = Span { skip: at, len: bytes.len() }.of(to.len());
        let to = &mut to[part];
        to.copy_from_slice(&bytes[..to.len()]);
    }

    fn take(&mut self, _: usize, _: &mut [u8]) -> usize {
        unreachable!("it is filled")
    }
}

impl<S: Buffers<Buffer: AsMut<[u8]>> + Send + 'static> FillAll<S> {
    fn pieces(&mut self, span: Span) -> impl Iterator<Item = &mut [u8]> {
        let mut before = 0usize;
        let pieces = self.0.as_buffers_mut().iter_mut().map(move |buf| {
            let bytes = buf.as_mut();
            let part = span.in_next(&mut before, bytes.len());
            &mut bytes[part]
        });
        pieces.filter(|piece| !piece.is_empty())
    }
}

impl<S: Buffers<Buffer: AsMut<[u8]>> + Send + 'static> Memory for FillAll<S> {
    const WRITES: bool = false;

    fn len(&mut self) -> usize {
        let lens = self.0.as_buffers_mut().iter_mut().map(|buf| buf.as_mut().len());
        lens.fold(0, usize::saturating_add)
    }

    fn is_straight(&mut self, skip: usize, address: usize, length: usize) -> bool {
        let here = place(&self.0);
        skip % length.max(address) == 0
            && self.0.as_buffers().len() <= MAX_BUFFERS
            && self.pieces(EVERYTHING).all(|piece| {
                let start = piece.as_ptr().addr();
                start % address == 0 && piece.len() % length == 0 && !here.contains(&start)
            })
    }

    fn call(
        &mut self,
        fd: BorrowedFd<'_>,
        span: Span,
        offset: u64,
        flags: RwFlags,
    ) -> Result<usize, Errno> {
        let mut pieces: Vec<_> = self.pieces(span).take(MAX_BUFFERS).map(IoSliceMut::new).collect();
        Ok(match flags.is_empty() {
            true => rustix::io::preadv(fd, &mut pieces, offset)?,
            false => rustix::io::preadv2(fd, &mut pieces, offset, bits(flags))?,
        })
    }

    fn prepare<'op>(
        &'op mut self,
        table: &'op mut IovecVec,
        fd: Fd<'op>,
        span: Span,
        offset: u64,
    ) -> Prepared<'op> {
        let pieces = self.pieces(span).take(MAX_BUFFERS).map(|piece| iovec {
            iov_base: piece.as_mut_ptr().expose_provenance(),
            iov_len: piece.len(),
        });
        let (start, count) = fill(table, pieces);
        let iocb = Iocb::preadv(fd.as_raw(), start, count, offset);
        // SAFETY: `count` entries of the table were written. Their memory is that of slices which
        // different elements of `self.0` have lent. The table, these elements and the descriptor
        // are borrowed for `'op`.
        unsafe { Prepared::from_iocb(iocb) }
    }

    fn put(&mut self, at: usize, mut bytes: &[u8]) {
        for piece in self.pieces(Span { skip: at, len: bytes.len() }) {
            let now;
            (now, bytes) = bytes.split_at(piece.len());
            piece.copy_from_slice(now);
        }
    }

    fn take(&mut self, _: usize, _: &mut [u8]) -> usize {
        unreachable!("it is filled")
    }
}

impl<B: AsRef<[u8]> + Send + 'static> Memory for Give<B> {
    const WRITES: bool = true;

    fn len(&mut self) -> usize {
        self.0.as_ref().len()
    }

    fn is_straight(&mut self, skip: usize, address: usize, _length: usize) -> bool {
        let start = self.0.as_ref().as_ptr().addr();
        // Memory that is in the value moves with it.
        (start + skip) % address == 0 && !place(&self.0).contains(&start)
    }

    fn call(
        &mut self,
        fd: BorrowedFd<'_>,
        span: Span,
        offset: u64,
        flags: RwFlags,
    ) -> Result<usize, Errno> {
        let process = ForkGuard::of_this_process();
        let bytes = self.0.as_ref();
        // A child that it forks must not write, too: perhaps after others have written.
        process.check_strictly()?;
        let bytes = &bytes[span.of(bytes.len())];
        if flags.is_empty() {
            return Ok(rustix::io::pwrite(fd, bytes, offset)?);
        }
        Ok(rustix::io::pwritev2(fd, &[IoSlice::new(bytes)], offset, bits(flags))?)
    }

    fn prepare<'op>(
        &'op mut self,
        _table: &'op mut IovecVec,
        fd: Fd<'op>,
        span: Span,
        offset: u64,
    ) -> Prepared<'op> {
        let bytes = self.0.as_ref();
        Prepared::write(fd, &bytes[span.of(bytes.len())], offset)
    }

    fn put(&mut self, _: usize, _: &[u8]) {
        unreachable!("it is written")
    }

    fn take(&mut self, at: usize, bytes: &mut [u8]) -> usize {
        let from = self.0.as_ref();
        let from = &from[Span { skip: at, len: bytes.len() }.of(from.len())];
        bytes[..from.len()].copy_from_slice(from);
        from.len()
    }
}

impl<S: Buffers<Buffer: AsRef<[u8]>> + Send + 'static> GiveAll<S> {
    fn pieces(&self, span: Span) -> impl Iterator<Item = &[u8]> {
        let mut before = 0usize;
        let pieces = self.0.as_buffers().iter().map(move |buf| {
            let bytes = buf.as_ref();
            &bytes[span.in_next(&mut before, bytes.len())]
        });
        pieces.filter(|piece| !piece.is_empty())
    }
}

impl<S: Buffers<Buffer: AsRef<[u8]>> + Send + 'static> Memory for GiveAll<S> {
    const WRITES: bool = true;

    fn len(&mut self) -> usize {
        let lens = self.0.as_buffers().iter().map(|buf| buf.as_ref().len());
        lens.fold(0, usize::saturating_add)
    }

    fn is_straight(&mut self, skip: usize, address: usize, length: usize) -> bool {
        let here = place(&self.0);
        skip % length.max(address) == 0
            && self.0.as_buffers().len() <= MAX_BUFFERS
            && self.pieces(EVERYTHING).all(|piece| {
                let start = piece.as_ptr().addr();
                start % address == 0 && piece.len() % length == 0 && !here.contains(&start)
            })
    }

    fn call(
        &mut self,
        fd: BorrowedFd<'_>,
        span: Span,
        offset: u64,
        flags: RwFlags,
    ) -> Result<usize, Errno> {
        let process = ForkGuard::of_this_process();
        let pieces: Vec<_> = self.pieces(span).take(MAX_BUFFERS).map(IoSlice::new).collect();
        process.check_strictly()?;
        Ok(match flags.is_empty() {
            true => rustix::io::pwritev(fd, &pieces, offset)?,
            false => rustix::io::pwritev2(fd, &pieces, offset, bits(flags))?,
        })
    }

    fn prepare<'op>(
        &'op mut self,
        table: &'op mut IovecVec,
        fd: Fd<'op>,
        span: Span,
        offset: u64,
    ) -> Prepared<'op> {
        let pieces = self.pieces(span).take(MAX_BUFFERS).map(|piece| iovec {
            iov_base: piece.as_ptr().expose_provenance(),
            iov_len: piece.len(),
        });
        let (start, count) = fill(table, pieces);
        let iocb = Iocb::pwritev(fd.as_raw(), start, count, offset);
        // SAFETY: `count` entries of the table were written. Their memory is that of slices which
        // elements of `self.0` have lent, and is read alone. The table, these elements and the
        // descriptor are borrowed for `'op`.
        unsafe { Prepared::from_iocb(iocb) }
    }

    fn put(&mut self, _: usize, _: &[u8]) {
        unreachable!("it is written")
    }

    fn take(&mut self, at: usize, bytes: &mut [u8]) -> usize {
        let mut taken = 0;
        for piece in self.pieces(Span { skip: at, len: bytes.len() }) {
            bytes[taken..][..piece.len()].copy_from_slice(piece);
            taken += piece.len();
        }
        taken
    }
}

const EVERYTHING: Span = Span { skip: 0, len: usize::MAX };

/// Returns the addresses of a value itself. Memory there moves when the value does.
fn place<B>(buf: &B) -> Range<usize> {
    let this = (&raw const *buf).addr();
    this..this + size_of::<B>()
}

/// Writes a table. Returns where it starts, and the number of its entries.
fn fill(table: &mut IovecVec, entries: impl Iterator<Item = iovec>) -> (*const iovec, usize) {
    let mut count = 0;
    for entry in entries {
        table.entries(count + 1)[count] = entry;
        count += 1;
    }
    (table.entries(count).as_ptr(), count)
}

fn bits(flags: RwFlags) -> ReadWriteFlags {
    ReadWriteFlags::from_bits_retain(flags.bits() as _)
}
