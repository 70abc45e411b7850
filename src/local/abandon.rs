//! Futures that are dropped, and operations that stay with the driver.

use super::Inner;
use super::complete::drop_caught;
use super::entries::EntryRef;
use super::stage::{Note, Phase, Stage};

/// Gives up the reference to the driver that a future has, when the future has forgotten its entry.
/// It does so also if something before it unwinds: the drop of an operation, or a system call of a
/// simulation.
pub(super) struct Leave(pub(super) EntryRef);

impl Drop for Leave {
    fn drop(&mut self) {
        // SAFETY: The future has had the entry, and is gone or has forgotten it.
        unsafe { self.0.leave() };
    }
}

/// Handles the drop of a future that has not given its operation back.
#[cold]
#[inline(never)]
pub(super) fn abandon(entry: EntryRef) {
    let leave = Leave(entry);
    // SAFETY: The future has the entry until the end of this function.
    let inner = unsafe { entry.driver() };
    inner.abandon(leave.0);
}

impl Inner {
    /// Takes an operation that waits for a slot off the list.
    pub(super) fn stop_waiting(&self, entry: EntryRef) {
        self.state.borrow_mut().wait_no_longer(entry);
        self.completed.set(self.completed.get() + 1);
        if entry.stage.get().note().is_measured() {
            self.meter.polled(entry, true);
            entry.stage.set(Stage::new(Phase::NEW, Note::NONE));
        }
    }

    /// Has an operation in flight cancelled, whose future is gone.
    pub(super) fn leave(&self, entry: EntryRef) {
        entry.set_phase(Phase::ABANDONED);
        self.state.borrow_mut().cancel(entry);
        entry.rings.set(false);
        drop_caught(entry.replace_waker(None));
    }

    /// Leaves the operation of a future that is dropped to the driver.
    fn abandon(&self, entry: EntryRef) {
        /// Gives an entry back even if the drop of its operation panics.
        struct GiveBack<'i>(&'i Inner, EntryRef);
        impl Drop for GiveBack<'_> {
            fn drop(&mut self) {
                self.0.entries.give_back(self.1);
            }
        }
        if entry.phase() == Phase::NEW {
            // As any value it is dropped in a forked child, too, and its panic is the caller's.
            let _give_back = GiveBack(self, entry);
            // SAFETY: There is an operation, to which nobody refers: it was never prepared, and
            // its future is gone.
            return unsafe { entry.drop_op() };
        }
        // In a forked child the operation is left to the parent.
        if self.check_process().is_err() {
            return;
        }
        match entry.phase() {
            Phase::WAITING => {
                self.stop_waiting(entry);
                self.discard(entry);
                // Perhaps it was the last.
                if self.is_drained() {
                    self.turn();
                }
            }
            Phase::FLYING => {
                self.leave(entry);
                self.turn();
            }
            Phase::ENDED | Phase::MEASURED | Phase::PANICKED => self.discard(entry),
            _ => unreachable!("a future is dropped once"),
        }
    }
}
