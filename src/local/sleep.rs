//! [`Sleep`], which says whether the thread of `block_on` sleeps, and whether it has been woken.
//!
//! # Why no wake-up is lost
//!
//! Both are one word. The thread goes to sleep by an exchange that fails once it has been woken. A
//! waker swaps in that it has, and so learns how the thread sleeps. The two have an order: either
//! the thread does not sleep, or the waker sees a sleeper and ends the sleep. What ends it lasts
//! until the thread really sleeps. That is the token of a parked thread, or a readable eventfd: its
//! POLL is in flight before the thread says that it sleeps in the kernel. The model (`model.rs`)
//! tries every order.

use crate::primitive::{AtomicU8, Ordering};

const AWAKE: u8 = 0;
const IN_KERNEL: u8 = 1;
const PARKED: u8 = 2;
/// Awake, or about to be: it has been woken, and has not noticed.
const WOKEN: u8 = 3;

/// Says how a thread sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// In `io_getevents`.
    InKernel,
    /// In `thread::park`.
    Parked,
}

pub(super) struct Sleep(AtomicU8);

impl Sleep {
    pub(super) fn new() -> Self {
        Self(AtomicU8::new(AWAKE))
    }

    /// Calls `sleep`, unless the thread has been woken. Only on the thread itself.
    pub(super) fn sleeping<R>(&self, how: How, sleep: impl FnOnce() -> R) -> Option<R> {
        /// Ends the sleep, also if a system call of a simulation unwinds.
        struct Sleeping<'s>(&'s Sleep, u8);
        impl Drop for Sleeping<'_> {
            fn drop(&mut self) {
                // If it fails, the thread has been woken, which it is still to notice.
                let _ = self.0.exchange(self.1, AWAKE);
            }
        }
        let asleep = match how {
            How::InKernel => IN_KERNEL,
            How::Parked => PARKED,
        };
        if !self.exchange(AWAKE, asleep) {
            return None;
        }
        let _sleeping = Sleeping(self, asleep);
        Some(sleep())
    }

    fn exchange(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Returns whether the thread has been woken since the last call. Only on the thread itself.
    pub(super) fn take_woken(&self) -> bool {
        self.0.swap(AWAKE, Ordering::AcqRel) == WOKEN
    }

    /// Wakes the thread. Returns how it sleeps, if the caller is to end the sleep.
    pub(super) fn wake(&self) -> Option<How> {
        match self.0.swap(WOKEN, Ordering::AcqRel) {
            IN_KERNEL => Some(How::InKernel),
            PARKED => Some(How::Parked),
            _ => None,
        }
    }
}
