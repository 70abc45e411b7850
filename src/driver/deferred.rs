//! [`Deferred`], what must be done when the lock is released.

use super::held::Held;
use super::queued_operation::{Action, Ended, Sent};
use super::users_code::run;
use alloc::vec::Vec;
use core::task::Waker;

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
}

impl Deferred {
    pub(super) fn wake(&mut self, waker: Waker) {
        self.actions.push(Action::Wake(waker));
    }

    pub(super) fn drop_waker(&mut self, waker: Waker) {
        self.actions.push(Action::DropWaker(waker));
    }

    pub(super) fn drop_op(&mut self, op: Held<Sent>) {
        self.actions.push(Action::DropOp(op));
    }

    /// Has what is in an outcome dropped, which no future takes.
    pub(super) fn discard(&mut self, ended: Ended) {
        ended.discard(|action| self.actions.push(action));
    }

    /// Begins with an empty list, whose allocation is used again.
    pub(super) fn with_list(actions: Vec<Action>) -> Self {
        Self { actions, ..Self::default() }
    }

    /// Runs what is on the list, and returns the empty list.
    pub(super) fn run_users_code(mut self, in_parent: impl Fn() -> bool) -> Vec<Action> {
        run(&mut self.actions, in_parent);
        self.actions
    }
}
