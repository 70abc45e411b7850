//! [`AlarmClock`], the one timer of a driver: a thread that calls wakers at their times.
//!
//! # What an alarm does
//!
//! It calls a waker, and nothing else. A future with a deadline is woken, looks at the clock, sees
//! that its time is up, and leaves its operation to the driver as its drop would. So the table of
//! operations knows nothing of deadlines. A deadline that meets a completion needs no order between
//! the two, and an operation without a deadline pays nothing. Deadlines of operations
//! ([`deadline`](super::deadline)), of requests of files (`file/deadline.rs`) and of `close_within`
//! ([`overdue`](super::overdue)) are such futures. The looks and retries of a
//! [`LocalDriver`](crate::LocalDriver) on an executor are alarms whose waker signals its eventfd.
//!
//! # Why no deadline is lost
//!
//! A future sets its alarm after it has stored its waker with the operation, and looks at the clock
//! after it has set the alarm. The clock takes an alarm off the table when its time has come. If
//! it finds an older waker there, the time is up, and the look after `set` sees that. The models
//! (`model.rs`) try the orders.
//!
//! # Who calls the wakers
//!
//! A thread of its own, which starts with the first alarm. The helper thread cannot do it: without
//! a reactor it calls `io_submit`, which may block on the very device that hangs, and deadlines
//! must fire then of all times. In `LocalDriver::block_on` no thread is needed: the sleep ends at
//! the first alarm of a table without a lock (`local/alarm.rs`).
//!
//! The thread is told of an alarm only if it would sleep past it. Deadlines that are set one after
//! the other, each the same time ahead, therefore cost no system call, though most are removed long
//! before they come.
//!
//! # Which clock
//!
//! [`clock::now`], which is the clock of a simulation in a simulation. There no thread starts: the
//! simulation does the work in steps ([`steps`]).
//!
//! # Users' code
//!
//! Wakers are users' code. They are cloned, called and dropped without the lock. One may fork: in
//! the child a thread may hold the lock that does not exist there, so nothing takes it.

use super::thread::{Thread, ThreadError};
use super::users_code::catch_and_forget;
use crate::clock;
use crate::raw::ForkGuard;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Waker};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Names an alarm: its time, and a number for those of the same time.
pub(crate) type Key = (Instant, u64);

/// The alarms that are set, and the wakers that they call. Plain data.
#[derive(Default)]
pub(crate) struct Alarms {
    wakers: BTreeMap<Key, Waker>,
    last: u64,
}

impl Alarms {
    /// Makes the key of a new alarm.
    pub(crate) fn key(&mut self, at: Instant) -> Key {
        self.last += 1;
        (at, self.last)
    }

    /// Returns whether an alarm is set, and wakes the same task as `waker`.
    pub(crate) fn wakes(&self, key: Key, waker: &Waker) -> bool {
        self.wakers.get(&key).is_some_and(|old| old.will_wake(waker))
    }

    /// Sets an alarm. Returns the waker that it had, to be dropped.
    pub(crate) fn set(&mut self, key: Key, waker: Waker) -> Option<Waker> {
        self.wakers.insert(key, waker)
    }

    /// Removes an alarm. Returns its waker, to be dropped.
    pub(crate) fn clear(&mut self, key: Key) -> Option<Waker> {
        self.wakers.remove(&key)
    }

    /// Takes the waker of an alarm whose time has come, to be called.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Waker> {
        let first = self.wakers.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }

    /// Returns the earliest time.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.wakers.first_key_value().map(|(key, _)| key.0)
    }
}

/// An alarm of any clock, as a future with a deadline uses it.
// Rust 1.85 does not see that a bound of an associated type reaches it.
#[allow(unreachable_pub)]
pub trait Rings: Unpin {
    /// Has the waker called at the time of the alarm, instead of the waker before it.
    ///
    /// # Errors
    /// Those of starting a thread. Nobody would call the waker then.
    fn set(&mut self, waker: &Waker) -> Result<(), ThreadError>;

    /// Returns whether the time has come.
    fn is_due(&self) -> bool;
}

/// Sets the alarm of a future whose deadline is `at`, and returns whether its time has come. `make`
/// makes the alarm if there is none yet. Without a deadline it never comes.
///
/// # Errors
/// Those of starting a thread. Nobody would tell that the time has come then.
pub(super) fn is_up<A: Rings>(
    alarm: &mut Option<A>,
    at: Option<Instant>,
    make: impl FnOnce(Instant) -> Result<A, ThreadError>,
    cx: &Context<'_>,
) -> Result<bool, ThreadError> {
    let Some(at) = at else { return Ok(false) };
    let alarm = match alarm {
        Some(alarm) => alarm,
        None => alarm.insert(make(at)?),
    };
    alarm.set(cx.waker())?;
    Ok(alarm.is_due())
}

/// Calls wakers at their times, on a thread that starts with the first alarm.
pub(crate) struct AlarmClock {
    state: Mutex<State>,
    changed: Condvar,
    /// The thread runs. Changed under the lock.
    started: AtomicBool,
    process: ForkGuard,
}

#[derive(Default)]
struct State {
    alarms: Alarms,
    /// The time up to which the thread sleeps. `None` if it sleeps until it is told of an alarm.
    sleeps_until: Option<Instant>,
    ended: bool,
}

impl AlarmClock {
    pub(super) fn new(process: ForkGuard) -> Arc<Self> {
        let (state, changed, started) = Default::default();
        Arc::new(Self { state, changed, started, process })
    }

