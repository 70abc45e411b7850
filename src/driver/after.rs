//! Floor 4: [`After`], what must be done when the lock is released.

use super::Shared;
use super::erased::Erased;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::mem;
use core::panic::AssertUnwindSafe;
use core::task::Waker;
use std::panic::catch_unwind;

/// See the [module](self).
#[derive(Default)]
pub(super) struct After {
    pub(super) wake: Vec<Waker>,
    pub(super) drop_wakers: Vec<Waker>,
    pub(super) drop_ops: Vec<Box<dyn Erased>>,
    pub(super) drop_payloads: Vec<Box<dyn Any + Send>>,
    /// Something is left to the next turn.
    pub(super) kick: bool,
    /// Something is to be done now, unless the helper thread does it.
    pub(super) turn: bool,
}

impl After {
    pub(super) fn run(self, shared: &Arc<Shared>) {
        if self.kick || (self.turn && !shared.tasks_turn) {
            shared.kick();
        }
        for waker in self.wake {
            contain(|| waker.wake());
        }
        for waker in self.drop_wakers {
            contain(|| drop(waker));
        }
        for op in self.drop_ops {
            contain(|| drop(op));
        }
        for payload in self.drop_payloads {
            contain(|| drop(payload));
        }
        // Last, since it may block in `io_submit`.
        if self.turn && shared.tasks_turn {
            shared.turn();
        }
    }
}

/// Runs users' code, whose panic, which the hook has shown, is no matter of whoever runs it.
pub(super) fn contain(code: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(code)) {
        // Dropping it could panic again.
        mem::forget(payload);
    }
}
