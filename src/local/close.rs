//! [`LocalClose`], the end of a local driver.

use super::Handle;
use crate::driver::users_code::catch_and_forget;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

/// The end of a local driver as a future, from [`LocalDriver::close`](super::LocalDriver::close).
/// It is ready at once in a forked child.
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
        let waker = cx.waker().clone();
        let unused = self.inner.state.borrow_mut().await_end(self.closer, waker);
        catch_and_forget(|| drop(unused));
        if self.inner.is_drained() || self.inner.is_left_alone() {
            self.inner.turn();
        }
        let calls = self.inner.threads.poll_calls(cx);
        if self.inner.state.borrow().destroyed { calls } else { Poll::Pending }
    }
}

impl Drop for LocalClose {
    fn drop(&mut self) {
        if self.inner.check_process().is_ok() {
            let unused = self.inner.state.borrow_mut().forget_closer(self.closer);
            catch_and_forget(|| drop(unused));
        }
    }
}

impl fmt::Debug for LocalClose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalClose").finish_non_exhaustive()
    }
}
