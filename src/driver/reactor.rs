//! [`Reactor`], which a runtime provides for a driver.

use super::users_code::catch_and_forget;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::mem;
use core::task::{Context, Poll, Waker};
use std::io;
use std::sync::OnceLock;

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
    /// [`Driver::reactor_error`](crate::Driver::reactor_error) returns it.
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

/// A reactor whose panics are caught: those of its methods, of its error, and of its own drop.
pub(super) struct Contained {
    reactor: Box<dyn Reactor>,
    /// The error that it has failed with.
    error: OnceLock<FailedReactor>,
}

/// Keeps what the error of a reactor says. The error itself is dropped at once. It is a user's
/// value, which may own a handle of the driver, and would keep the driver for ever.
pub(crate) struct FailedReactor {
    kind: io::ErrorKind,
    number: Option<i32>,
    text: Option<String>,
}

impl FailedReactor {
    /// Reads an error and drops it. Both are users' code.
    pub(crate) fn new(error: io::Error) -> Self {
        let (kind, number) = (error.kind(), error.raw_os_error());
        let text = catch_and_forget(|| error.to_string());
        catch_and_forget(|| drop(error));
        Self { kind, number, text }
    }

    /// Returns an error of the same kind, number and text.
    pub(crate) fn error(&self) -> io::Error {
        match (self.number, &self.text) {
            (Some(number), _) => io::Error::from_raw_os_error(number),
            (None, Some(text)) => io::Error::new(self.kind, text.as_str()),
            (None, None) => self.kind.into(),
        }
    }
}

impl Contained {
    pub(super) fn new(reactor: impl Reactor) -> Self {
        Self { reactor: Box::new(reactor), error: OnceLock::new() }
    }

    /// Polls the reactor. Returns `Err` if it has failed or panicked, and keeps the error.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        let error = match catch_and_forget(|| self.reactor.poll_readable(cx)) {
            Some(Poll::Pending) => return Poll::Pending,
            Some(Poll::Ready(Ok(()))) => return Poll::Ready(Ok(())),
            Some(Poll::Ready(Err(error))) => error,
            None => io::Error::other("the reactor panicked"),
        };
        // It is polled by one thread, and not again after this.
        let _ = self.error.set(FailedReactor::new(error));
        Poll::Ready(Err(()))
    }

    /// Returns the error that the reactor has failed with.
    pub(super) fn error(&self) -> Option<io::Error> {
        self.error.get().map(FailedReactor::error)
    }

    pub(super) fn is_edge_triggered(&self) -> bool {
        catch_and_forget(|| self.reactor.is_edge_triggered()).unwrap_or(false)
    }

    pub(super) fn wake_later(&self, waker: &Waker) -> bool {
        catch_and_forget(|| self.reactor.wake_later(waker)).unwrap_or(false)
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let reactor = mem::replace(&mut self.reactor, Box::new(NoReactor));
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
