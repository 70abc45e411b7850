//! A [`Driver`] on tokio.
//!
//! A thin adapter: the eventfd of the driver is registered with the runtime by [`AsyncFd`], and a
//! task submits what other tasks have started, when they have run. Nothing else of tokio is used.
//!
//! A forked child can use neither the driver nor the runtime of its parent, as [`Driver`] says.
//! Make another runtime in the child, and another driver on it.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! use linux_aio::File;
//!
//! let driver = linux_aio::tokio::driver(32)?;
//! let file = File::open(&driver, "/etc/os-release").await?;
//! let (result, buf) = file.read_at(vec![0; 512], 0).await;
//! println!("{}", String::from_utf8_lossy(&buf[..result?]));
//! driver.close().await;
//! # Ok(()) }
//! ```
//!
//! # Waiting
//!
//! Await operations in tasks, or in the `block_on` of this runtime. In a task of a current-thread
//! runtime, the `block_on` of another crate keeps the runtime from watching the eventfd: an
//! operation that it waits for never ends. Use [`Driver::on_thread`] for code that has to wait so.
//!
//! # Versions of tokio
//!
//! It needs tokio 1.51.6 or later, except 1.52 and 1.53.0 to 1.53.2: they lack
//! `AsyncFd::register_with_interest`, which 1.51.6, a release with long-term support, and 1.53.3
//! have. Cargo has no way to say that, so a lock file with one of them does not build. `cargo
//! update -p tokio` mends it.

mod reactor;

use crate::EventFd;
use crate::{Driver, LocalDriver, Reactor};
use ::tokio::io::Interest;
use ::tokio::io::unix::AsyncFd;
use alloc::sync::Arc;
use core::task::{Context, Poll};
use reactor::TokioReactor;
use std::io;

/// A driver for up to `capacity` operations in flight, watched by the current tokio runtime.
///
/// # Errors
/// `EAGAIN` if `fs.aio-max-nr` is used up, `EINVAL` for no operation or more than a ring can hold,
/// `ENOMEM`, `EMFILE` or `ENFILE` without memory or a descriptor. `ENOSYS` or `EPERM` if a filter
/// refuses `io_setup`, or if events can be taken neither off the ring nor by `io_getevents`.
/// `EAGAIN` also if no thread can be started. The text names the cause.
///
/// # Panics
/// Outside of a tokio runtime, or in one without I/O enabled.
pub fn driver(capacity: u32) -> io::Result<Driver> {
    Driver::new(capacity, TokioReactor::new)
}

/// Makes a [`LocalDriver`] for up to `capacity` operations in flight, watched by the current tokio
/// runtime. Its work is done by a task of the current `LocalSet`.
///
/// If the runtime is gone, that task ends. [`LocalDriver::reactor_error`] returns the error then.
///
/// # Errors
/// `EAGAIN` if `fs.aio-max-nr` is used up, `EINVAL` for no operation or more than a ring can hold,
/// `ENOMEM`, `EMFILE` or `ENFILE` without memory or a descriptor. `ENOSYS` or `EPERM` if a filter
/// refuses `io_setup`, or if events can be taken neither off the ring nor by `io_getevents`.
/// The text names the cause.
///
/// # Panics
/// Outside of a `LocalSet`, or in a runtime without I/O enabled.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::op::Read;
/// use std::{fs::File, rc::Rc};
/// use tokio::task::LocalSet;
///
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
/// let total = LocalSet::new().block_on(&runtime, async {
///     let driver = linux_aio::tokio::local_driver(32)?;
///     let zero = Rc::new(File::open("/dev/zero")?);
///     let read = |i: u64| driver.perform(Read::new(Rc::clone(&zero), [1; 64], i * 64));
///     let reads: Vec<_> = (0..4).map(|i| tokio::task::spawn_local(read(i))).collect();
///     let mut total = 0;
///     for read in reads {
///         total += read.await?.0?;
///     }
///     driver.close().await;
///     Ok::<_, Box<dyn std::error::Error>>(total)
/// })?;
/// assert_eq!(total, 256);
/// # Ok(()) }
/// ```
pub fn local_driver(capacity: u32) -> io::Result<LocalDriver> {
    let driver = LocalDriver::new(capacity)?;
    // The task ends with the driver, or is dropped with the `LocalSet`.
    let _detached = ::tokio::task::spawn_local(driver.run_detached(watch)?);
    Ok(driver)
}

/// Registers an eventfd with the current runtime.
fn watch(eventfd: Arc<EventFd>) -> io::Result<Watched> {
    // SAFETY: An `EventFd` has one descriptor, open until it is dropped, and the `AsyncFd` holds it
    // by an `Arc`.
    let readable = unsafe { AsyncFd::register_with_interest(eventfd, Interest::READABLE) };
    Ok(Watched(readable?))
}

struct Watched(AsyncFd<Arc<EventFd>>);

impl Reactor for Watched {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(cx).map(|ready| ready.map(|mut ready| ready.clear_ready()))
    }

    /// Returns `true`, as for all that tokio registers with epoll.
    fn is_edge_triggered(&self) -> bool {
        true
    }
}
