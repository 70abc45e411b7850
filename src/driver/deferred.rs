//! [`Deferred`], what must be done when the lock is released.

use super::queued_operation::Erased;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;
use core::mem;
use core::panic::AssertUnwindSafe;
use core::task::Waker;
use std::panic::catch_unwind;
use std::time::Instant;

/// See the [module](self).
#[derive(Default)]
pub(super) struct Deferred {
    actions: Vec<Action>,
    /// The event loop is to run when the tasks that are ready have run.
    pub(super) run_later: bool,
    /// The event loop is to run now; without a reactor, on the helper thread.
    pub(super) run_now: bool,
    /// The event loop is to run now, on the helper thread: this one must not block in `io_submit`.
    pub(super) run_on_helper: bool,
    /// The timer is to wake at this time.
    pub(super) arm: Option<Instant>,
}

/// Users' code that is to be run.
enum Action {
    Wake(Waker),
    DropWaker(Waker),
    DropOp(Box<dyn Erased>),
    DropPayload(Box<dyn Any + Send>),
}

impl Deferred {
    pub(super) fn wake(&mut self, waker: Waker) {
        self.actions.push(Action::Wake(waker));
    }

    pub(super) fn drop_waker(&mut self, waker: Waker) {
        self.actions.push(Action::DropWaker(waker));
    }

    pub(super) fn drop_op(&mut self, op: Box<dyn Erased>) {
        self.actions.push(Action::DropOp(op));
    }

    pub(super) fn drop_payload(&mut self, payload: Box<dyn Any + Send>) {
        self.actions.push(Action::DropPayload(payload));
    }

    pub(super) fn run_users_code(&mut self) {
        for action in mem::take(&mut self.actions) {
            catch_and_forget(|| match action {
                Action::Wake(waker) => waker.wake(),
                Action::DropWaker(waker) => drop(waker),
                Action::DropOp(op) => drop(op),
                Action::DropPayload(payload) => drop(payload),
            });
        }
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
