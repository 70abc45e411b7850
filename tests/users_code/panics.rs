//! Code that panics when it is told to, also with payloads that panic when they are dropped.

use core::any::Any;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::{fmt, mem};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;

/// A payload whose drop panics with another, and so on without end.
pub(crate) struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        resume_unwind(Box::new(Bomb));
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Payload {
    Plain,
    Bomb,
}

pub(crate) const PAYLOADS: [Payload; 2] = [Payload::Plain, Payload::Bomb];

impl Payload {
    pub(crate) fn throw(self) -> ! {
        match self {
            Self::Plain => resume_unwind(Box::new("users' code")),
            Self::Bomb => resume_unwind(Box::new(Bomb)),
        }
    }

    /// Whether this is what was thrown, which is leaked.
    pub(crate) fn is(self, thrown: Box<dyn Any + Send>) -> bool {
        let thrown = mem::ManuallyDrop::new(thrown);
        match self {
            Self::Plain => thrown.downcast_ref() == Some(&"users' code"),
            Self::Bomb => thrown.is::<Bomb>(),
        }
    }
}

/// Whether it panics. The payload is leaked.
pub(crate) fn panics<R>(code: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(code)).map_err(mem::forget).is_err()
}

/// Some code of a user's. Counts its calls, and panics or comes back into a driver in those that are
/// armed.
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
