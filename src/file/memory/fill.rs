//! The memory of reads.

use super::table::{self, entry};
use super::{MAX_BUFFERS, Memory, Span};
use crate::abi::iovec;
use crate::op::{Buffers, IovecVec};
use crate::{Errno, Fd, Iocb, Plain, Prepared, ReadTo, Room, RwFlags};
use rustix::fd::BorrowedFd;

/// A buffer to fill.
pub(in crate::file) struct Fill<B>(pub(in crate::file) B);

/// Buffers to fill, one after the other.
pub(in crate::file) struct FillAll<S> {
    pub(in crate::file) bufs: S,
    table: IovecVec,
}

impl<B: ReadTo> Fill<B> {
    /// Lends what a step fills.
    #[inline(always)]
    fn room(&mut self, span: Span) -> Room<'_> {
        let room = self.0.lend_again(span.skip);
        let part = span.of(room.len());
        room.skip(part.start).first(part.len())
    }
}

impl<B: ReadTo + Send + 'static> Memory for Fill<B> {
    const WRITES: bool = false;

    #[inline]
    fn len(&mut self) -> usize {
        self.0.lend().len()
    }

    #[inline]
    fn is_straight(&mut self, done: usize, from: usize, address: usize, _length: usize) -> bool {
        (self.0.lend_again(done).start().addr().wrapping_add(from)) % address == 0
    }

    fn call(
        &mut self,
        fd: BorrowedFd<'_>,
        span: Span,
        offset: u64,
        flags: RwFlags,
    ) -> Result<usize, Errno> {
        let room = self.room(span);
        let mut table = [entry(room.start(), room.len())];
        // SAFETY: The room lends its memory for writing until it is used up below.
        let count = unsafe { table::read(fd, &mut table, offset, flags) }?;
        // SAFETY: The kernel has written the first `count` bytes.
        unsafe { room.add_filled(count) };
        Ok(count)
    }

    #[inline(always)]
    fn prepare<'op>(&'op mut self, fd: Fd<'op>, span: Span, offset: u64) -> Prepared<'op> {
        Prepared::read_to(fd, self.room(span), offset)
    }

    fn put(&mut self, done: usize, bytes: &[u8]) {
        self.room(Span { skip: done, len: bytes.len() }).fill_with(bytes);
    }

    fn take(&mut self, _: usize, _: &mut [u8]) -> Result<usize, Errno> {
        unreachable!("it is filled")
    }
}

impl<S: Buffers<Buffer: Plain>> FillAll<S> {
    pub(in crate::file) fn new(bufs: S) -> Self {
        Self { bufs, table: IovecVec::default() }
    }

    /// Writes the table of what a step fills.
    fn table(&mut self, span: Span) -> &mut [iovec] {
        let rooms = rooms(&mut self.bufs, span).take(MAX_BUFFERS);
        table::fill(&mut self.table, rooms.map(|room| entry(room.start(), room.len())))
    }
}

/// Lends what a step fills, buffer by buffer.
fn rooms<S: Buffers<Buffer: Plain>>(bufs: &mut S, span: Span) -> impl Iterator<Item = Room<'_>> {
    let mut before = 0usize;
    let rooms = bufs.as_buffers_mut().iter_mut().map(move |buf| {
        let room = buf.lend();
        let part = span.in_next(&mut before, room.len());
        room.skip(part.start).first(part.len())
    });
    rooms.filter(|room| !room.is_empty())
}

impl<S: Buffers<Buffer: Plain> + Send + 'static> Memory for FillAll<S> {
    const WRITES: bool = false;

    fn len(&mut self) -> usize {
        let lens = self.bufs.as_buffers_mut().iter_mut().map(|buf| buf.lend().len());
        lens.fold(0, usize::saturating_add)
    }

    fn is_straight(&mut self, _done: usize, from: usize, address: usize, length: usize) -> bool {
        from % length.max(address) == 0
            && self.bufs.as_buffers().len() <= MAX_BUFFERS
            && rooms(&mut self.bufs, Span::EVERYTHING)
                .all(|room| room.start().addr() % address == 0 && room.len() % length == 0)
    }

    fn call(
        &mut self,
        fd: BorrowedFd<'_>,
        span: Span,
        offset: u64,
        flags: RwFlags,
    ) -> Result<usize, Errno> {
        let table = self.table(span);
        // SAFETY: The memory is that of rooms which different elements of the buffers have lent.
        // These are borrowed exclusively until the call returns.
        unsafe { table::read(fd, table, offset, flags) }
    }

    fn prepare<'op>(&'op mut self, fd: Fd<'op>, span: Span, offset: u64) -> Prepared<'op> {
        let table = self.table(span);
        let iocb = Iocb::preadv(fd.as_raw(), table.as_ptr(), table.len(), offset);
        // SAFETY: The entries of the table were written. Their memory is that of rooms which
        // different elements of the buffers have lent. The table, these elements and the descriptor
        // are borrowed for `'op`.
        unsafe { Prepared::from_iocb(iocb) }
    }

    fn put(&mut self, done: usize, mut bytes: &[u8]) {
        for room in rooms(&mut self.bufs, Span { skip: done, len: bytes.len() }) {
            // Together they may be longer, if they have become so.
            let now;
            (now, bytes) = bytes.split_at(room.len().min(bytes.len()));
            room.first(now.len()).fill_with(now);
        }
    }

    fn take(&mut self, _: usize, _: &mut [u8]) -> Result<usize, Errno> {
        unreachable!("it is filled")
    }
}
