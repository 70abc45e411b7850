//! [`Announcing`], which decides whether operations name the driver's eventfd.
//!
//! The kernel signals the eventfd that an operation names, and wakes the reactor by it. That costs
//! 0.2 µs for each operation, and gains nothing if the operation completes inside of `io_submit`:
//! the step after the submit finds it in any case. So reads and writes do not name the eventfd
//! while all of them complete inside.
//!
//! An operation that does not name it, and does not complete inside, is announced by nobody. Three
//! rules keep it from being overlooked:
//!
//! - Operations that wait by nature always name the eventfd: POLL and the syncs.
//! - As soon as a submit leaves a read or write in the kernel, all that follow name it.
//! - Those that do not name it are looked for by the helper thread, until none is left.

use super::queued_operation::Kind;
use core::time::Duration;
use std::time::Instant;

/// After so many submits in a row that completed inside, operations do not name the eventfd.
const STREAK: u32 = 64;

/// The time between two looks for operations that nobody announces.
pub(super) const PAUSE: Duration = Duration::from_millis(1);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Announcing {
    always: bool,
    /// The submits since one has left a read or write in the kernel, up to [`STREAK`].
    streak: u32,
    /// The operations of each [`Kind`] that were pushed and have not completed.
    pushed: [usize; 3],
    /// The time of the look that was asked for last.
    look: Option<Instant>,
}

impl Announcing {
    /// Begins with a streak of none. If `always`, reads and writes name the eventfd always.
    pub(super) fn new(always: bool) -> Self {
        Self { always, ..Self::default() }
    }

    /// Returns whether reads and writes name the eventfd.
    #[inline(always)]
    pub(super) fn names(&self) -> bool {
        self.streak < STREAK
    }

    /// Notes that an operation was pushed.
    #[inline(always)]
    pub(super) fn pushed(&mut self, kind: Kind) {
        self.pushed[kind as usize] += 1;
    }

    /// Notes that it has ended.
    #[inline(always)]
    pub(super) fn ended(&mut self, kind: Kind) {
        self.pushed[kind as usize] -= 1;
    }

    /// Notes that a step has taken the completions after a submit.
    #[inline(always)]
    pub(super) fn submitted(&mut self) {
        let transfers = self.pushed[Kind::Transfer as usize] + self.silent();
        let streaks = transfers == 0 && !self.always;
        self.streak = if streaks { STREAK.min(self.streak + 1) } else { 0 };
    }

    /// Returns whether there are operations that nobody announces.
    #[inline(always)]
    pub(super) fn overlooks(&self) -> bool {
        self.silent() > 0
    }

    #[inline(always)]
    fn silent(&self) -> usize {
        self.pushed[Kind::SilentTransfer as usize]
    }

    /// Returns the time of the next look, or `None` if one was asked for that is not due yet.
    #[cold]
    pub(super) fn next_look(&mut self, now: Instant) -> Option<Instant> {
        if self.look.is_some_and(|at| now < at) {
            return None;
        }
        self.look = Some(now + PAUSE);
        self.look
    }

    /// Begins where operations do not name the eventfd.
    #[cfg(all(test, loom))]
    pub(super) fn after_a_streak() -> Self {
        Self { streak: STREAK, ..Self::default() }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Announcing, Kind, PAUSE, STREAK};
    use std::time::Instant;

    /// Goal: operations name the eventfd until a streak of submits has completed inside, and again
    /// after the first that has not.
    #[test]
    fn a_streak_leaves_the_eventfd_out_and_one_operation_brings_it_back() {
        let mut announcing = Announcing::default();
        for _ in 0..2 {
            for _ in 0..STREAK {
                assert!(announcing.names());
                for kind in [Kind::Transfer, Kind::Other] {
                    announcing.pushed(kind);
                }
                announcing.ended(Kind::Transfer);
                announcing.submitted();
            }
            assert!(!announcing.names());
            announcing.pushed(Kind::SilentTransfer);
            announcing.submitted();
            assert!(announcing.names() && announcing.overlooks());
            announcing.ended(Kind::SilentTransfer);
            assert!(announcing.names() && !announcing.overlooks());
        }
    }

    #[test]
    fn one_look_is_asked_for_at_a_time() {
        let mut announcing = Announcing::default();
        let now = Instant::now();
        assert_eq!(announcing.next_look(now), Some(now + PAUSE));
        assert_eq!(announcing.next_look(now), None);
        assert_eq!(announcing.next_look(now + PAUSE), Some(now + 2 * PAUSE));
    }
}
