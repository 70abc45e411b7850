//! Users' code that a test arms: it panics, or comes back in, when the library calls it.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{RawWaker, RawWakerVTable, Waker};
use std::sync::{Arc, Mutex};

/// Some code of a user's. Counts its calls, and panics or comes back into a driver in those that
/// are armed.
#[derive(Default)]
pub(crate) struct Code {
    calls: AtomicUsize,
    /// What is done in the next calls, the last first.
    armed: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl Code {
    pub(crate) fn run(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let armed = self.armed.lock().expect("nothing panics under it").pop();
        if let Some(armed) = armed {
            armed();
        }
    }

    /// The next call does this.
    pub(crate) fn arm(&self, armed: impl FnOnce() + Send + 'static) {
        self.armed.lock().expect("nothing panics under it").push(Box::new(armed));
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code").finish_non_exhaustive()
    }
}

/// What runs in the methods of a waker.
#[derive(Default)]
pub(crate) struct WakerCode {
    pub(crate) clone: Code,
    pub(crate) wake: Code,
    pub(crate) drop: Code,
}

impl WakerCode {
    const VTABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            // SAFETY: It came from `Arc::into_raw`, and the waker that is cloned holds a count.
            let code = unsafe { &*data.cast::<Self>() };
            code.clone.run();
            // SAFETY: As above.
            unsafe { Arc::increment_strong_count(data.cast::<Self>()) };
            RawWaker::new(data, &Self::VTABLE)
        },
        |data| {
            // SAFETY: As above, and the waker is consumed: this is its count.
            unsafe { Arc::from_raw(data.cast::<Self>()) }.wake.run();
        },
        |data| {
            // SAFETY: As for `clone`: the waker that is called holds a count.
            unsafe { &*data.cast::<Self>() }.wake.run();
        },
        |data| {
            // SAFETY: As for `wake`.
            unsafe { Arc::from_raw(data.cast::<Self>()) }.drop.run();
        },
    );

    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        let data = Arc::into_raw(Arc::clone(self)).cast();
        // SAFETY: The table keeps `RawWaker`'s contract: each waker holds a count of an `Arc` that
        // can be sent and shared, and each function is safe to call from any thread.
        unsafe { Waker::new(data, &Self::VTABLE) }
    }
}
