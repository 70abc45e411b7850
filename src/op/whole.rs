//! [`Whole`], a transfer that goes on after a short count, and [`Transfer`], what can go on.

use super::{Read, Write};
use crate::buffer::{ReadTo, WriteFrom};
use crate::fd::AsFd;
use crate::{EventResult, Operation, Prepared};

/// A transfer that goes on after a short count, until it is whole, at the end of the file, or
/// failed.
///
/// The kernel may read or write less than it was asked for: at the end of the file, on a full disk,
/// after a signal, and always above 0x7ffff000 bytes. A `Whole` then goes on behind the bytes that
/// are done, from its slot, without an allocation. It completes once. Scope, queue and driver do
/// this alike.
///
/// - The result is that of the last piece, and [`done`](Self::done) is the count of all pieces.
/// - A piece that brings no byte further is the end of the file. So a transfer that
///   [is not whole](Self::is_whole) without an error has met the end of the file.
/// - After an error, `done` says how far it came. Pushed again, the transfer goes on from there.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, op::{Read, Whole}};
///
/// let mut queue = Queue::with_capacity(1)?;
/// let read = Read::new(std::fs::File::open("/etc/os-release")?, vec![0; 1 << 20], 0);
/// queue.push(Whole::new(read))?;
/// let done = queue.wait()?.expect("a completion");
/// done.result?;
/// assert!(!done.op.is_whole()); // The file is shorter than 1 MiB.
/// let count = done.op.done();
/// let text = &done.op.into_inner().buf[..count];
/// # assert!(!text.is_empty());
/// # Ok(()) }
/// ```
///
/// # What to know
///
/// - Each piece is an operation of its own. It has a token of its own, so the token of the push
///   cannot cancel a later piece, and [`Completion::token`](crate::Completion::token) is that of
///   the last piece. Attach a value to tell transfers from each other.
/// - A `wait_timeout` begins its time anew for each piece.
/// - A scope with 64 queued operations that the kernel has no room for completes the transfer with
///   `EAGAIN`. Push it again to go on.
/// - A scope that is left, and a queue that is dropped, do not go on.
/// - An operation of your own that holds a `Whole` must delegate
///   [`goes_on`](Operation::goes_on) as it delegates `prepare`. If it does not, it gets short
///   counts.
#[doc(alias("read_exact", "write_all", "pread", "pwrite"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole<P> {
    op: P,
    /// The number of bytes that are done. This count leads: the buffer is told it (`lend_again`).
    done: usize,
    /// The count of the whole, from when the last piece was prepared. Not known before.
    total: usize,
    /// Lower bits that the start of a piece does not have.
    mask: usize,
}

impl<P: Transfer> Whole<P> {
    /// Makes a transfer that goes on at the first byte that is not done.
    pub const fn new(op: P) -> Self {
        Self { op, done: 0, total: usize::MAX, mask: 0 }
    }

    /// Makes a transfer whose pieces begin at multiples of `align` from its start: for `O_DIRECT`.
    ///
    /// A piece may repeat bytes that are done. The end of a file that is no multiple of `align` is
    /// found so.
    ///
    /// # Panics
    /// If `align` is no power of two.
    pub const fn aligned(op: P, align: usize) -> Self {
        assert!(align.is_power_of_two(), "the alignment is no power of two");
        Self { op, done: 0, total: usize::MAX, mask: align - 1 }
    }

    /// Returns how many bytes are done.
    pub const fn done(&self) -> usize {
        self.done
    }

    /// Returns whether every byte is done. Returns `false` for a transfer that was never pushed.
    pub const fn is_whole(&self) -> bool {
        self.done >= self.total
    }

    /// Returns the operation.
    pub const fn op(&self) -> &P {
        &self.op
    }

    /// Returns the operation.
    pub fn into_inner(self) -> P {
        self.op
    }

