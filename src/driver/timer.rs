//! [`Deadlines`], the times at which futures are to be woken, and [`Timer`], the thread that does
//! it.
//!
//! A deadline only wakes its future. The future then sees that the time is up, and leaves the
//! operation to the driver as its drop would. So the table of operations knows no further state,
//! and a deadline that meets a completion needs no order between the two.
//!
//! The thread is not the helper thread. Without a reactor that one calls `io_submit`, which can
//! block on a device that hangs: deadlines must fire then of all times. It starts with the first
//! deadline, so a driver without deadlines has no such thread.

use super::thread::{Thread, ThreadError};
use super::{Handle, Shared};
use crate::clock;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::{Arc, Weak};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Names the future that a deadline wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sleeper {
    /// That of an operation, by its entry.
    Operation(usize),
    /// One that waits for the end of the driver, by its ticket.
    Closer(u64),
}

/// The deadlines that have not passed, at most one for each future.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    due: BTreeSet<(Instant, Sleeper)>,
    of: BTreeMap<Sleeper, Instant>,
}

impl Deadlines {
    /// Sets the deadline of a future that has none. Returns `true` if it is the earliest of all, so
    /// that the timer must be told.
    pub(super) fn set(&mut self, sleeper: Sleeper, at: Instant) -> bool {
        self.due.insert((at, sleeper));
        self.of.insert(sleeper, at);
        self.due.first() == Some(&(at, sleeper))
    }

    /// Removes the deadline of a future, if it has one.
    #[inline(always)]
    pub(super) fn clear(&mut self, sleeper: Sleeper) {
        // Drivers without deadlines pay for this comparison alone.
        if !self.of.is_empty() {
            self.remove(sleeper);
        }
    }

    fn remove(&mut self, sleeper: Sleeper) {
        if let Some(at) = self.of.remove(&sleeper) {
            self.due.remove(&(at, sleeper));
        }
    }

    /// Takes a future whose deadline has passed.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Sleeper> {
        let &(_, sleeper) = self.due.first().filter(|(at, _)| *at <= now)?;
        self.remove(sleeper);
        Some(sleeper)
    }

    /// Returns the earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }
}

/// Has a thread call [`Shared::expire`] at a time that is set.
#[derive(Default)]
pub(super) struct Timer {
    alarm: Mutex<Alarm>,
    changed: Condvar,
}

#[derive(Default)]
struct Alarm {
    /// Never later than the earliest deadline, but perhaps earlier: a deadline that is removed
    /// leaves it.
    at: Option<Instant>,
    started: bool,
    ended: bool,
}

impl Timer {
    fn lock(&self) -> MutexGuard<'_, Alarm> {
        self.alarm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread unless it runs. Before a deadline is set, so that none is set in vain.
    pub(super) fn start(self: &Arc<Self>, shared: &Arc<Shared>) -> Result<(), ThreadError> {
        let mut alarm = self.lock();
        if !alarm.started {
            let (timer, shared) = (Arc::clone(self), Arc::downgrade(shared));
            #[cfg(feature = "sim")]
            if crate::sys::sim::adopt(|| steps(Arc::clone(&timer), Weak::clone(&shared))) {
                alarm.started = true;
                return Ok(());
            }
            Thread::Timer.start(move || work(&timer, &shared))?;
            alarm.started = true;
        }
        Ok(())
    }

    /// Has the thread wake at that time, or before.
    pub(super) fn arm(&self, at: Instant) {
        let mut alarm = self.lock();
        if alarm.at.is_none_or(|set| at < set) {
            alarm.at = Some(at);
            self.changed.notify_one();
        }
    }

    /// Ends the thread. Does not wait for it: it may be the caller.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_one();
    }

    /// Sleeps until the time that is set. Returns `false` if the thread is to end.
    fn sleep(&self) -> bool {
        let mut alarm = self.lock();
        loop {
            if alarm.ended {
                return false;
            }
            let now = clock::now();
            alarm = match alarm.at {
                Some(at) if at <= now => {
                    alarm.at = None;
                    return true;
                }
                Some(at) => {
                    let slept = self.changed.wait_timeout(alarm, at - now);
                    slept.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(alarm).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

fn work(timer: &Timer, shared: &Weak<Shared>) {
    while timer.sleep() {
        let Some(shared) = Handle::upgrade(shared) else { return };
        shared.expire();
        // A waker may have forked. The lock of the timer may be locked for good in the child.
        if shared.check_process().is_err() {
            return;
        }
    }
}

/// Returns the same work in steps that do not block, for a simulation.
#[cfg(feature = "sim")]
fn steps(timer: Arc<Timer>, shared: Weak<Shared>) -> crate::sys::sim::Step {
    use crate::sys::sim::Stepped;
    alloc::boxed::Box::new(move || {
        let mut alarm = timer.lock();
        if alarm.ended {
            return Stepped::Over;
        }
        let Some(at) = alarm.at else { return Stepped::Idle };
        if clock::now() < at {
            return Stepped::idle_until(Some(at));
        }
        alarm.at = None;
        drop(alarm);
        let Some(shared) = Handle::upgrade(&shared) else { return Stepped::Over };
        shared.expire();
        Stepped::Busy
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Deadlines, Sleeper};
    use core::time::Duration;
    use std::time::Instant;

    /// Goal: the earliest deadline is known, whatever is set, removed and taken. Method: three
    /// futures, of which one is woken by other means.
    #[test]
    fn the_earliest_is_known() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let [a, b, c] = [Sleeper::Operation(0), Sleeper::Closer(0), Sleeper::Operation(1)];
        let mut deadlines = Deadlines::default();
        deadlines.clear(a);
        assert!(deadlines.set(a, at(2)));
        assert!(!deadlines.set(b, at(3)));
        assert!(deadlines.set(c, at(1)));
        assert_eq!(deadlines.take_due(start), None);
        assert_eq!(deadlines.next(), Some(at(1)));
        deadlines.clear(c);
        assert_eq!(deadlines.next(), Some(at(2)));
        assert_eq!(deadlines.take_due(at(3)), Some(a));
        assert_eq!(deadlines.take_due(at(3)), Some(b));
        assert_eq!((deadlines.take_due(at(3)), deadlines.next()), (None, None));
        // An entry that is used again may have another deadline.
        assert!(deadlines.set(a, at(1)));
    }
}
