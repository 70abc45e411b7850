//! [`AfterReadyTasks`], by which a waker is called after the tasks that are ready.

use crate::Errno;
use crate::raw::ForkGuard;
use ::tokio::task;
use alloc::sync::Arc;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A task of the runtime, which ends when this is dropped.
pub(super) struct AfterReadyTasks(Shared);

/// The state that the task and its owner share.
#[derive(Clone)]
struct Shared {
    state: Arc<Mutex<State>>,
    process: ForkGuard,
}

#[derive(Default)]
struct State {
    /// The wakers that the task is to call.
    waker: Option<Waker>,
    /// Of the task itself, once it has run.
    task: Option<Waker>,
    /// The owner or the task is gone.
    over: bool,
}

impl Shared {
    fn new() -> Self {
        Self { state: Arc::default(), process: ForkGuard::of_this_process() }
    }

    /// Locks the state. A forked child, which may have a copy of the runtime, gets an error
    /// instead: a thread that it does not have may hold the lock.
    fn lock(&self) -> Result<MutexGuard<'_, State>, Errno> {
        self.process.check_strictly()?;
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One of the two is gone: what the other still has to call is given back.
    fn end(&self) -> (Option<Waker>, Option<Waker>) {
        let Ok(mut state) = self.lock() else { return (None, None) };
        state.over = true;
        (state.waker.take(), state.task.take())
    }
}

impl AfterReadyTasks {
    /// # Panics
    /// Outside of a tokio runtime.
    pub(super) fn spawn() -> Self {
        let shared = Shared::new();
        task::spawn(Task { shared: shared.clone(), has_yielded: false });
        Self(shared)
    }

    /// Has `waker` called, once for all calls until then. `false` if the task is gone.
    pub(super) fn wake(&self, waker: &Waker) -> bool {
        let Ok(mut state) = self.0.lock() else { return false };
        if state.over || state.waker.is_some() {
            return !state.over;
        }
        state.waker = Some(waker.clone());
        let task = state.task.clone();
        drop(state);
        // Without one, the task has not run yet, and will.
        if let Some(task) = task {
            task.wake();
        }
        true
    }
}

impl Drop for AfterReadyTasks {
    fn drop(&mut self) {
        if let (_, Some(task)) = self.0.end() {
            task.wake();
        }
    }
}

struct Task {
    shared: Shared,
    /// It has let the tasks run that were ready when it was woken: a worker runs what was woken
    /// last first, and what yields last.
    has_yielded: bool,
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let has_yielded = mem::take(&mut self.has_yielded);
        let Ok(mut state) = self.shared.lock() else { return Poll::Ready(()) };
        if state.over {
            return Poll::Ready(());
        }
        if !state.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            state.task = Some(cx.waker().clone());
        }
        if has_yielded {
            let waker = state.waker.take();
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        } else if state.waker.is_some() {
            drop(state);
            self.has_yielded = true;
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// With the runtime. What was to be done after the tasks is done now.
impl Drop for Task {
    fn drop(&mut self) {
        if let (Some(waker), _) = self.shared.end() {
            waker.wake();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{AfterReadyTasks, Shared, Task};
    use core::future::Future;
    use core::pin::Pin;
    use core::task::{Context, Waker};

    /// Goal: a forked child, which may drop its copy of the runtime, does not wait for a lock that
    /// nobody gives back there. Method: the lock is held at the fork; an alarm ends a child that
    /// hangs.
    #[test]
    fn a_forked_child_takes_no_lock() {
        let shared = Shared::new();
        let later = AfterReadyTasks(shared.clone());
        let mut task = Task { shared: shared.clone(), has_yielded: false };
        let held = shared.lock().expect("this process");
        // SAFETY: The child calls what follows, none of which takes a lock, and leaves by `_exit`.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: Sets a timer of this process.
            unsafe { libc::alarm(40) };
            let woken = later.wake(Waker::noop());
            let over = Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop())).is_ready();
            drop((task, later));
            // SAFETY: Ends the child.
            unsafe { libc::_exit(i32::from(woken || !over)) };
        }
        let mut status = 0;
        // SAFETY: `status` is valid for a write.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!((waited, status), (pid, 0));
        drop(held);
    }
}
