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

/// A list of what is to be dropped.
#[derive(Default)]
pub(super) struct Discards(Vec<Discarded>);

impl Discards {
    /// See [`Deferred::discard`].
    ///
    /// # Safety
    /// Those of [`EntryRef::orphan`].
    #[cold]
    pub(super) unsafe fn add(&mut self, entry: EntryRef) {
        self.0.extend(entry.take_panic().map(Discarded::Payload));
        // SAFETY: The promises of the caller.
        self.0.push(Discarded::Op(unsafe { entry.orphan() }));
    }
}

/// See the [module](self).
#[derive(Default)]
pub(super) struct Deferred {
    /// To be called. Those of operations without a future are `None`: so the list takes one from
    /// each that has ended, without a decision.
    wakers: Vec<Option<Waker>>,
    discards: Discards,
    /// The event loop is to run now; without a reactor, on the helper thread.
    pub(super) run_now: bool,
    /// The event loop is to run now, on the helper thread: this one must not block in `io_submit`.
    pub(super) run_on_helper: bool,
}

impl Deferred {
    #[inline(always)]
    pub(super) fn wake(&mut self, waker: Waker) {
        self.wakers.push(Some(waker));
    }

    /// Empties a list of operations that have ended. Calls the wakers that `end` returns of them.
    #[inline(always)]
    pub(super) fn end_all(
        &mut self,
        entries: &mut Vec<EntryRef>,
        mut end: impl FnMut(EntryRef, &mut Discards) -> Option<Waker>,
    ) {
        let Self { wakers, discards, .. } = self;
        wakers.extend(entries.drain(..).map(|entry| end(entry, discards)));
    }

    pub(super) fn drop_waker(&mut self, waker: Waker) {
        self.discards.0.push(Discarded::Waker(waker));
    }

    /// Has an operation dropped that no future takes, and the payload of its panic.
    ///
    /// # Safety
    /// Those of [`EntryRef::orphan`].
    pub(super) unsafe fn discard(&mut self, entry: EntryRef) {
        // SAFETY: The promises of the caller.
        unsafe { self.discards.add(entry) };
    }

    /// Begins with an empty list of wakers, whose allocation is used again.
    pub(super) fn with_list(wakers: Vec<Option<Waker>>) -> Self {
        Self { wakers, ..Self::default() }
    }

    /// Runs what is on the lists, and returns the empty list of wakers.
    #[inline(always)]
    pub(super) fn run_users_code(mut self, in_parent: impl Fn() -> bool) -> Vec<Option<Waker>> {
        if !self.wakers.is_empty() {
            let wake = |waker: Option<Waker>| waker.into_iter().for_each(Waker::wake);
            call_each(&mut self.wakers, wake, &in_parent);
        }
        if !self.discards.0.is_empty() {
            let drop = |value| match value {
                Discarded::Waker(waker) => drop(waker),
                Discarded::Op(op) => drop(op),
                Discarded::Payload(payload) => drop(payload),
            };
            call_each(&mut self.discards.0, drop, in_parent);
        }
        self.wakers
    }
}
