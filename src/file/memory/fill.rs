//! The memory of reads.

use super::table;
use super::{MAX_BUFFERS, Memory, Span};
use crate::abi::iovec;
use crate::op::{Buffers, IovecVec};
use crate::room::Rooms;
use crate::{Errno, Fd, Iocb, Prepared, ReadTo, Room, RwFlags};
use alloc::vec::Vec;
use core::ops::Range;
use rustix::fd::BorrowedFd;

/// A buffer to fill.
pub(in crate::file) struct Fill<B>(pub(in crate::file) B);

/// Buffers to fill, one after the other.
pub(in crate::file) struct FillAll<S> {
    pub(in crate::file) bufs: S,
    /// The lengths of the buffers when the transfer began. Memory that is not initialised is lent
    /// from where a buffer is not full yet.
    lens: Vec<usize>,
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
        let mut rooms = Rooms::new();
        let mut table = [rooms.push(self.room(span))];
        // SAFETY: The room lends its memory for writing until it is used up below.
        let count = unsafe { table::read(fd, &mut table, offset, flags) }?;
        // SAFETY: The kernel has written the first `count` bytes.
        unsafe { rooms.add_filled(count) };
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

impl<S: Buffers<Buffer: ReadTo>> FillAll<S> {
    pub(in crate::file) fn new(bufs: S) -> Self {
        Self { bufs, lens: Vec::new(), table: IovecVec::default() }
    }

    /// Writes the table of what a step fills. Returns it, and the rooms that it names.
    fn table(&mut self, span: Span) -> (&mut [iovec], Rooms<'_>) {
        let Self { bufs, lens, table } = self;
        let mut lent = Rooms::new();
        let rooms = rooms(bufs, lens, span).take(MAX_BUFFERS);
        let table = table::fill(table, rooms.map(|room| lent.push(room)));
        (table, lent)
    }
}

/// Lends the memory of each buffer, from where the transfer began. Of the bytes before the span,
/// all have been read. With it comes the part that the span has of it.
fn buffers<'b, S: Buffers<Buffer: ReadTo>>(
    bufs: &'b mut S,
    lens: &'b [usize],
    span: Span,
) -> impl Iterator<Item = (Room<'b>, Range<usize>)> {
    let mut before = 0usize;
    bufs.as_buffers_mut().iter_mut().zip(lens).map(move |(buf, len)| {
        let part = span.in_next(&mut before, *len);
        let room = buf.lend_again(part.start);
        let end = part.end.min(room.len());
        (room, part.start.min(end)..end)
    })
}

/// Lends what a step fills, buffer by buffer.
fn rooms<'b, S: Buffers<Buffer: ReadTo>>(
    bufs: &'b mut S,
    lens: &'b [usize],
    span: Span,
) -> impl Iterator<Item = Room<'b>> {
    let parts = buffers(bufs, lens, span).filter(|(_, part)| !part.is_empty());
    parts.map(|(room, part)| room.skip(part.start).first(part.len()))
}

impl<S: Buffers<Buffer: ReadTo> + Send + 'static> Memory for FillAll<S> {
    const WRITES: bool = false;

    fn len(&mut self) -> usize {
        self.lens.clear();
        self.lens.extend(self.bufs.as_buffers_mut().iter_mut().map(|buf| buf.lend().len()));
        self.lens.iter().copied().fold(0, usize::saturating_add)
    }

    fn is_straight(&mut self, done: usize, from: usize, address: usize, length: usize) -> bool {
        from % length.max(address) == 0
            && self.lens.len() <= MAX_BUFFERS
            && buffers(&mut self.bufs, &self.lens, Span { skip: done, len: 0 }).all(|(room, _)| {
                room.is_empty() || room.start().addr() % address == 0 && room.len() % length == 0
            })
    }

    fn call(
        &mut self,
        fd: BorrowedFd<'_>,
        span: Span,
        offset: u64,
        flags: RwFlags,
    ) -> Result<usize, Errno> {
        let (table, rooms) = self.table(span);
        // SAFETY: The memory is that of the rooms, which lend it for writing until they are used up
        // below.
        let count = unsafe { table::read(fd, table, offset, flags) }?;
        // SAFETY: The kernel has written the first `count` bytes.
        unsafe { rooms.add_filled(count) };
        Ok(count)
    }

    fn prepare<'op>(&'op mut self, fd: Fd<'op>, span: Span, offset: u64) -> Prepared<'op> {
        let (table, rooms) = self.table(span);
        let iocb = Iocb::preadv(fd.as_raw(), table.as_ptr(), table.len(), offset);
        // SAFETY: The entries of the table were written. Their memory is that of the rooms, which
        // lend it for `'op`. The table and the descriptor are borrowed for `'op`, too.
        unsafe { Prepared::from_iocb(iocb) }.filling(rooms)
    }

    fn put(&mut self, done: usize, mut bytes: &[u8]) {
        for room in rooms(&mut self.bufs, &self.lens, Span { skip: done, len: bytes.len() }) {
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
