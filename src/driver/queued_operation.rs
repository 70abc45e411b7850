//! Operations of different types in one queue.

use super::held::{Erased, Held};
use super::users_code::{self, Payload, prepare};
use crate::abi::IOCB_FLAG_RESFD;
use crate::{Errno, EventResult, Fd, Iocb, Opcode, Operation, Prepared};

/// An operation whose type only its future knows, and which may move to another thread.
pub(super) type Sent = dyn Erased + Send;

/// The end of an operation of the driver.
pub(super) type Ended = users_code::Ended<Held<Sent>>;

/// Users' code that a shared driver is to run.
pub(super) type Action = users_code::Action<Held<Sent>>;

/// Wraps an operation for the driver's queue.
pub(super) struct QueuedOperation {
    pub(super) op: Held<Sent>,
    /// The driver's, which is open as long as this may be submitted.
    pub(super) eventfd: Fd<'static>,
    /// True if reads and writes name the eventfd.
    pub(super) names: bool,
    /// The kind of the operation, once it has been prepared.
    pub(super) kind: Kind,
    /// The index of the future's entry in the state.
    pub(super) entry: usize,
    /// The payload, if `prepare` or `goes_on` of the operation panicked.
    pub(super) panic: Option<Payload>,
}

/// Tells how an operation is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A read or write that names the eventfd.
    Transfer,
    /// One that does not.
    SilentTransfer,
    /// A POLL or a sync, which names it.
    Other,
}

impl Kind {
    /// Returns the kind of a prepared operation.
    pub(super) fn of(iocb: &Iocb) -> Self {
        let names = iocb.as_raw().aio_flags & IOCB_FLAG_RESFD != 0;
        match (transfers(iocb.opcode()), names) {
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
    pub(super) fn ended(self, result: Result<u32, Errno>) -> Ended {
        Ended::new(self.op, result, self.panic)
    }
}

impl Operation for QueuedOperation {
    fn prepare(&mut self) -> Prepared<'_> {
        match prepare(&mut *self.op) {
            Ok(prepared) => {
                let transfers = transfers(prepared.iocb().opcode());
                let prepared = match transfers && !self.names {
                    true => prepared.without_eventfd(),
                    false => prepared.eventfd(self.eventfd),
                };
                self.kind = Kind::of(prepared.iocb());
                prepared
            }
            Err(payload) => {
                self.panic = Some(payload);
                // An eventfd cannot be synced: the kernel refuses this at once.
                Prepared::fsync(self.eventfd)
            }
        }
    }

    fn goes_on(&mut self, outcome: EventResult) -> bool {
        self.panic.is_none() && self.op.goes_on_or_panics(outcome, &mut self.panic)
    }
}
