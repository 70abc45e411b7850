//! [`Deferred`], what must be done when the lock is released.

use super::entry::{EntryRef, Orphan};
use super::users_code::{Payload, call_each};
use alloc::vec::Vec;
use core::task::Waker;

/// Keeps what is to be dropped when nothing is locked, since its drop is users' code.
enum Discarded {
    Waker(Waker),
    Op(Orphan),
    Payload(Payload),
}

/// See the [module](self).
#[derive(Default)]
pub(super) struct Deferred {
    /// To be called.
    wakers: Vec<Waker>,
    discarded: Vec<Discarded>,
    /// The event loop is to run now; without a reactor, on the helper thread.
    pub(super) run_now: bool,
    /// The event loop is to run now, on the helper thread: this one must not block in `io_submit`.
    pub(super) run_on_helper: bool,
}

impl Deferred {
    #[inline(always)]
    pub(super) fn wake(&mut self, waker: Waker) {
        self.wakers.push(waker);
    }

    /// Makes room for so many wakers.
    #[inline(always)]
    pub(super) fn reserve(&mut self, count: usize) {
        self.wakers.reserve(count);
    }

    pub(super) fn drop_waker(&mut self, waker: Waker) {
        self.discarded.push(Discarded::Waker(waker));
    }

    /// Has an operation dropped that no future takes, and the payload of its panic.
    ///
    /// # Safety
    /// Those of [`EntryRef::orphan`].
    #[cold]
    pub(super) unsafe fn discard(&mut self, entry: EntryRef) {
        self.discarded.extend(entry.take_panic().map(Discarded::Payload));
        // SAFETY: The promises of the caller.
        self.discarded.push(Discarded::Op(unsafe { entry.orphan() }));
    }

    /// Begins with an empty list of wakers, whose allocation is used again.
    pub(super) fn with_list(wakers: Vec<Waker>) -> Self {
        Self { wakers, ..Self::default() }
    }

    /// Runs what is on the lists, and returns the empty list of wakers.
    #[inline(always)]
    pub(super) fn run_users_code(mut self, in_parent: impl Fn() -> bool) -> Vec<Waker> {
        if !self.wakers.is_empty() {
            call_each(&mut self.wakers, Waker::wake, &in_parent);
        }
        if !self.discarded.is_empty() {
            let drop = |value| match value {
                Discarded::Waker(waker) => drop(waker),
                Discarded::Op(op) => drop(op),
                Discarded::Payload(payload) => drop(payload),
            };
            call_each(&mut self.discarded, drop, in_parent);
        }
        self.wakers
    }
}
