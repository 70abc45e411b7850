//! [`Reactor`], what a driver asks of a runtime.

use super::deferred::catch_and_forget;
use alloc::boxed::Box;
use core::mem;
use core::task::{Context, Poll, Waker};
use std::io;

/// Tells a driver when its eventfd is readable. A few lines for each runtime: with the feature
/// `tokio`, `linux_aio::tokio` has them; `examples/smol_read.rs` shows them for
/// `async-io`.
///
/// A forked child neither calls nor drops the reactors of its parent.
pub trait Reactor: Send + Sync + 'static {
    /// Ready when the eventfd may have become readable since the last time this was ready; the driver
    /// empties it then. When pending, the waker of `cx` must be called once it is readable, and when
    /// the reactor shuts down.
    ///
    /// It is called with the same waker always, by one thread at a time. The waker does the driver's
    /// work and is best called from the runtime's reactor, without locks held that polling takes.
    ///
    /// # Errors
    /// The reactor has gone: it is not polled again, and the driver's helper thread watches the
    /// eventfd. A panic is taken for that, too.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether [`poll_readable`](Self::poll_readable) is ready again after each signal of the eventfd, and not only
    /// after one that finds it empty. The driver then does not empty it, which is a system call.
    /// A panic is taken for `false`.
    fn is_edge_triggered(&self) -> bool {
        false
    }

    /// Has `waker` called when the tasks that can run now have run, so that what they start is submitted
    /// together; if there are no more tasks to be run, then too. `false` if the runtime has no such moment:
    /// the driver makes its eventfd readable instead, which takes more system calls.
    ///
    /// It is called with the waker that [`poll_readable`](Self::poll_readable) is, from any thread. A panic is taken
    /// for `false`.
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

/// Leaves it to the helper thread from the start.
pub(super) struct NoReactor;

impl Reactor for NoReactor {
    fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}
