//! [`RunLock`], which admits one thread at a time to the event loop, and [`ReactorPolling`], by
//! which the reactor is polled again after each call of the waker. The loom models check both.

use crate::primitive::{AtomicBool, AtomicU8, Ordering};
use core::mem;

/// No thread runs the event loop.
const IDLE: u8 = 0;
/// A thread does.
const TURNING: u8 = 1;
/// A thread does, and must run one more step for another caller.
const AGAIN: u8 = 2;

/// Admits one thread at a time to the event loop.
pub(super) struct RunLock(AtomicU8);

impl RunLock {
    pub(super) fn new() -> Self {
        Self(AtomicU8::new(IDLE))
    }

    /// Calls `step` until it returns `false` and no other caller has asked meanwhile. Does not call
    /// it if another thread, or a caller of this one, is at it: that one runs one more step.
    ///
    /// In either case a step begins after this call does, and sees what was done before it. Each
    /// step begins with a swap that acquires what every caller releases with its own.
    pub(super) fn take(&self, mut step: impl FnMut() -> bool) {
        /// Lets the next caller in if a step unwinds, as a system call of a simulation may.
        struct Unwinding<'l>(&'l RunLock);
        impl Drop for Unwinding<'_> {
            #[cold]
            fn drop(&mut self) {
                self.0.0.swap(IDLE, Ordering::AcqRel);
            }
        }
        if self.0.swap(AGAIN, Ordering::AcqRel) != IDLE {
            return;
        }
        let unwinding = Unwinding(self);
        loop {
            self.0.swap(TURNING, Ordering::AcqRel);
            if !step() && self.give_up() {
                break;
            }
        }
        mem::forget(unwinding);
    }

    /// Returns `false` if a caller has asked for one more step.
    fn give_up(&self) -> bool {
        self.0.compare_exchange(TURNING, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Notes whether the waker has been called since the reactor was polled.
pub(super) struct ReactorPolling(AtomicBool);

impl ReactorPolling {
    /// Begins as if it had been called: the reactor has not been polled yet.
    pub(super) fn new() -> Self {
        Self(AtomicBool::new(true))
    }

    pub(super) fn set(&self) {
        self.0.swap(true, Ordering::AcqRel);
    }

    /// Calls `poll`, which says whether the reactor was ready, until a call that began after the
    /// last wake says no. Only in a step.
    pub(super) fn poll_until_pending(&self, mut poll: impl FnMut() -> bool) {
        while self.0.swap(false, Ordering::AcqRel) {
            if poll() {
                self.set();
            }
        }
    }
}
