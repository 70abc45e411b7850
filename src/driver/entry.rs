//! [`Entry`], what the table of a local driver has of one operation.

use super::held::Held;
use super::users_code::{Ended, Payload};
use crate::Errno;
use core::task::Waker;

/// The operation of one future: from its first poll until the future has the outcome or the kernel
/// is finished, whichever is later.
///
/// Each change of phase writes what differs, so that an entry is not moved as an enum with fields
/// would be.
pub(crate) struct Entry<E: ?Sized, N> {
    pub(crate) phase: Phase,
    /// There from the start to the end of the operation, unless its future is gone.
    pub(crate) waker: Option<Waker>,
    /// The operation while it waits, and once it has ended. Otherwise the queue has it.
    pub(crate) op: Option<Held<E>>,
    /// The result of an operation that has ended, and the payload if it panicked.
    result: Result<u32, Errno>,
    panic: Option<Payload>,
    /// The ticket of an operation that waits for a slot, behind those with a lower one.
    pub(crate) ticket: u64,
    /// The note that the driver takes while the queue has the operation.
    pub(crate) noted: N,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Vacant,
    /// Waits for a slot.
    Waiting,
    /// In the queue, or in the kernel.
    Admitted,
    /// Admitted, and its future has been dropped.
    Abandoned,
    /// Not taken by its future yet.
    Ended,
}

impl<E: ?Sized, N: Default> Default for Entry<E, N> {
    fn default() -> Self {
        Self {
            phase: Phase::Vacant,
            waker: None,
            op: None,
            result: Ok(0),
            panic: None,
            ticket: 0,
            noted: N::default(),
        }
    }
}

impl<E: ?Sized, N> Entry<E, N> {
    /// Takes over the operation of a future.
    #[inline(always)]
    pub(crate) fn start(&mut self, op: Held<E>, waker: Waker, ticket: u64) {
        debug_assert_eq!(self.phase, Phase::Vacant);
        self.phase = Phase::Waiting;
        (self.op, self.waker, self.ticket) = (Some(op), Some(waker), ticket);
    }

    /// Stores the outcome, for the future.
    #[inline(always)]
    pub(crate) fn end(&mut self, op: Held<E>, result: Result<u32, Errno>, panic: Option<Payload>) {
        self.phase = Phase::Ended;
        (self.op, self.result, self.panic) = (Some(op), result, panic);
    }

    /// Takes the outcome of an operation that has ended.
    #[inline(always)]
    pub(crate) fn take_ended(&mut self) -> Option<Ended<Held<E>>> {
        let op = self.op.take()?;
        Some(Ended::new(op, self.result, self.panic.take()))
    }
}
