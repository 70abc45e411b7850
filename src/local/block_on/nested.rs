//! [`Level`], one `block_on` of this thread, perhaps inside of another driver's.
//!
//! The work of the outer driver is done by its own `block_on`, which goes on when the inner one has
//! ended. If the inner one waited for an operation of the outer driver, that would be never. So the
//! inner one does the work of the outer drivers, too.

use crate::local::Handle;
use alloc::vec::Vec;
use core::cell::RefCell;

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

    /// Does the work of the outer drivers. Returns whether one of them has operations, whose ends
    /// do not wake this thread.
    pub(super) fn serve_outer(&self) -> bool {
        let driver = |at: usize| LEVELS.with_borrow(|levels| levels[at].clone());
        let mut has_more = false;
        for driver in (0..self.outer).map(driver) {
            if driver.check_process().is_ok() && driver.outstanding() > 0 {
                driver.turn();
                driver.alarms.ring(driver.process);
                has_more |= driver.outstanding() > 0;
            }
        }
        has_more
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        // Dropped outside of the borrow, since it may be the last handle.
        let driver = LEVELS.try_with(|levels| levels.borrow_mut().pop());
        drop(driver);
    }
}