    /// Starts again: nothing is done. Returns the operation, to be changed before the next push.
    pub const fn restart(&mut self) -> &mut P {
        self.done = 0;
        self.total = usize::MAX;
        &mut self.op
    }
}

impl<P: Transfer> Operation for Whole<P> {
    #[inline]
    fn prepare(&mut self) -> Prepared<'_> {
        let from = self.done & !self.mask;
        let prepared = self.op.prepare_rest(self.done, from);
        self.total = from.saturating_add(prepared.transfer_len());
        prepared
    }

    #[inline]
    fn goes_on(&mut self, outcome: EventResult) -> bool {
        let Ok(count) = outcome.result() else { return false };
        let from = self.done & !self.mask;
        let end = from.saturating_add(count as usize).min(self.total);
        if end <= self.done {
            return false;
        }
        self.done = end;
        end < self.total
    }
}

/// An operation that can go on behind the bytes that are done.
///
/// [`Whole`] makes it do so. Implemented for [`Read`] and [`Write`].
///
/// ```
/// use linux_aio::{Operation, Prepared, op::Transfer};
/// use std::{fs::File, os::fd::AsFd, sync::Arc};
///
/// struct ReadPage {
///     database: Arc<File>,
///     page: u64,
///     frame: Box<[u8; 4096]>,
/// }
///
/// impl Operation for ReadPage {
///     fn prepare(&mut self) -> Prepared<'_> {
///         self.prepare_rest(0, 0)
///     }
/// }
///
/// impl Transfer for ReadPage {
///     fn prepare_rest(&mut self, _done: usize, from: usize) -> Prepared<'_> {
///         let offset = self.page * 4096 + from as u64;
///         Prepared::read(self.database.as_fd().into(), &mut self.frame[from..], offset)
///     }
/// }
/// ```
pub trait Transfer: Operation {
    /// Prepares the transfer from its byte `from` on, by a read or write of one buffer.
    ///
    /// `done` bytes are done, and `from` is at most that. `prepare_rest(0, 0)` is the whole
    /// transfer.
    fn prepare_rest(&mut self, done: usize, from: usize) -> Prepared<'_>;
}

impl<F: AsFd, B: ReadTo> Transfer for Read<F, B> {
    #[inline]
    fn prepare_rest(&mut self, done: usize, from: usize) -> Prepared<'_> {
        let room = self.buf.lend_again(done);
        let from = from.min(room.len());
        let offset = self.offset.saturating_add(from as u64);
        let prepared = Prepared::read_to(self.fd.as_fd().into(), room.skip(from), offset);
        prepared.rw_flags(self.rw_flags).ioprio(self.ioprio)
    }
}

impl<F: AsFd, B: WriteFrom> Transfer for Write<F, B> {
    #[inline]
    fn prepare_rest(&mut self, _done: usize, from: usize) -> Prepared<'_> {
        let bytes = self.buf.lend_bytes();
        let from = from.min(bytes.len());
        let offset = self.offset.saturating_add(from as u64);
        let prepared = Prepared::write_from(self.fd.as_fd().into(), bytes.skip(from), offset);
        prepared.rw_flags(self.rw_flags).ioprio(self.ioprio)
    }
}

impl<P: Transfer + ?Sized> Transfer for &mut P {
    #[inline]
    fn prepare_rest(&mut self, done: usize, from: usize) -> Prepared<'_> {
        (**self).prepare_rest(done, from)
    }
}

impl<P: Transfer + ?Sized> Transfer for alloc::boxed::Box<P> {
    #[inline]
    fn prepare_rest(&mut self, done: usize, from: usize) -> Prepared<'_> {
        (**self).prepare_rest(done, from)
    }
}

/// A value that rides along.
impl<P: Transfer, T> Transfer for (P, T) {
    #[inline]
    fn prepare_rest(&mut self, done: usize, from: usize) -> Prepared<'_> {
        self.0.prepare_rest(done, from)
    }
}
