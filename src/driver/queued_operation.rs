//! Operations of different types in one queue.

use super::announced::Announced;
use super::held::{Erased, Held};
use super::users_code::Payload;
use crate::{Errno, EventResult, Operation, Prepared};
use alloc::boxed::Box;

/// An operation whose type only its future knows, and which may move to another thread.
pub(super) type Sent = dyn Erased + Send;

/// The end of an operation of the driver, for its future.
pub(super) struct Ended {
    pub(super) op: Held<Sent>,
    pub(super) result: Result<u32, Errno>,
    /// The payload, if `prepare` or `goes_on` of the operation panicked. It is in a box of its own,
    /// since each word here is moved with every operation.
    pub(super) panic: Option<Box<Payload>>,
}

impl Ended {
    /// Returns the count, unless the operation has failed or panicked.
    pub(super) fn count(&self) -> Option<u32> {
        self.result.ok().filter(|_| self.panic.is_none())
    }
}

/// Wraps an operation for the driver's queue.
pub(super) struct QueuedOperation {
    pub(super) op: Held<Sent>,
    /// The payload, if `prepare` or `goes_on` of the operation panicked.
    pub(super) panic: Option<Box<Payload>>,
    /// The index of the future's entry in the state.
    pub(super) entry: usize,
    pub(super) announced: Announced,
}

impl QueuedOperation {
    /// Returns the outcome of the operation.
    #[inline(always)]
    pub(super) fn ended(self, result: Result<u32, Errno>) -> Ended {
        let Self { op, panic, .. } = self;
        Ended { op, result, panic }
    }

    #[cold]
    fn note_panic(&mut self, payload: Payload) {
        self.panic = Some(Box::new(payload));
    }
}

impl Operation for QueuedOperation {
    #[inline(always)]
    fn prepare(&mut self) -> Prepared<'_> {
        self.op.prepare_or_panics(&mut self.announced, &mut self.panic)
    }

    #[inline(always)]
    fn goes_on(&mut self, outcome: EventResult) -> bool {
        if self.panic.is_some() {
            return false;
        }
        let mut panic = None;
        let goes_on = self.op.goes_on_or_panics(outcome, &mut panic);
        if let Some(payload) = panic {
            self.note_panic(payload);
        }
        goes_on
    }
}
