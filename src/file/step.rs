//! [`Step`], one part of a transfer, by the driver or by a system call.

use super::drivers::FileOperation;
use super::memory::{Memory, Span};
use super::open::Open;
use super::sides::Entered;
use crate::{Errno, EventResult, IoPrio, Operation, Prepared, RwFlags};
use alloc::sync::Arc;
use rustix::fd::AsFd;
use std::io;

/// The number of bytes that the kernel moves at once at most, cut to what every alignment divides.
pub(super) const LARGEST: usize = 0x4000_0000;

/// The part of a transfer that is to be done, with the memory of the whole.
///
/// It is in one box from its first operation to its end, and the box is what a driver or a thread
/// gets. So memory that is in the value itself stays where it is, too.
pub struct Step<M> {
    pub(super) open: Arc<Open>,
    pub(super) memory: M,
    pub(super) span: Span,
    pub(super) offset: u64,
    pub(super) rw_flags: RwFlags,
    pub(super) ioprio: IoPrio,
    /// True if it goes by the descriptor with `O_DIRECT`.
    pub(super) direct: bool,
    /// Of a write of a direct file: the side that it is on.
    pub(super) entered: Option<Entered>,
}

impl<M: Memory> Step<M> {
    /// Makes the system call for the first `most` bytes.
    fn call_once(&mut self, more: RwFlags, most: usize) -> Result<usize, Errno> {
        let fd = self.open.descriptor(self.direct).as_fd();
        let span = Span { len: self.span.len.min(most), ..self.span };
        let flags = self.rw_flags.union(more);
        loop {
            match self.memory.call(fd, span, self.offset, flags) {
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
    }

    /// Makes the system call for the first `most` bytes, and goes on behind what it has done.
    pub(super) fn call(&mut self, more: RwFlags, most: usize) -> Result<usize, Errno> {
        let count = self.call_once(more, most)?;
        self.advance(count);
        Ok(count)
    }

    /// Makes system calls until everything is done, the file ends, or one fails.
    pub(super) fn call_to_end(&mut self) -> Result<(), Errno> {
        while self.span.len > 0 {
            if self.call(RwFlags::empty(), LARGEST)? == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    #[inline(always)]
    pub(super) fn advance(&mut self, count: usize) {
        let count = count.min(self.span.len);
        self.span = Span { skip: self.span.skip + count, len: self.span.len - count };
        self.offset += count as u64;
    }

    /// Aims at the next bytes of the same transfer, behind `skip` that have been moved.
    pub(super) fn aim(&mut self, skip: usize, len: usize, offset: u64, direct: bool) {
        (self.span, self.offset, self.direct) = (Span { skip, len }, offset, direct);
    }

    /// Describes a failure of this step.
    #[cold]
    pub(super) fn error(&mut self, errno: Errno) -> io::Error {
        self.prepare().diagnose(errno).into()
    }
}

impl<M> Step<M> {
    #[inline(always)]
    pub(super) fn into_memory(self) -> M {
        let Self { memory, .. } = self;
        memory
    }
}

impl<M: Memory> FileOperation for Step<M> {
    fn call(&mut self) -> Result<u32, Errno> {
        self.call_once(RwFlags::empty(), LARGEST).map(|count| count as u32)
    }
}

impl<M: Memory> Operation for Step<M> {
    #[inline(always)]
    fn prepare(&mut self) -> Prepared<'_> {
        let Self { open, direct, memory, span, offset, rw_flags, ioprio, .. } = self;
        let fd = open.descriptor(*direct).as_fd().into();
        let span = Span { len: span.len.min(LARGEST), ..*span };
        memory.prepare(fd, span, *offset).rw_flags(*rw_flags).ioprio(*ioprio)
    }

    /// It never goes on. But its side is free now, whenever the future is polled next.
    #[inline(always)]
    fn goes_on(&mut self, _: EventResult) -> bool {
        if M::WRITES {
            self.entered = None;
        }
        false
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        !M::WRITES
    }
}
