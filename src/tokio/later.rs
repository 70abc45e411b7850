//! [`Later`], by which a waker is called after the tasks that are ready.

use ::tokio::task;
use alloc::sync::Arc;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A task of the runtime, which ends when this is dropped.
pub(super) struct Later(Shared);

/// What the task and its owner know.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What the task is to call.
    waker: Option<Waker>,
    /// Of the task itself, once it has run.
    task: Option<Waker>,
    /// The owner or the task is gone.
    over: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of the two is gone: what the other still has to call is given back.
    fn end(&self) -> (Option<Waker>, Option<Waker>) {
        let mut state = self.lock();
        state.over = true;
        (state.waker.take(), state.task.take())
    }
}

impl Later {
    /// # Panics
    /// Outside of a tokio runtime.
    pub(super) fn spawn() -> Self {
        let shared = Shared::default();
        task::spawn(Task { shared: shared.clone(), has_yielded: false });
        Self(shared)
    }

    /// Has `waker` called, once for all calls until then. `false` if the task is gone.
    pub(super) fn wake(&self, waker: &Waker) -> bool {
        let mut state = self.0.lock();
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

impl Drop for Later {
    fn drop(&mut self) {
        if let (_, Some(task)) = self.0.end() {
            task.wake();
        }
    }
}

struct Task {
    shared: Shared,
    /// It has let the tasks run that were ready when it was woken: a worker runs what was woken last first, and what
    /// yields last.
    has_yielded: bool,
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let has_yielded = mem::take(&mut self.has_yielded);
        let mut state = self.shared.lock();
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
