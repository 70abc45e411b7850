//! [`Level`], one `block_on` of this thread, perhaps inside of another driver's.
//!
//! The work of the outer driver is done by its own `block_on`, which goes on when the inner one has
//! ended. If the inner one waited for an operation of the outer driver, that would be never. So the
//! inner one does the work of the outer drivers, too. A waker that a turn of the outer driver calls
//! may be where the inner one is: then it does the work of a step inside of that turn.

use super::{LONG, SHORT};
use crate::local::{Handle, Inner};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::time::Duration;

std::thread_local! {
    /// The drivers whose `block_on` is under way on this thread, the innermost last.
    static LEVELS: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

/// One `block_on`, until it is dropped.
pub(super) struct Level {
    /// The number of those around it.
    outer: usize,
}

impl Level {
    pub(super) fn enter(driver: &Handle) -> Self {
        let enter = |levels: &RefCell<Vec<_>>| {
            let levels = &mut *levels.borrow_mut();
            levels.push(driver.clone());
            levels.len() - 1
        };
        // It is gone when the thread ends: then what is dropped there is around nothing.
        Self { outer: LEVELS.try_with(enter).unwrap_or(0) }
    }

    /// Does the work of the outer drivers. Returns how long the thread may sleep: neither the ends
    /// of their operations nor their alarms wake it.
    #[inline(always)]
    pub(super) fn serve_outer(&self) -> Duration {
        if self.outer == 0 { LONG } else { self.serve_each() }
    }

    #[cold]
    fn serve_each(&self) -> Duration {
        let driver = |at: usize| LEVELS.with_borrow(|levels| levels[at].clone());
        (0..self.outer).map(driver).fold(LONG, |sleep, driver| sleep.min(driver.serve()))
    }
}

impl Inner {
    /// Does the work of a driver whose own `block_on` is around the present one. Returns how long
    /// that may sleep.
    fn serve(&self) -> Duration {
        if self.check_process().is_err() {
            return LONG;
        }
        if self.outstanding() > 0 {
            if self.turning.get() {
                self.step_inside();
            } else {
                self.turn();
            }
        }
        // Also without operations: a call on a thread may have a deadline.
        self.alarms.ring(self.process);
        self.alarms.bound(if self.outstanding() > 0 { SHORT } else { LONG })
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        // Dropped outside of the borrow, since it may be the last handle.
        let driver = LEVELS.try_with(|levels| levels.borrow_mut().pop());
        drop(driver);
    }
}
