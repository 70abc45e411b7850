//! [`RunLock`], by which one thread at a time turns, for all; and [`ReactorPolling`], by which the
//! reactor is polled again after each call of the waker. Both are checked by the models.

use crate::primitive::{AtomicBool, AtomicU8, Ordering};

/// Nobody turns.
const IDLE: u8 = 0;
/// Somebody does.
const TURNING: u8 = 1;
/// Somebody does, and must take one more round for somebody else.
const AGAIN: u8 = 2;

/// Whose turn it is.
pub(super) struct RunLock(AtomicU8);

impl RunLock {
    pub(super) fn new() -> Self {
        Self(AtomicU8::new(IDLE))
    }

    /// Calls `round` until it says that nothing is left to do and nobody has asked meanwhile; not at
    /// all if another thread, or a caller of this one, is at it.
    ///
    /// In either case a round begins after this call does, and sees what was done before it: each
    /// begins with a swap that acquires what those who ask release with theirs.
    pub(super) fn take(&self, mut step: impl FnMut() -> bool) {
        if self.0.swap(AGAIN, Ordering::AcqRel) != IDLE {
            return;
        }
        loop {
            self.0.swap(TURNING, Ordering::AcqRel);
            if !step() && self.give_up() {
                return;
            }
        }
    }

    /// `false` where somebody has asked for one more round.
    fn give_up(&self) -> bool {
        self.0.compare_exchange(TURNING, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Whether the waker has been called since the reactor was polled.
pub(super) struct ReactorPolling(AtomicBool);

impl ReactorPolling {
    /// As if it had been called: the reactor has not been polled yet.
    pub(super) fn new() -> Self {
        Self(AtomicBool::new(true))
    }

    pub(super) fn set(&self) {
        self.0.swap(true, Ordering::AcqRel);
    }

    /// Calls `poll`, which says whether the reactor was ready, until it has been called after the
    /// last wake and was not ready. Only in a turn.
    pub(super) fn poll_until_pending(&self, mut poll: impl FnMut() -> bool) {
        while self.0.swap(false, Ordering::AcqRel) {
            if poll() {
                self.set();
            }
        }
    }
}
