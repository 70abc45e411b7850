//! [`AlarmClock`], a thread that calls wakers at their times.
//!
//! It is for futures that consist of more than one operation. The deadline of a single operation is
//! in the table of its driver.

use super::thread::{Thread, ThreadError};
use super::users_code::catch_and_forget;
use crate::raw::ForkGuard;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::task::Waker;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Calls wakers at their times, on a thread that starts with the first.
pub(crate) struct AlarmClock {
    state: Mutex<State>,
    changed: Condvar,
    process: ForkGuard,
}

#[derive(Default)]
struct State {
    /// By time, and by a number for those of the same time.
    alarms: BTreeMap<(Instant, u64), Waker>,
    next: u64,
    started: bool,
    ended: bool,
}

impl AlarmClock {
    pub(super) fn new(process: ForkGuard) -> Arc<Self> {
        let (state, changed) = Default::default();
        Arc::new(Self { state, changed, process })
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
        let mut number = 0;
        if let Some(mut state) = self.lock() {
            if !state.started {
                let clock = Arc::clone(self);
                Thread::Clock.start(move || clock.work())?;
                state.started = true;
            }
            state.next += 1;
            number = state.next;
        }
        Ok(Alarm { clock: Arc::clone(self), key: (at, number) })
    }

    /// Ends the thread. Does not wait for it: it may be the caller.
    pub(super) fn end(&self) {
        if let Some(mut state) = self.lock() {
            state.ended = true;
            // Without a thread nobody sleeps, and no system call is made.
            if state.started {
                self.changed.notify_one();
            }
        }
    }

    fn work(&self) {
        // A waker is users' code and may fork. In the child there is no lock.
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
            let now = Instant::now();
            state = match state.alarms.first_entry() {
                Some(first) if first.key().0 <= now => return Some(first.remove()),
                Some(first) => {
                    let left = first.key().0 - now;
                    let slept = self.changed.wait_timeout(state, left);
                    slept.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// Wakes a task at a time, unless it is dropped before.
pub(crate) struct Alarm {
    clock: Arc<AlarmClock>,
    key: (Instant, u64),
}

impl Alarm {
    /// Has the waker called at the time of the alarm, instead of the one before it.
    pub(crate) fn set(&self, waker: &Waker) {
        // The clone and the drop are users' code, which must not run under the lock.
        let waker = waker.clone();
        let Some(mut state) = self.clock.lock() else { return };
        let before = state.alarms.insert(self.key, waker);
        let is_first = state.alarms.first_key_value().is_some_and(|(key, _)| *key == self.key);
        drop(state);
        if is_first && before.is_none() {
            self.clock.changed.notify_one();
        }
        catch_and_forget(|| drop(before));
    }

    /// Returns whether the time has come.
    pub(crate) fn is_due(&self) -> bool {
        self.key.0 <= Instant::now()
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let Some(mut state) = self.clock.lock() else { return };
        let waker = state.alarms.remove(&self.key);
        drop(state);
        catch_and_forget(|| drop(waker));
    }
}
