//! [`Shared`], the part of a driver that its handles and futures share, and who calls whom in it.

use super::batching::Decision;
use super::blocking::BlockingThreads;
use super::deferred::Deferred;
use super::entry::QueuedOperation;
use super::event_loop::EventLoop;
use super::helper::{Helper, Purpose};
use super::reactor::Contained;
use super::run_lock::{ReactorPolling, RunLock};
use super::state::State;
use crate::machine::Machine;
use crate::raw::ForkGuard;
use crate::{Errno, EventFd, Queue};
use alloc::sync::{Arc, Weak};
use alloc::task::Wake;
use alloc::vec::Vec;
use core::mem;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The number of steps that one caller runs at most. It leaves the rest to the reactor.
const STEPS: u32 = 8;

/// The part of a driver that its handles and futures share.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Locked by the thread that `run_lock` admits, and so never waited for.
    pub(super) event_loop: Mutex<EventLoop>,
    pub(super) run_lock: RunLock,
    /// True if tasks run the event loop, too; false if the helper thread alone does.
    pub(super) tasks_run: bool,
    pub(super) reactor_polling: ReactorPolling,
    /// The helper thread does what the reactor should.
    pub(super) reactor_failed: AtomicBool,
    pub(super) reactor: Contained,
    /// True if the eventfd must be emptied before it can tell the reactor anything again.
    pub(super) empties: bool,
    /// The [`DriverWaker`]. Holds no strong reference: the reactor keeps it, and `self` the
    /// reactor.
    pub(super) waker: Waker,
    pub(super) eventfd: Arc<EventFd>,
    pub(super) helper: Helper,
    /// The threads that make calls for files, and the clock.
    pub(super) blocking: BlockingThreads,
    pub(super) process: ForkGuard,
    pub(super) machine: Machine,
}

/// The reference to the driver that a [`Driver`] or a future has.
///
/// A forked child leaks every reference, so it drops nothing of the driver. An operation or a waker
/// may belong to a thread, a runtime or a buffer that only the parent has; the reactor's
/// registration and the helper's channel are the parent's.
#[derive(Clone)]
pub(super) struct Handle(pub(super) Arc<Shared>);

impl Handle {
    pub(super) fn upgrade(shared: &Weak<Shared>) -> Option<Self> {
        shared.upgrade().map(Self)
    }
}

impl Deref for Handle {
    type Target = Arc<Shared>;

