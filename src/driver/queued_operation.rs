//! Operations of different types in one queue.

use super::held::{Erased, Held};
use super::users_code::{self, Payload};
use crate::{Errno, EventResult, Fd, Opcode, Operation, Prepared};
use alloc::boxed::Box;
use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

/// An operation whose type only its future knows, and which may move to another thread.
pub(super) type Sent = dyn Erased + Send;

/// Users' code that a shared driver is to run.
pub(super) type Action = users_code::Action<Held<Sent>>;

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

    /// Has everything dropped: no future takes this.
    #[cold]
    pub(super) fn discard(self, mut later: impl FnMut(Action)) {
        later(Action::DropOp(self.op));
        self.panic.into_iter().for_each(|payload| later(Action::DropPayload(*payload)));
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

/// Says how an operation is announced.
pub struct Announced {
    /// The driver's, which is open as long as the operation may be submitted.
    pub(super) eventfd: Fd<'static>,
    /// True if reads and writes name the eventfd.
    pub(super) names: bool,
    /// The kind of the operation, once it has been prepared.
    pub(super) kind: Kind,
}

impl Announced {
    /// Calls `prepare`, and has its result name the eventfd, or not. Stores the panic, if it does,
    /// and makes an operation then that the kernel refuses at once.
    #[inline(always)]
    pub(crate) fn prepare<'op, O: Operation>(
        &mut self,
        op: &'op mut O,
        panic: &mut Option<Box<Payload>>,
    ) -> Prepared<'op> {
        // Moved through the closure, as the loan outlives it.
        let prepared = catch_unwind(AssertUnwindSafe(move || {
            let op = op;
            op.prepare()
        }));
        match prepared {
            Ok(prepared) => {
                let (transfers, names) = (transfers(prepared.iocb().opcode()), self.names);
                self.kind = Kind::new(transfers, names);
                match transfers && !names {
                    true => prepared.without_eventfd(),
                    false => prepared.eventfd(self.eventfd),
                }
            }
            Err(payload) => {
                *panic = Some(Box::new(payload));
                self.kind = Kind::Other;
                // An eventfd cannot be synced.
                Prepared::fsync(self.eventfd)
            }
        }
    }
}

/// Tells how an operation is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A read or write that names the eventfd.
    Transfer = 0,
    /// One that does not.
    SilentTransfer = 1,
    /// A POLL or a sync, which names it.
    Other = 2,
}

impl Kind {
    #[inline(always)]
    pub(super) fn new(transfers: bool, names: bool) -> Self {
        match (transfers, names) {
            (false, _) => Self::Other,
            (true, true) => Self::Transfer,
            (true, false) => Self::SilentTransfer,
        }
    }
}

/// Returns whether it reads or writes.
#[inline]
pub(crate) fn transfers(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::PREAD | Opcode::PWRITE | Opcode::PREADV | Opcode::PWRITEV)
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
