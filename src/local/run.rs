//! [`LocalRun`], the task of a local driver on an executor.

use super::{Handle, Inner};
use crate::driver::users_code::catch_and_forget;
use crate::raw::ForkGuard;
use crate::{Errno, EventFd, Reactor};
use alloc::rc::{Rc, Weak};
use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::io;

/// The number of times that a reactor is polled in a row.
const POLLS: u32 = 8;

/// Does the work of a [`LocalDriver`](super::LocalDriver) on an executor: spawn it, on the
/// driver's thread. From [`run_on`](super::LocalDriver::run_on).
///
/// It ends when the driver has been closed, or when the last handle and the last future are gone.
/// Dropping it leaves the operations in flight to the next such future, or to
/// [`block_on`](super::LocalDriver::block_on).
///
/// # Errors
/// That of the reactor, which says that it is gone; [`Errno::FORKED`] in a forked child.
#[must_use = "a future does nothing unless it is polled"]
pub struct LocalRun<R> {
    inner: Weak<Inner>,
    /// `None` once the future has ended.
    watched: Option<(R, Arc<EventFd>)>,
    process: ForkGuard,
}

// Nothing is pinned: a reactor is called by reference alone.
impl<R> Unpin for LocalRun<R> {}

impl<R: Reactor> LocalRun<R> {
    pub(super) fn new(
        inner: &Rc<Inner>,
        reactor: impl FnOnce(Arc<EventFd>) -> io::Result<R>,
    ) -> io::Result<Self> {
        if inner.hosted.replace(true) {
            return Err(Errno::EBUSY.into());
        }
        // From here on its drop says that there is none.
        let process = inner.process;
        let mut run = Self { inner: Rc::downgrade(inner), watched: None, process };
        let eventfd = match inner.watched.get() {
            Some(eventfd) => eventfd,
            None => {
                let new = Arc::new(EventFd::new()?);
                inner.watched.get_or_init(|| new)
            }
        };
        run.watched = Some((reactor(Arc::clone(eventfd))?, Arc::clone(eventfd)));
        inner.host_has_changed();
        Ok(run)
    }

    /// Polls the reactor until it will wake this task.
    fn listen(&self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some((reactor, eventfd)) = &self.watched else { return Ok(()) };
        for _ in 0..POLLS {
            match reactor.poll_readable(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(ready) => ready?,
            }
            if !reactor.is_edge_triggered() {
                // `None` if the reactor was wrong, which costs a turn.
                let _ = eventfd.take();
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }
}

impl<R> LocalRun<R> {
    /// Says that there is no such task any more.
    fn leave(&mut self) {
        if self.process.check_strictly().is_err() {
            // The registration is the parent's.
            mem::forget(self.watched.take());
            return;
        }
        if let Some(inner) = self.inner.upgrade().map(Handle) {
            self.inner = Weak::new();
            inner.hosted.set(false);
            inner.host_has_changed();
            let host = inner.host.borrow_mut().take();
            catch_and_forget(|| drop(host));
        }
        self.watched = None;
    }
}

impl<R: Reactor> Future for LocalRun<R> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Err(errno) = self.process.check_strictly() {
            return Poll::Ready(Err(errno.into()));
        }
        let Some(inner) = self.inner.upgrade().map(Handle) else { return Poll::Ready(Ok(())) };
        if !inner.is_host(cx.waker()) {
            let new = cx.waker().clone();
            let old = inner.host.borrow_mut().replace(new);
            catch_and_forget(|| drop(old));
        }
        if let Err(error) = self.listen(cx) {
            self.leave();
            return Poll::Ready(Err(error));
        }
        if inner.yields.take() && !inner.is_drained() {
            // It was woken before tasks were that a turn has woken since. What has come is
            // submitted with what these start.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        inner.turn();
        if inner.check_process().is_ok() && inner.state.borrow().destroyed {
            self.leave();
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }
}

impl Inner {
    fn is_host(&self, waker: &Waker) -> bool {
        self.host.borrow().as_ref().is_some_and(|host| host.will_wake(waker))
    }
}

impl<R> Drop for LocalRun<R> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<R> fmt::Debug for LocalRun<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalRun").finish_non_exhaustive()
    }
}
