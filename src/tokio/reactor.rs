//! [`TokioReactor`], which watches the eventfd of a driver, and calls the driver's waker after the
//! tasks that are ready.

use crate::raw::ForkGuard;
use crate::{Errno, EventFd, Reactor};
use ::tokio::io::Interest;
use ::tokio::io::unix::AsyncFd;
use ::tokio::task::{self, unconstrained};
use alloc::sync::Arc;
use core::future::{Future, poll_fn};
use core::mem;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the [module](self).
pub(super) struct TokioReactor {
    readable: AsyncFd<Arc<EventFd>>,
    later: AfterReadyTasks,
}

impl TokioReactor {
    /// # Panics
    /// Outside of a tokio runtime.
    pub(super) fn new(eventfd: Arc<EventFd>) -> io::Result<Self> {
        // SAFETY: An `EventFd` has one descriptor, open until it is dropped, and the `AsyncFd`
        // holds it by an `Arc`.
        let readable = unsafe { AsyncFd::register_with_interest(eventfd, Interest::READABLE) };
        Ok(Self { readable: readable?, later: AfterReadyTasks::spawn() })
    }
}

impl Reactor for TokioReactor {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Without a task's budget: it is not the task that happens to run that is served here, and
        // a budget that is used up would call the waker from inside.
        let ready = pin!(unconstrained(poll_fn(|cx| self.readable.poll_read_ready(cx)))).poll(cx);
        ready.map(|ready| ready.map(|mut ready| ready.clear_ready()))
    }

    /// Returns `true`, as for all that tokio registers with epoll is.
    fn is_edge_triggered(&self) -> bool {
        true
    }

    fn wake_later(&self, waker: &Waker) -> bool {
        self.later.wake(waker)
    }
}

/// A task of the runtime, which ends when this is dropped.
struct AfterReadyTasks(Shared);

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
    fn spawn() -> Self {
        let shared = Shared::new();
        task::spawn(Task { shared: shared.clone(), has_yielded: false });
        Self(shared)
    }

    /// Has `waker` called, once for all calls until then. `false` if the task is gone.
    fn wake(&self, waker: &Waker) -> bool {
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
