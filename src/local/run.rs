//! [`LocalRun`], the task of a local driver on an executor.

use super::{Handle, Inner, LocalDriver};
use crate::clock;
use crate::driver::reactor::FailedReactor;
use crate::driver::users_code::catch_and_forget;
use crate::raw::ForkGuard;
use crate::{Errno, EventFd, Fd, Reactor};
use alloc::rc::{Rc, Weak};
use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::io;
use std::thread;
use std::time::Instant;

/// The number of times that a reactor is polled in a row.
const POLLS: u32 = 8;

impl LocalDriver {
    /// Returns a future that does the driver's work, to be spawned on an executor of this thread.
    /// `reactor` watches the driver's eventfd for it.
    ///
    /// `reactor` is called once, with the eventfd, to register it with the runtime. The driver does
    /// not call [`Reactor::wake_later`]: the task of the future submits what others have started,
    /// when its turn comes. So the executor should run tasks first come, first served, as
    /// `LocalSet` and `LocalExecutor` do.
    ///
    /// # Errors
    /// Those of [`EventFd::new`] and of `reactor`; `EBUSY` while another such future of this driver
    /// exists; [`Errno::FORKED`].
    ///
    /// # Examples
    ///
    /// On smol's `LocalExecutor`, where `async-io` watches the eventfd:
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{EventFd, LocalDriver, Reactor, op::Read};
    /// use std::task::{Context, Poll};
    /// use std::{fs::File, io, sync::Arc};
    ///
    /// struct Watched(smol::Async<Arc<EventFd>>);
    ///
    /// impl Reactor for Watched {
    ///     fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    ///         self.0.poll_readable(cx)
    ///     }
    /// }
    ///
    /// let driver = LocalDriver::new(32)?;
    /// let executor = smol::LocalExecutor::new();
    /// let run = driver.run_on(|eventfd| Ok(Watched(smol::Async::new_nonblocking(eventfd)?)))?;
    /// executor.spawn(run).detach();
    /// let file = File::open("/dev/zero")?;
    /// let read = driver.perform(Read::new(file, vec![1; 64], 0));
    /// let (result, read) = smol::block_on(executor.run(read));
    /// assert_eq!((result?, read.buf), (64, vec![0; 64]));
    /// # Ok(()) }
    /// ```
    pub fn run_on<R: Reactor>(
        &self,
        reactor: impl FnOnce(Arc<EventFd>) -> io::Result<R>,
    ) -> io::Result<LocalRun<R>> {
        self.inner.check_process()?;
        LocalRun::new(&self.inner, reactor)
    }

    /// Returns an error of the kind and text that the reactor of `tokio::local_driver` has failed
    /// with, if it has. Nobody else sees that error, since the task of that driver is detached. A
    /// [`LocalRun`] of the program's own returns its error from its future.
    ///
    /// The usual reason is that the runtime is gone. Since then nobody does the driver's work:
    /// operations stay pending until [`block_on`](Self::block_on) or another
    /// [`run_on`](Self::run_on) does it. Returns `None` in a forked child.
    pub fn reactor_error(&self) -> Option<io::Error> {
        self.inner.check_process().ok()?;
        self.inner.reactor_error.get().map(FailedReactor::error)
    }

    /// Returns a future that does the work of [`run_on`](Self::run_on), and keeps its error.
    #[cfg(feature = "tokio")]
    pub(crate) fn run_detached<R: Reactor>(
        &self,
        reactor: fn(Arc<EventFd>) -> io::Result<R>,
    ) -> io::Result<impl Future<Output = ()> + use<R>> {
        let (run, inner) = (self.run_on(reactor)?, Rc::downgrade(&self.inner));
        Ok(async move {
            let result = run.await;
            if let (Err(error), Some(inner)) = (result, inner.upgrade().map(Handle)) {
                // The first tells why. An error after it has the same reason.
                let _ = inner.reactor_error.set(FailedReactor::new(error));
            }
        })
    }
}

