//! [`Reactor`], which a runtime provides for a driver.

use super::users_code::catch_and_forget;
use alloc::boxed::Box;
use core::mem;
use core::task::{Context, Poll, Waker};
use std::io;

/// Tells a driver when its eventfd is readable.
///
/// It takes a few lines for each runtime. The feature `tokio` brings them for tokio, as
/// `linux_aio::tokio`. `examples/smol_read.rs` shows them for `async-io`.
///
/// A forked child neither calls nor drops the reactors of its parent.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Driver, EventFd, Reactor};
/// use std::{io, sync::Arc, task::{Context, Poll}};
///
/// /// The reactor of smol, which is that of the crate `async-io`.
/// struct Smol(smol::Async<Arc<EventFd>>);
///
/// impl Reactor for Smol {
///     fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
///         self.0.poll_readable(cx)
///     }
/// }
///
/// let driver = Driver::new(32, |eventfd| Ok(Smol(smol::Async::new_nonblocking(eventfd)?)))?;
/// assert_eq!(driver.outstanding(), 0);
/// # Ok(()) }
/// ```
pub trait Reactor: Send + Sync + 'static {
    /// Returns `Ready` if the eventfd may have become readable since the last `Ready`. The driver
    /// then empties it.
    ///
    /// If it returns `Pending`, the reactor must call the waker of `cx` once the eventfd is
    /// readable, and when the reactor shuts down. The driver always passes the same waker, from one
    /// thread at a time. The waker does the driver's work. Call it from the runtime's reactor,
    /// without a lock that polling takes.
    ///
    /// # Errors
    /// An error says that the reactor is gone. It is not polled again, and the driver's helper
    /// thread watches the eventfd instead. A panic counts as such an error.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Returns whether [`poll_readable`](Self::poll_readable) is ready again after each signal of
    /// the eventfd, even if the eventfd was not emptied before it. The driver then saves the system
    /// call that empties it. A panic counts as `false`.
    fn is_edge_triggered(&self) -> bool {
        false
    }

    /// Has `waker` called when the tasks that are ready have run, so that the driver submits
    /// together what they start. If no task is ready, `waker` is called all the same.
    ///
    /// Returns `false` if the runtime knows no such moment. The driver then signals its eventfd
    /// instead, which takes more system calls. A panic counts as `false`.
    ///
    /// The driver passes the waker of [`poll_readable`](Self::poll_readable), from any thread.
    fn wake_later(&self, waker: &Waker) -> bool {
        let _ = waker;
        false
    }
}

/// A reactor whose panics are caught: those of its methods, of the drop of the errors that they
/// return, and of its own drop.
pub(super) struct Contained(Box<dyn Reactor>);

impl Contained {
    pub(super) fn new(reactor: impl Reactor) -> Self {
        Self(Box::new(reactor))
    }

    /// Polls the reactor. Returns `Err` if it has failed or panicked.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        // An `io::Error` may own an error of the user's, so its drop runs users' code.
        let poll = || self.0.poll_readable(cx).map_err(drop);
        catch_and_forget(poll).unwrap_or(Poll::Ready(Err(())))
    }

    pub(super) fn is_edge_triggered(&self) -> bool {
        catch_and_forget(|| self.0.is_edge_triggered()).unwrap_or(false)
    }

    pub(super) fn wake_later(&self, waker: &Waker) -> bool {
        catch_and_forget(|| self.0.wake_later(waker)).unwrap_or(false)
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let reactor = mem::replace(&mut self.0, Box::new(NoReactor));
        catch_and_forget(|| drop(reactor));
    }
}

/// The reactor of [`Driver::on_thread`](super::Driver::on_thread): it has failed from the start.
pub(super) struct NoReactor;

impl Reactor for NoReactor {
    fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}
