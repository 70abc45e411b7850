//! [`LocalClose`], the end of a local driver, and the drop of one that was not closed.

use super::complete::drop_caught;
use super::queued::Queued;
use super::{Handle, Inner, LocalDriver};
use crate::CloseWithin;
use crate::driver::users_code::catch_and_forget;
use core::fmt;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

impl LocalDriver {
    /// Takes no more operations from now on: they give `ECANCELED`. The future resolves when those
    /// that were taken have completed and the context has been destroyed.
    ///
    /// To destroy the context takes about 30 ms, for which the thread waits. A POLL that nothing
    /// ends is waited for without end: drop its future to cancel it. Dropping the future of `close`
    /// does not open the driver again. In a forked child the future resolves at once, and the
    /// parent's driver stays open.
    ///
    /// Calls that a thread makes for a [`File`](crate::File) are waited for as well. New ones give
    /// `ECANCELED`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::LocalDriver;
    ///
    /// let driver = LocalDriver::new(8)?;
    /// driver.block_on(driver.clone().close());
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_destroy")]
    pub fn close(self) -> LocalClose {
        self.inner.threads.take_no_calls();
        LocalClose::new(self.inner)
    }

    /// Closes the driver as [`close`](Self::close) does, but waits for `time` at most.
    ///
    /// Use it where the program must end even if a disk hangs. The time begins with this call.
    ///
    /// # Errors
    /// [`Unfinished`](crate::Unfinished) lists the operations that the kernel still has when the
    /// time is up. The driver leaks rather than waits: from then on its drop leaves these
    /// operations, their buffers and the context as they are. Operations that wait for a slot end
    /// with `ECANCELED` then. Futures of operations in the kernel stay pending. Outside of
    /// [`block_on`](Self::block_on) a thread tells when the time is up. If it cannot be started,
    /// the time is up at once.
    ///
    /// The kernel itself waits for the operations of a process that exits. A program cannot prevent
    /// that.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::{EventFd, LocalDriver, PollEvents, op::Poll};
    /// use std::{pin::pin, task::{Context, Waker}, time::Duration};
    ///
    /// let driver = LocalDriver::new(8)?;
    /// let silent = EventFd::new()?;
    /// let mut poll = pin!(driver.perform(Poll::new(silent, PollEvents::IN)));
    /// assert!(poll.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    ///
    /// let close = driver.clone().close_within(Duration::from_millis(50));
    /// let unfinished = driver.block_on(close).unwrap_err();
    /// for operation in unfinished.operations() {
    ///     println!("still in the kernel: {operation}");
    /// }
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_destroy")]
    pub fn close_within(self, time: Duration) -> CloseWithin<LocalClose> {
        CloseWithin::new(self.close(), time)
    }
}

/// The end of a local driver as a future, from [`LocalDriver::close`]. It is ready at once in a
/// forked child.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::LocalDriver;
///
/// let driver = LocalDriver::new(8)?;
/// // It needs a handle that goes on with the work.
/// driver.block_on(driver.clone().close());
/// # Ok(()) }
/// ```
#[must_use = "a future does nothing unless it is polled"]
pub struct LocalClose {
    pub(super) inner: Handle,
    /// Which of those who wait this is.
    closer: u64,
}

impl LocalClose {
    pub(super) fn new(inner: Handle) -> Self {
        let mut closer = 0;
        if inner.check_process().is_ok() {
            closer = inner.state.borrow_mut().close();
            inner.revoke_credit();
        }
        Self { inner, closer }
    }
}

impl Future for LocalClose {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // A forked child has nothing to wait for.
        if self.inner.check_process().is_err() {
            return Poll::Ready(());
        }
        self.inner.machine.check();
        let waker = cx.waker().clone();
        if self.inner.check_process().is_err() {
            // The clone has forked: it may belong to a runtime of the parent's.
            mem::forget(waker);
            return Poll::Ready(());
        }
        let unused = self.inner.state.borrow_mut().await_end(self.closer, waker);
        catch_and_forget(|| drop(unused));
        if self.inner.is_drained() || self.inner.is_left_alone() {
            self.inner.turn();
        }
        let calls = self.inner.threads.poll_calls(self.closer, cx);
        // A clone may have forked.
        if self.inner.check_process().is_err() {
            return Poll::Ready(());
        }
        if cfg!(feature = "sim") && !(self.inner.state.borrow().destroyed && calls.is_ready()) {
            self.inner.check_waits(cx.waker());
        }
        if self.inner.state.borrow().destroyed { calls } else { Poll::Pending }
    }
}

impl Drop for LocalClose {
    fn drop(&mut self) {
        if self.inner.check_process().is_ok() {
            let unused = self.inner.state.borrow_mut().forget_closer(self.closer);
            catch_and_forget(|| drop(unused));
            self.inner.threads.forget_closer(self.closer);
        }
    }
}

impl fmt::Debug for LocalClose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalClose").finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.get_mut().take() {
            if self.given_up.get() && self.outstanding() > 0 {
                // To destroy the context would wait for operations that hang.
                mem::forget(queue);
            } else {
                // Those of futures that are gone. The others keep the driver.
                for Queued(entry) in queue.into_operations() {
                    if let Some(entry) = entry {
                        self.discard(entry);
                    }
                }
            }
        }
        let closers = self.state.get_mut().take_closers();
        let vacant = self.entries.free();
        for waker in vacant.chain(closers) {
            drop_caught(Some(waker));
        }
        // The task ends.
        if let Some(host) = self.host.get_mut().take() {
            catch_and_forget(|| host.wake());
        }
    }
}
