//! How drivers run users' code: `prepare` and `goes_on`, whose panics belong to the operation's
//! future, and wakers and drops, whose panics end here.

use crate::{Errno, EventResult, Operation, Prepared};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;
use core::mem;
use core::panic::AssertUnwindSafe;
use core::task::Waker;
use std::panic::catch_unwind;

/// The payload of a panic.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Calls `prepare`. Returns the payload if it panicked.
#[inline(always)]
pub(crate) fn prepare<O: Operation + ?Sized>(op: &mut O) -> Result<Prepared<'_>, Payload> {
    // Moved through the closure, as the loan outlives it.
    catch_unwind(AssertUnwindSafe(move || {
        let op = op;
        op.prepare()
    }))
}

/// Calls `goes_on`, and stores its panic. Of an operation that never goes on, the constant `false`
/// is left of this.
#[inline(always)]
pub(crate) fn goes_on<O: Operation>(
    op: &mut O,
    outcome: EventResult,
    panic: &mut Option<Payload>,
) -> bool {
    catch_unwind(AssertUnwindSafe(|| op.goes_on(outcome))).unwrap_or_else(|payload| {
        *panic = Some(payload);
        false
    })
}

/// The end of an operation, for its future. `H` holds the operation.
pub(crate) enum Ended<H> {
    Done {
        result: Result<u32, Errno>,
        op: H,
    },
    /// Its `prepare` or `goes_on` panicked, with this.
    Panicked {
        payload: Payload,
        op: H,
    },
}

impl<H> Ended<H> {
    #[inline]
    pub(crate) fn new(op: H, result: Result<u32, Errno>, panic: Option<Payload>) -> Self {
        match panic {
            Some(payload) => Self::Panicked { payload, op },
            None => Self::Done { result, op },
        }
    }

    /// Has everything dropped: no future takes this.
    pub(crate) fn discard(self, mut later: impl FnMut(Action<H>)) {
        match self {
            Self::Done { op, .. } => later(Action::DropOp(op)),
            Self::Panicked { payload, op } => {
                later(Action::DropOp(op));
                later(Action::DropPayload(payload));
            }
        }
    }
}

/// Users' code that is to be run when nothing is locked or borrowed.
pub(crate) enum Action<H> {
    Wake(Waker),
    DropWaker(Waker),
    DropOp(H),
    DropPayload(Payload),
}

impl<H> Action<H> {
    #[inline]
    pub(crate) fn run(self) {
        match self {
            Self::Wake(waker) => waker.wake(),
            Self::DropWaker(waker) => drop(waker),
            Self::DropOp(op) => drop(op),
            Self::DropPayload(payload) => drop(payload),
        }
    }
}

/// Runs and empties a list, as [`call_each`] does.
pub(crate) fn run<H>(actions: &mut Vec<Action<H>>, in_parent: impl Fn() -> bool) {
    if !actions.is_empty() {
        call_each(actions, Action::run, in_parent);
    }
}

/// Calls users' code with each value of a list, and empties it. A panic ends one call, and not the
/// others. In a child that one of them forks, leaks those that are left: they are the parent's.
pub(crate) fn call_each<T>(list: &mut Vec<T>, call: impl Fn(T), in_parent: impl Fn() -> bool) {
    let mut left = list.drain(..);
    // One catch for the whole list, as long as none panics.
    let mut step = || {
        while in_parent() {
            match left.next() {
                Some(value) => call(value),
                None => break,
            }
        }
    };
    while catch_and_forget(&mut step).is_none() {}
    if !in_parent() {
        mem::forget(left);
    }
}

/// Runs users' code and catches its panic, which the panic hook has reported already. Returns
/// `None` if it panicked.
///
/// Every call of users' code in the driver goes through this function, but for
/// [`Operation::prepare`](crate::Operation::prepare), whose panic belongs to the operation's
/// future.
pub(crate) fn catch_and_forget<R>(code: impl FnOnce() -> R) -> Option<R> {
    let payload = match catch_unwind(AssertUnwindSafe(code)) {
        Ok(result) => return Some(result),
        Err(payload) => payload,
    };
    // The payload's drop is users' code, too. The payload of its panic is leaked: that one's drop
    // might panic again, and so on without end.
    if let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(next);
    }
    None
}