    fn deref(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for Handle {
    #[inline(always)]
    fn drop(&mut self) {
        if self.check_process().is_err() {
            mem::forget(Arc::clone(&self.0));
        }
    }
}

impl Shared {
    /// `Err(FORKED)` in a child of the process that made the driver.
    #[inline(always)]
    pub(super) fn check_process(&self) -> Result<(), Errno> {
        self.process.check_strictly()
    }

    /// Submits as was decided. Returns `true` if the event loop has run.
    #[inline(always)]
    pub(super) fn submit(self: &Arc<Self>, decision: Decision) -> bool {
        match decision {
            Decision::WithNextStep => false,
            Decision::AfterReadyTasks => {
                self.run_after_ready_tasks();
                false
            }
            Decision::Now if !self.tasks_run => {
                self.signal_eventfd();
                false
            }
            Decision::Now => {
                self.run_event_loop();
                true
            }
        }
    }

    /// Locks the state, under which nothing panics. A forked child gets the error instead: a thread
    /// that it does not have may hold the lock.
    #[inline(always)]
    pub(super) fn lock(&self) -> Result<MutexGuard<'_, State>, Errno> {
        self.check_process()?;
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Calls `step` under the lock, and does what it defers after it. Does neither in a forked
    /// child.
    pub(super) fn with_state<R>(
        self: &Arc<Self>,
        step: impl FnOnce(&mut State, &mut Deferred) -> R,
    ) -> Result<R, Errno> {
        Ok(self.with_locked(self.lock()?, step))
    }

    /// Does the same under a lock that is held already.
    pub(super) fn with_locked<R>(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        step: impl FnOnce(&mut State, &mut Deferred) -> R,
    ) -> R {
        let mut deferred = Deferred::default();
        let result = step(&mut state, &mut deferred);
        drop(state);
        let _list = self.finish(deferred);
        result
    }

    /// Does what a step under the lock has left to do. Returns the list of wakers, which is empty.
    pub(super) fn finish(self: &Arc<Self>, deferred: Deferred) -> Vec<Option<Waker>> {
        let run_now = deferred.run_now;
        if deferred.run_on_helper {
            self.run_on_helper();
        }
        if deferred.run_now && !self.tasks_run {
            self.signal_eventfd();
        }
        let list = deferred.run_users_code(|| self.check_process().is_ok());
        // Last, since it may block in `io_submit`.
        if run_now && self.tasks_run {
            self.run_event_loop();
        }
        list
    }

    /// Runs steps of the event loop until nothing is left to do. If another thread is at it, that
    /// thread runs one more step instead.
    #[inline(never)]
    pub(super) fn run_event_loop(self: &Arc<Self>) {
        let mut steps = 0;
        self.run_lock.take(|| {
            // In each step, since the user's code that a step runs may fork.
            if self.check_process().is_err() {
                return false;
            }
            self.listen();
            steps += 1;
            steps <= STEPS && self.lock_event_loop().step(self)
        });
        if steps > STEPS {
            self.signal_eventfd();
        }
    }

    pub(super) fn lock_event_loop(&self) -> MutexGuard<'_, EventLoop> {
        self.event_loop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls the reactor if it has called the waker, so that it calls it again.
    pub(super) fn listen(self: &Arc<Self>) {
        self.reactor_polling.poll_until_pending(|| match self.poll_reactor() {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => {
                if self.empties {
                    // `None` if the reactor was wrong, which costs a step.
                    let _ = self.eventfd.take();
                }
                true
            }
            Poll::Ready(Err(())) => {
                self.reactor_failed.store(true, Ordering::Release);
                // A reactor that has forked may say so, too.
                if self.check_process().is_ok() {
                    self.helper.drive(self);
                }
                false
            }
        });
    }

    /// Returns `Pending` for good once the reactor has failed.
    pub(super) fn poll_reactor(&self) -> Poll<Result<(), ()>> {
        if self.reactor_has_failed() {
            return Poll::Pending;
        }
        self.reactor.poll_readable(&mut Context::from_waker(&self.waker))
    }

    pub(super) fn reactor_has_failed(&self) -> bool {
        self.reactor_failed.load(Ordering::Acquire)
    }

    /// Has the event loop run when the tasks that are ready have run; or soon, if the reactor does
    /// not know when that is.
    #[inline(never)]
    pub(super) fn run_after_ready_tasks(&self) {
        if !(self.tasks_run && self.reactor.wake_later(&self.waker)) {
            self.signal_eventfd();
        }
    }

    /// Makes the eventfd readable, so that the reactor or the helper thread runs the event loop.
    pub(super) fn signal_eventfd(&self) {
        // EAGAIN: the count is at its limit, so the eventfd is readable as it is.
        let _ = self.eventfd.add(1);
    }

    /// Has the helper thread run the event loop now.
    pub(super) fn run_on_helper(self: &Arc<Self>) {
        if self.tasks_run {
            self.helper.run(self);
        }
        if !self.tasks_run || self.reactor_has_failed() {
            // The thread may be waiting for the eventfd.
            self.signal_eventfd();
        }
    }

    /// Has the helper thread run the event loop at that time.
    pub(super) fn run_at(self: &Arc<Self>, at: Instant, purpose: Purpose) {
        self.helper.run_at(at, purpose, self);
        if self.reactor_has_failed() {
            // The thread may be waiting for the eventfd.
            self.signal_eventfd();
        }
    }

    /// Ends the context on the helper thread.
    pub(super) fn destroy(&self, queue: Queue<QueuedOperation>, shared: Weak<Self>) {
        // A waker that has forked may have come back here.
        if self.check_process().is_err() {
            return;
        }
        self.helper.destroy(queue, shared);
        if self.reactor_has_failed() {
            // The thread may be waiting for the eventfd.
            self.signal_eventfd();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let event_loop = self.event_loop.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = event_loop.take_queue() {
            self.destroy(queue, Weak::new());
        }
    }
}

/// The driver's own waker.
pub(super) struct DriverWaker(pub(super) Weak<Shared>);

impl Wake for DriverWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(shared) = Handle::upgrade(&self.0) {
            shared.reactor_polling.set();
            shared.run_event_loop();
        }
    }
}
