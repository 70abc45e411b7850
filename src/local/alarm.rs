//! The alarms of a local driver: [`LocalAlarm`], which ends the sleep of `block_on` without a
//! thread and a lock, and what an executor needs, by the thread of the driver's clock.
//!
//! `driver/alarm_clock.rs` says what an alarm does, and why none is lost. Here the table is in the
//! driver, and `block_on` rings: in each turn, and before and after a sleep, which ends at the
//! first alarm. That is right as long as the wakers lead to `block_on`, which they do if they were
//! stored in it. A future that is polled by an executor, or by anybody else, sets the alarm of the
//! thread instead.

use super::{Handle, Inner};
use crate::EventFd;
use crate::clock;
use crate::driver::alarm_clock::{Alarm, Alarms, Key, Rings};
use crate::driver::thread::ThreadError;
use crate::driver::users_code::catch_and_forget;
use crate::raw::ForkGuard;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::cell::{Cell, OnceCell, RefCell};
use core::mem;
use core::task::Waker;
use core::time::Duration;
use std::time::Instant;

/// The alarms of `block_on`.
#[derive(Default)]
pub(super) struct LocalAlarms {
    alarms: RefCell<Alarms>,
    /// The earliest time.
    next: Cell<Option<Instant>>,
    /// Makes the eventfd of the task of a `LocalRun` readable.
    signal: OnceCell<Waker>,
}

impl LocalAlarms {
    fn change<R>(&self, change: impl FnOnce(&mut Alarms) -> R) -> R {
        let alarms = &mut *self.alarms.borrow_mut();
        let result = change(alarms);
        self.next.set(alarms.next());
        result
    }

    /// Calls the wakers whose time has come, in the process that has set them.
    #[inline(always)]
    pub(super) fn ring(&self, process: ForkGuard) {
        // Without alarms, this is all.
        if self.next.get().is_some() {
            self.ring_due(process);
        }
    }

    #[cold]
    fn ring_due(&self, process: ForkGuard) {
        let now = clock::now();
        // A waker may fork. It may also set alarms: later ones are of the next call.
        while process.check_strictly().is_ok() {
            let Some(waker) = self.change(|alarms| alarms.take_due(now)) else { return };
            catch_and_forget(|| waker.wake());
        }
    }

    /// Returns how long a sleep may last that would last for `time`.
    pub(super) fn bound(&self, time: Duration) -> Duration {
        let Some(next) = self.next.get() else { return time };
        time.min(next.saturating_duration_since(clock::now()))
    }
}

/// An alarm of a local driver.
pub struct LocalAlarm {
    inner: Handle,
    at: Instant,
    /// The alarm in the driver's table, once it has been set there.
    key: Option<Key>,
    /// The alarm of the thread, once one is needed.
    of_thread: Option<Alarm>,
}

impl LocalAlarm {
    /// Makes an alarm, which is not set yet. Starts the thread if it needs one.
    pub(super) fn new(inner: Handle, at: Instant) -> Result<Self, ThreadError> {
        let of_thread = match inner.rings_in_block_on() {
            true => None,
            false => Some(inner.threads.alarm(at)?),
        };
        Ok(Self { inner, at, key: None, of_thread })
    }

    fn set_in_table(&mut self, waker: &Waker) {
        let alarms = &self.inner.alarms;
        if let Some(key) = self.key {
            if alarms.alarms.borrow().wakes(key, waker) {
                return;
            }
        }
        // The clone and the drop are users' code, which may come back here.
        let waker = waker.clone();
        if self.inner.check_process().is_err() {
            // The clone has forked: it may belong to a runtime of the parent's.
            return mem::forget(waker);
        }
        let before = alarms.change(|alarms| {
            let key = *self.key.get_or_insert_with(|| alarms.key(self.at));
            alarms.set(key, waker)
        });
        catch_and_forget(|| drop(before));
    }
}

impl Rings for LocalAlarm {
    fn set(&mut self, waker: &Waker) -> Result<(), ThreadError> {
        if self.inner.check_process().is_err() {
            return Ok(());
        }
        if self.inner.rings_in_block_on() {
            self.set_in_table(waker);
            return Ok(());
        }
        let alarm = match &mut self.of_thread {
            Some(alarm) => alarm,
            None => self.of_thread.insert(self.inner.threads.alarm(self.at)?),
        };
        alarm.set(waker)
    }

    fn is_due(&self) -> bool {
        self.at <= clock::now()
    }
}

impl Drop for LocalAlarm {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        if self.inner.check_process().is_ok() {
            let waker = self.inner.alarms.change(|alarms| alarms.clear(key));
            catch_and_forget(|| drop(waker));
        }
    }
}

/// Makes an eventfd readable.
struct Signal(Arc<EventFd>);

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        // EAGAIN: the count is at its limit, so it is readable as it is.
        let _ = self.0.add(1);
    }
}

impl Inner {
    /// Returns whether `block_on` is what futures are polled by.
    fn rings_in_block_on(&self) -> bool {
        self.blocking.get() && !self.is_hosted()
    }

    /// Has the clock's thread make the eventfd readable at that time.
    ///
    /// # Errors
    /// Those of starting the thread.
    pub(super) fn signal_at(&self, at: Instant, eventfd: &Arc<EventFd>) -> Result<(), ThreadError> {
        let signal =
            self.alarms.signal.get_or_init(|| Arc::new(Signal(Arc::clone(eventfd))).into());
        self.threads.wake_at(at, signal.clone())
    }
}
