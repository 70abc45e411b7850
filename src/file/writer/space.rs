//! [`Space`], the blocks that a writer has allocated.

use super::WriterOptions;
use crate::file::work::Cut;
use crate::file::{File, FileDriver};
use core::future::Future;
use core::ops::Range;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;

/// Allocates ahead of direct writes that would make the file longer.
///
/// What makes a write wait inside of `io_submit` is the length of the file. So a step is allocated
/// with the length, before the first write to it, and the next when half of it is used. An
/// allocation that fails, such as one of more than the disk has room for, is no error of the
/// writer's: the writes tell whether they find room.
pub(super) struct Space<D: FileDriver> {
    is_on: bool,
    /// Of less than so many bytes nothing goes around the page cache.
    unit: u64,
    step: u64,
    /// Where the expected bytes end.
    expected: u64,
    /// The length of the file before the first write, and `None` for what is no file.
    before: Option<u64>,
    has_looked: bool,
    /// The length that the file has by the allocations that succeeded.
    allocated: u64,
    /// The furthest end of all allocations, also those that failed.
    most: u64,
    allocating: Option<(u64, D::Boxed<io::Result<()>>)>,
}

impl<D: FileDriver> Space<D> {
    pub(super) fn new(is_direct: bool, unit: u64, offset: u64, options: &WriterOptions) -> Self {
        Self {
            is_on: is_direct && options.step > 0,
            unit,
            step: options.step,
            expected: offset.saturating_add(options.expected_len).min(i64::MAX as u64),
            before: None,
            has_looked: false,
            allocated: 0,
            most: 0,
            allocating: None,
        }
    }

    /// Ready when a range may be written. `is_full` if more bytes are to be expected behind it.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        file: &File<D>,
        range: Range<u64>,
        is_full: bool,
    ) -> Poll<()> {
        if !self.has_looked {
            self.has_looked = true;
            self.before = file.metadata().ok().filter(|it| it.is_file()).map(|it| it.len());
            self.is_on &= self.before.is_some();
            self.allocated = self.before.unwrap_or(0);
        }
        if !self.is_on || range.end - range.start < self.unit {
            return Poll::Ready(());
        }
        loop {
            let _ = self.poll_ended(cx);
            let is_ready = !self.is_on || range.end <= self.allocated;
            let target = self.target(&range, is_full).filter(|_| self.is_on);
            match target {
                Some(target) if self.allocating.is_none() => {
                    let from = range.start.max(self.allocated);
                    self.most = self.most.max(target);
                    self.allocating = Some((target, D::allocate(file.clone(), from..target)));
                }
                _ if is_ready => return Poll::Ready(()),
                _ => return Poll::Pending,
            }
        }
    }

    /// Returns the end of what is to be allocated now.
    fn target(&self, range: &Range<u64>, is_full: bool) -> Option<u64> {
        let has_begun = self.most > 0;
        let half = if has_begun { self.step / 2 } else { 0 };
        let (used, end) = (range.end, self.allocated);
        let step = self.allocated.max(range.start).saturating_add(self.step);
        match self.expected {
            expected if used <= expected && end < expected && used > end => Some(expected),
            expected if used <= expected && end >= expected => None,
            _ if is_full && used.saturating_add(half) > end => Some(step.max(used)),
            _ if used > end => Some(used),
            _ => None,
        }
        .map(|target| target.min(i64::MAX as u64))
    }

    /// Ready when no allocation is under way.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // If a waker panics in the poll, the allocation is over.
        if let Some((target, mut allocating)) = self.allocating.take() {
            match Pin::new(&mut allocating).poll(cx) {
                Poll::Ready(Ok(())) => self.allocated = self.allocated.max(target),
                Poll::Ready(Err(_)) => self.is_on = false,
                Poll::Pending => {
                    self.allocating = Some((target, allocating));
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(())
    }

    /// Returns how to cut a file of which the bytes up to `end` are to stay, and to which the
    /// writer has written up to `written` at most.
    pub(super) fn cut_to(&self, end: u64, written: u64) -> Option<Cut> {
        let before = self.before?;
        Some(Cut { exact: before.max(end), most: self.most.max(written).max(before) })
    }
}
