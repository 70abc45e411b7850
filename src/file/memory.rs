//! [`Memory`], the buffers of a transfer. The only place that says what a buffer is.

mod fill;
mod give;
mod table;

pub(super) use fill::{Fill, FillAll};
pub(super) use give::{Give, GiveAll};

use crate::{Errno, Fd, Prepared, RwFlags};
use core::ops::Range;
use rustix::fd::BorrowedFd;

/// The number of buffers that one call takes at most (`UIO_MAXIOV`).
const MAX_BUFFERS: usize = 1024;

/// The part of a transfer's bytes that one step moves.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The number of bytes of the memory that come before it. All of them have been moved.
    pub(super) skip: usize,
    pub(super) len: usize,
}

impl Span {
    const EVERYTHING: Self = Self { skip: 0, len: usize::MAX };

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
///
/// Buffers are users' code. They may lend other memory each time that they are asked, which moves
/// other bytes, and no more.
pub trait Memory: Send + 'static {
    const WRITES: bool;

    /// Returns the number of bytes. Asked before the first are moved.
    fn len(&mut self) -> usize;

    /// Returns whether the kernel can move the bytes from `from` on without a copy, when `done`
    /// bytes have been moved. So it is if they start at a multiple of `address`, and end, in each
    /// buffer, at a multiple of `length`.
    fn is_straight(&mut self, done: usize, from: usize, address: usize, length: usize) -> bool;

    /// Moves bytes by a system call of this thread.
    fn call(
        &mut self,
        fd: BorrowedFd<'_>,
        span: Span,
        offset: u64,
        flags: RwFlags,
    ) -> Result<usize, Errno>;

    /// Makes an operation that moves bytes.
    fn prepare<'op>(&'op mut self, fd: Fd<'op>, span: Span, offset: u64) -> Prepared<'op>;

    /// Copies bytes to the memory of a read, behind `done` bytes that have been read.
    fn put(&mut self, done: usize, bytes: &[u8]);

    /// Copies bytes from the memory of a write. Returns how many there were.
    fn take(&mut self, at: usize, bytes: &mut [u8]) -> Result<usize, Errno>;
}
