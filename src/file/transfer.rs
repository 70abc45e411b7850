//! Whole transfers: what a file does with the bytes of one request.

use super::access::Access;
use super::direct;
use super::drivers::FileDriver;
use super::fair;
use super::memory::{Memory, Span};
use super::open::DirectState;
use super::sides::Side;
use super::step::Step;
use crate::op::IovecVec;
use crate::{Errno, RwFlags};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use std::io;

/// The number of bytes that are copied from the page cache before other tasks run.
const PIECE: usize = 256 << 10;

/// The least cost of a request, in bytes copied. It bounds the requests of a turn: those that
/// are done at once would keep the thread.
const MIN_COST: usize = 512;

/// Says how a transfer has ended: the number of bytes that were moved, and the error that came
/// then.
pub(super) struct Moved {
    pub(super) done: usize,
    pub(super) error: Option<io::Error>,
}

impl Moved {
    pub(super) fn failed(error: io::Error) -> Self {
        Self { done: 0, error: Some(error) }
    }
}

impl<D: FileDriver> Access<D> {
    /// Moves all bytes of `memory`, up to the end of the file or an error.
    pub(super) async fn transfer<M: Memory>(&self, mut memory: M, offset: u64) -> (Moved, M) {
        let len = memory.len();
        if let Err(error) = check_range(offset, len as u64) {
            return (Moved::failed(error), memory);
        }
        let mut step = Step {
            open: Arc::clone(&self.open),
            direct: true,
            memory,
            span: Span { skip: 0, len },
            offset,
            rw_flags: self.rw_flags,
            ioprio: self.ioprio,
            table: IovecVec::default(),
            entered: None,
        };
        if let Err(errno) = self.driver.threads().check_open() {
            return (Moved::failed(step.error(errno)), step.memory);
        }
        fair::turn().await;
        let one_operation = self.rw_flags.contains(RwFlags::ATOMIC);
        let without_waiting = self.rw_flags.contains(RwFlags::NOWAIT);
        let (result, step) = match self.open.state {
            DirectState::Stream => self.one(step).await,
            DirectState::Direct { .. } if one_operation || without_waiting => {
                if M::WRITES {
                    self.enter(&mut step, Side::Around).await;
                }
                self.one(step).await
            }
            DirectState::Direct { .. } if M::WRITES && self.appends() => {
                step.direct = self.open.second.is_none();
                let side = if step.direct { Side::Around } else { Side::Through };
                self.enter(&mut step, side).await;
                if step.direct { self.one(step).await } else { self.on_thread(step).await }
            }
            DirectState::Direct { alignment, .. } if M::WRITES => {
                direct::write(self, step, alignment, offset, len).await
            }
            DirectState::Direct { alignment, .. } => {
                direct::read(self, step, alignment, offset, len).await
            }
            _ if M::WRITES && !without_waiting => self.on_thread(step).await,
            _ => self.by_page_cache(step).await,
        };
        fair::copied(MIN_COST);
        let moved = Moved { done: (step.span.skip).min(len), error: result.err() };
        (moved, step.memory)
    }

    /// Does a step by system calls that do not wait, here. What would wait goes to a thread, unless
    /// the handle would rather have the error.
    async fn by_page_cache<M: Memory>(&self, mut step: Step<M>) -> (io::Result<()>, Step<M>) {
        let own = step.rw_flags.contains(RwFlags::NOWAIT);
        let mut refused = !own && self.open.nowait_refused.load(Ordering::Relaxed);
        while step.span.len > 0 && !refused {
            fair::turn().await;
            match step.call(RwFlags::NOWAIT, PIECE) {
                // Some kernels and file systems say so in the middle of a file, too.
                Ok(0) if own || self.is_at_end(&step) => return (Ok(()), step),
                Ok(0) | Err(Errno::EAGAIN) if !own => break,
                Ok(count) => fair::copied(count),
                Err(Errno::EOPNOTSUPP | Errno::ENOSYS) if !own => refused = true,
                Err(Errno::EAGAIN) if step.span.skip > 0 => return (Ok(()), step),
                Err(errno) => return (Err(step.error(errno)), step),
            }
        }
        if step.span.len == 0 {
            return (Ok(()), step);
        }
        let (result, step) = self.on_thread(step).await;
        // Otherwise it was not NOWAIT that is not supported, but a flag of the handle.
        if refused && result.is_ok() {
            self.open.nowait_refused.store(true, Ordering::Relaxed);
        }
        (result, step)
    }

    fn is_at_end<M>(&self, step: &Step<M>) -> bool {
        !self.open.is_block_device
            && self.open.main.metadata().is_ok_and(|metadata| step.offset >= metadata.len())
    }
}

/// Refuses a range that ends behind the largest offset that a file can have.
pub(super) fn check_range(offset: u64, len: u64) -> io::Result<()> {
    match offset.checked_add(len) {
        Some(end) if i64::try_from(end).is_ok() => Ok(()),
        _ => {
            let text =
                alloc::format!("{len} bytes at offset {offset} end behind the largest offset");
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
    }
}
