//! Payloads of panics, also ones that panic when they are dropped.

use core::any::Any;
use core::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

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
