//! [`Announced`], how the driver learns that an operation has ended.

use super::users_code::{Payload, prepare};
use crate::{Fd, Iocb, Opcode, Operation, Prepared};
use alloc::boxed::Box;

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
        match prepare(op) {
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
                // SAFETY: The iocb names neither memory nor a file: no descriptor has this number.
                unsafe { Prepared::from_iocb(Iocb::fsync(-1)) }
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
