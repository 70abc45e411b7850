//! Tells a driver that an operation has ended. [`Announcing`] decides whether operations name the
//! driver's eventfd, and [`Announced`] has one name it.
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
//! - Those that do not name it are looked for by the helper thread, soon and then ever later, until
//!   none is left.

use crate::{Fd, Iocb, Opcode, Prepared};
use core::time::Duration;
use std::time::Instant;

/// After so many submits in a row that completed inside, operations do not name the eventfd.
const STREAK: u32 = 64;

/// The time before the first look for operations that nobody announces. A disk needs about as long
/// for a read, and a thread no less to be woken.
const FIRST_PAUSE: Duration = Duration::from_micros(50);

/// The longest time between two looks. Each pause is twice as long as the last, up to this. So it
/// adds less delay than the disk has taken already, and a disk that hangs costs little.
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
    /// The time between that and the next.
    pause: Duration,
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
        let streaks = transfers == 0 && !(cfg!(feature = "sim") && self.always);
        if streaks {
            self.streak = STREAK.min(self.streak + 1);
            return;
        }
        if self.streak == STREAK {
            // These are the first, and the last, that nobody announces.
            (self.look, self.pause) = (None, FIRST_PAUSE);
        }
        self.streak = 0;
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
        self.look = Some(now + self.pause);
        self.pause = PAUSE.min(2 * self.pause);
        self.look
    }

    /// Begins where operations do not name the eventfd.
    #[cfg(all(test, loom))]
    pub(super) fn after_a_streak() -> Self {
        Self { streak: STREAK, ..Self::default() }
    }
}

/// Says how the operations are announced that are prepared now.
#[derive(Clone, Copy)]
pub(super) struct Announced {
    /// The driver's, which is open as long as the operations may be submitted.
    pub(super) eventfd: Fd<'static>,
    /// True if reads and writes name the eventfd.
    pub(super) names: bool,
}

impl Announced {
    /// Has an operation that was prepared name the eventfd, or not. Returns also its kind.
    #[inline(always)]
    pub(super) fn announce<'op>(self, prepared: Prepared<'op>) -> (Prepared<'op>, Kind) {
        let kind = Kind::of(prepared.iocb(), self.names);
        (prepared.signals(self.eventfd, kind != Kind::SilentTransfer), kind)
    }

    /// Makes an operation that the kernel refuses at once, in place of one that panicked.
    #[cold]
    pub(super) fn refused() -> (Prepared<'static>, Kind) {
        // SAFETY: The iocb names neither memory nor a file: no descriptor has this number.
        (unsafe { Prepared::from_iocb(Iocb::fsync(-1)) }, Kind::Other)
    }
}

/// Tells how an operation is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A read or write that names the eventfd.
    Transfer = 0,
    /// One that does not.
    SilentTransfer = 1,
    /// A POLL or a sync, which names it.
    Other = 2,
}

impl Kind {
    /// Returns the kind of an operation as it was prepared. `names` says whether reads and writes
    /// name the eventfd.
    #[inline(always)]
    pub(super) fn of(iocb: &Iocb, names: bool) -> Self {
        Self::new(transfers(iocb.opcode()), names)
    }

    #[inline(always)]
    fn new(transfers: bool, names: bool) -> Self {
        match (transfers, names) {
            (false, _) => Self::Other,
            (true, true) => Self::Transfer,
            (true, false) => Self::SilentTransfer,
        }
    }
}

/// Returns whether it reads or writes.
#[inline]
pub(crate) fn transfers(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::PREAD | Opcode::PWRITE | Opcode::PREADV | Opcode::PWRITEV)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Announcing, FIRST_PAUSE, Kind, PAUSE, STREAK};
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

    /// Goal: one look is asked for at a time, soon, and ever later up to a bound; and soon again
    /// for the next that nobody announces.
    #[test]
    fn one_look_is_asked_for_at_a_time() {
        let mut announcing = Announcing::default();
        let mut now = Instant::now();
        for _ in 0..2 {
            for _ in 0..STREAK {
                announcing.submitted();
            }
            announcing.pushed(Kind::SilentTransfer);
            announcing.submitted();
            let mut pause = FIRST_PAUSE;
            for _ in 0..10 {
                // Others that are submitted meanwhile do not bring a look forward.
                announcing.submitted();
                assert_eq!(announcing.next_look(now), Some(now + pause));
                assert_eq!(announcing.next_look(now), None);
                now += pause;
                pause = PAUSE.min(2 * pause);
            }
            assert_eq!(pause, PAUSE);
            announcing.ended(Kind::SilentTransfer);
        }
    }
}
