//! Runs users' code for drivers: `prepare` and `goes_on`, whose panics belong to the operation's
//! future, and wakers and drops, whose panics end here.

use crate::machine::checked;
use crate::{EventResult, Operation, Prepared};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;
use core::mem;
use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

/// The payload of a panic.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Calls `prepare`. Returns the payload if it panicked.
#[inline(always)]
pub(crate) fn prepare<O: Operation + ?Sized>(op: &mut O) -> Result<Prepared<'_>, Payload> {
    // Moved through the closure, as the loan outlives it.
    caught(move || {
        let op = op;
        checked(op.prepare())
    })
}

/// Runs users' code whose panic is somebody's. Returns the payload if it panicked.
#[inline(always)]
pub(crate) fn caught<R>(code: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(code))
}

/// Calls `goes_on`, and stores its panic. Of an operation that never goes on, the constant `false`
/// is left of this.
#[inline(always)]
pub(crate) fn goes_on<O: Operation>(
    op: &mut O,
    outcome: EventResult,
    panic: &mut Option<Payload>,
) -> bool {
    caught(|| op.goes_on(outcome)).unwrap_or_else(|payload| {
        *panic = Some(payload);
        false
    })
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
    let payload = match caught(code) {
        Ok(result) => return Some(result),
        Err(payload) => payload,
    };
    // The payload's drop is users' code, too. The payload of its panic is leaked: that one's drop
    // might panic again, and so on without end.
    if let Err(next) = caught(|| drop(payload)) {
        mem::forget(next);
    }
    None
}