/// Does the work of a [`LocalDriver`] on an executor: spawn it, on the driver's thread. From
/// [`run_on`](LocalDriver::run_on).
///
/// It ends when the driver has been closed, or when the last handle and the last future are gone.
/// Dropping it leaves the operations in flight to the next such future, or to
/// [`block_on`](LocalDriver::block_on).
///
/// # Errors
/// That of the reactor, which says that it is gone; [`Errno::FORKED`] in a forked child.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{EventFd, LocalDriver, LocalRun, Reactor, op::Read};
/// use std::task::{Context, Poll};
/// use std::{fs::File, io, sync::Arc};
///
/// struct Watched(smol::Async<Arc<EventFd>>);
///
/// impl Reactor for Watched {
///     fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
///         self.0.poll_readable(cx)
///     }
/// }
///
/// let driver = LocalDriver::new(32)?;
/// let run: LocalRun<Watched> =
///     driver.run_on(|eventfd| Ok(Watched(smol::Async::new_nonblocking(eventfd)?)))?;
/// let read = driver.perform(Read::new(File::open("/dev/zero")?, vec![1; 64], 0));
/// let work = async {
///     let (result, read) = read.await;
///     driver.close().await; // then `run` ends as well
///     io::Result::Ok((result?, read.buf))
/// };
/// let (done, ended) = smol::block_on(smol::future::zip(work, run));
/// ended?;
/// assert_eq!(done?, (64, vec![0; 64]));
/// # Ok(()) }
/// ```
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
            if let Err(errno) = self.process.check_strictly() {
                // The clone has forked: both may belong to a runtime of the parent's.
                mem::forget(new);
                return Poll::Ready(Err(errno.into()));
            }
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
    pub(super) fn is_hosted(&self) -> bool {
        self.hosted.get()
    }

    /// Returns the eventfd that a task waits for, if there is one.
    fn watched_by_host(&self) -> Option<&Arc<EventFd>> {
        self.watched.get().filter(|_| self.is_hosted())
    }

    /// Has operations name the eventfd of the reactor that there is now, if there is one.
    fn host_has_changed(&self) {
        self.announcing.set_watched(self.watched_by_host().map(|eventfd| {
            // SAFETY: The driver keeps its eventfds open until the queue is gone, and operations
            // that name them are submitted by that queue alone.
            unsafe { Fd::borrow_raw(eventfd.fd().as_raw()) }
        }));
        self.revoke_credit();
    }

    /// Returns whether nobody but futures that are polled run turns.
    pub(super) fn is_left_alone(&self) -> bool {
        !self.is_hosted() && !self.blocking.get()
    }

    /// Has operations that have come submitted when the tasks that are ready have run. With nobody
    /// to do so later, submits them now.
    pub(super) fn turn_later(&self) {
        if self.turning.get() {
            self.again.set(true);
        } else if self.is_hosted() {
            self.wake_host();
        } else if !self.blocking.get() {
            self.turn();
        }
    }

    /// Wakes the task of the [`LocalRun`].
    pub(super) fn wake_host(&self) {
        // Out of its place while it is called: it may replace itself.
        let Some(waker) = self.host.borrow_mut().take() else { return };
        catch_and_forget(|| waker.wake_by_ref());
        let mut host = self.host.borrow_mut();
        if host.is_none() && self.is_hosted() {
            *host = Some(waker);
            return;
        }
        drop(host);
        catch_and_forget(|| drop(waker));
    }

    /// Wakes the task of the [`LocalRun`] at that time.
    pub(super) fn wake_host_at(&self, at: Instant) {
        let Some(eventfd) = self.watched_by_host() else { return };
        if self.signal_at(at, eventfd).is_err() {
            // Without a thread for it, this one waits.
            thread::sleep(at.saturating_duration_since(clock::now()).min(Duration::from_millis(1)));
            let _ = eventfd.add(1);
        }
    }

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