    /// `None` in a forked child: a thread that it does not have may hold the lock.
    fn lock(&self) -> Option<MutexGuard<'_, State>> {
        self.process.check_strictly().ok()?;
        Some(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes an alarm, which is not set yet. Starts the thread unless it runs.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub(crate) fn alarm(self: &Arc<Self>, at: Instant) -> Result<Alarm, ThreadError> {
        self.start()?;
        Ok(Alarm { clock: Arc::clone(self), at, key: None })
    }

    /// Has the waker called at that time, whatever becomes of the caller.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub(crate) fn wake_at(self: &Arc<Self>, at: Instant, waker: Waker) -> Result<(), ThreadError> {
        self.start()?;
        if let Some(mut state) = self.lock() {
            let key = state.alarms.key(at);
            // The key is new, so there is no waker before this one.
            let _none = state.alarms.set(key, waker);
            self.tell(state, at);
        }
        Ok(())
    }

    fn start(self: &Arc<Self>) -> Result<(), ThreadError> {
        if self.started.load(Ordering::Acquire) {
            return Ok(());
        }
        let Some(_locked) = self.lock() else { return Ok(()) };
        if !self.started.load(Ordering::Acquire) {
            let clock = Arc::clone(self);
            #[cfg(feature = "sim")]
            let adopted = crate::sys::sim::adopt(|| steps(Arc::clone(&clock)));
            #[cfg(not(feature = "sim"))]
            let adopted = false;
            if !adopted {
                Thread::Timer.start(move || clock.work())?;
            }
            self.started.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Wakes the thread if it would sleep past that time.
    fn tell(&self, state: MutexGuard<'_, State>, at: Instant) {
        let sleeps_past = state.sleeps_until.is_none_or(|until| at < until);
        drop(state);
        if sleeps_past {
            self.changed.notify_one();
        }
    }

    /// Ends the thread. Does not wait for it: it may be the caller.
    pub(super) fn end(&self) {
        if !self.started.load(Ordering::Acquire) {
            return;
        }
        if let Some(mut state) = self.lock() {
            state.ended = true;
            drop(state);
            self.changed.notify_one();
        }
    }

    fn work(&self) {
        // A waker may fork. In the child there is no lock.
        while let Some(waker) = self.next() {
            catch_and_forget(|| waker.wake());
        }
    }

    /// Sleeps until an alarm is due, and takes it. Returns `None` if the thread is to end.
    fn next(&self) -> Option<Waker> {
        let mut state = self.lock()?;
        loop {
            if state.ended {
                return None;
            }
            let now = clock::now();
            if let Some(waker) = state.alarms.take_due(now) {
                return Some(waker);
            }
            state.sleeps_until = state.alarms.next();
            state = match state.sleeps_until {
                Some(at) => {
                    let slept = self.changed.wait_timeout(state, at - now);
                    slept.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// Returns the work of the thread in steps that do not block, for a simulation.
#[cfg(feature = "sim")]
fn steps(clock: Arc<AlarmClock>) -> crate::sys::sim::Step {
    use crate::sys::sim::Stepped;
    alloc::boxed::Box::new(move || {
        let Some(mut state) = clock.lock().filter(|state| !state.ended) else {
            return Stepped::Over;
        };
        let Some(waker) = state.alarms.take_due(clock::now()) else {
            return Stepped::idle_until(state.alarms.next());
        };
        drop(state);
        catch_and_forget(|| waker.wake());
        Stepped::Busy
    })
}

/// Wakes a task at a time, unless it is dropped before.
pub struct Alarm {
    clock: Arc<AlarmClock>,
    at: Instant,
    /// `None` until it is set.
    key: Option<Key>,
}

impl Rings for Alarm {
    fn set(&mut self, waker: &Waker) -> Result<(), ThreadError> {
        let Some(mut state) = self.clock.lock() else { return Ok(()) };
        let key = *self.key.get_or_insert_with(|| state.alarms.key(self.at));
        if state.alarms.wakes(key, waker) {
            return Ok(());
        }
        drop(state);
        // The clone and the drop are users' code, which must not run under the lock.
        let waker = waker.clone();
        let Some(mut state) = self.clock.lock() else {
            // The clone has forked: it may belong to a runtime of the parent's.
            core::mem::forget(waker);
            return Ok(());
        };
        let before = state.alarms.set(key, waker);
        self.clock.tell(state, self.at);
        catch_and_forget(|| drop(before));
        Ok(())
    }

    fn is_due(&self) -> bool {
        self.at <= clock::now()
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let Some(mut state) = self.clock.lock() else { return };
        let waker = state.alarms.clear(key);
        drop(state);
        catch_and_forget(|| drop(waker));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Alarms;
    use core::task::Waker;
    use core::time::Duration;
    use std::time::Instant;

    /// Goal: the earliest alarm is known, whatever is set, removed and taken. Method: three alarms,
    /// of which one is removed, and two have the same time.
    #[test]
    fn the_earliest_is_known() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut alarms = Alarms::default();
        let [a, b, c] = [2, 2, 1].map(|seconds| alarms.key(at(seconds)));
        assert!(alarms.clear(a).is_none());
        assert!(alarms.set(a, Waker::noop().clone()).is_none());
        assert!(alarms.set(b, Waker::noop().clone()).is_none());
        assert!(alarms.set(c, Waker::noop().clone()).is_none());
        assert!(alarms.set(c, Waker::noop().clone()).is_some());
        assert!(alarms.take_due(start).is_none());
        assert_eq!(alarms.next(), Some(at(1)));
        assert!(alarms.clear(c).is_some());
        assert!(!alarms.wakes(c, Waker::noop()));
        assert_eq!(alarms.next(), Some(at(2)));
        assert!(alarms.take_due(at(3)).is_some());
        assert!(alarms.take_due(at(3)).is_some());
        assert!(alarms.take_due(at(3)).is_none());
        assert_eq!(alarms.next(), None);
    }
}
