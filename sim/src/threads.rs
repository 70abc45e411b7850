//! The work of the threads that the library would have started, between the tasks of a runtime.

use crate::seam::Entering;
use crate::shared::Shared;
use std::sync::Arc;

impl Shared {
    /// Does all that the library's threads have to do now.
    pub(crate) fn finish_helpers(self: &Arc<Self>) {
        let _entered = Entering::new(self);
        while self.step_helpers().0 {}
    }

    /// Does the work of the library's threads, or else lets time pass until the next operation
    /// completes or one of the threads has something to do. `false` if nothing is to come.
    pub(crate) fn go_on(self: &Arc<Self>) -> bool {
        let _entered = Entering::new(self);
        let (busy, next) = self.step_helpers();
        if busy {
            return true;
        }
        let mut world = self.world();
        let has_ended = world.end_next(next);
        if let (false, Some(next)) = (has_ended, next) {
            world.now = world.now.max(next);
        }
        drop(world);
        self.changed.notify_all();
        has_ended || next.is_some()
    }
}
