//! The gates where no events are taken without a system call: what is known of a context.

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

/// What all contexts whose numbers meet in the table share: one of them is known.
///
/// Not every machine has a compare-and-swap, and there is no need of one: whatever threads do here
/// at once, a gate names a context that lives, or none. What is forgotten costs system calls.
///
/// Relaxed, all of it: who looks at a ring has been told of the context, and not that it is ending.
pub(crate) struct Gate(AtomicUsize);

impl Gate {
    /// Whether `context` is the one that is known.
    #[inline]
    pub(crate) fn is_open_for(&self, context: usize) -> bool {
        self.0.load(Relaxed) == context
    }

    /// Remembers `context`, if the place is free.
    pub(crate) fn open(&self, context: usize) {
        if self.is_open_for(0) {
            self.0.store(context, Relaxed);
        }
    }

    /// Forgets `context`.
    pub(crate) fn close(&self, context: usize) {
        if self.is_open_for(context) {
            self.0.store(0, Relaxed);
        }
    }
}
