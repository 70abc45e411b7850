//! [`Driver`], disk I/O as futures on any runtime.
//!
//! # Who runs the event loop
//!
//! One *step* of the [`EventLoop`] reaps completions, wakes their futures, cancels, and submits
//! what is queued. No task is responsible for it. The kernel signals an eventfd with each
//! completion, the runtime's reactor then calls the [`DriverWaker`], and that runs steps until
//! nothing is left. So a future that is dropped, leaked or never polled again does not delay the
//! others. Three more callers run steps:
//!
//! - a future on its first poll, if no other operation is outstanding or the batch is full: see
//!   `Batching::decide`;
//! - the reactor, once the runtime has run the tasks that were ready ([`Reactor::wake_later`]);
//! - the helper thread, while the kernel has no resources ([`stall`]), while operations are in the
//!   kernel that do not name the eventfd ([`announced`]), when a future gives up at its deadline,
//!   and for good once the reactor has failed because its runtime is gone.
//!
//! Deadlines have a thread of their own ([`alarm_clock`]).
//!
//! # What is locked when
//!
//! [`RunLock`] admits one thread to the event loop. A second caller makes that thread run one more
//! step, and returns. The thread in the event loop makes system calls, and calls
//! [`Operation::prepare`] and wakers, while it holds no other lock. The lock of the [`State`] is
//! held for moments: under it nothing waits, and no code of a user is called, since that might call
//! the driver again. What such a moment leaves to do is collected in [`Deferred`] and done after
//! it.

pub(crate) mod alarm_clock;
pub(crate) mod announced;
pub(crate) mod batching;
mod blocking;
pub(crate) mod close_within;
pub(crate) mod deadline;
pub(crate) mod default_deadline;
mod deferred;
pub(crate) mod entry;
mod event_loop;
#[cfg(feature = "metrics")]
mod export;
mod future;
mod helper;
pub(crate) mod meter;
mod metrics;
#[cfg(all(test, loom))]
mod model;
pub(crate) mod overdue;
pub(crate) mod reactor;
pub(crate) mod rounds;
mod run_lock;
mod shared;
pub(crate) mod stall;
mod state;
pub(crate) mod stats;
pub(crate) mod thread;
pub(crate) mod timed_out;
mod tracing;
pub(crate) mod users_code;

pub(crate) use blocking::{BlockingThreads, Lane};
pub use close_within::{CloseWithin, Unfinished};
pub use deadline::WithDeadline;
pub use default_deadline::DriverWithDeadline;
pub(crate) use future::InBox;
pub use future::{Close, OpFuture};
pub use metrics::{Histogram, Metrics, OperationMetrics};
pub use overdue::Overdue;
pub use reactor::Reactor;
pub use stats::DriverStats;
pub use timed_out::TimedOut;

use crate::clock;
use crate::machine::Machine;
use crate::raw::ForkGuard;
use crate::{EventFd, IoContext, Operation, Queue};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use announced::Announcing;
use core::fmt;
use core::sync::atomic::AtomicBool;
use core::time::Duration;
use entry::Held;
use event_loop::EventLoop;
use helper::Helper;
use reactor::{Contained, NoReactor};
use run_lock::{ReactorPolling, RunLock};
use shared::{DriverWaker, Handle, Shared};
use state::State;
use std::io;
use std::sync::Mutex;

/// Performs operations as futures, for many tasks at once.
///
/// A clone is another handle of the same driver. [`perform`](Self::perform) makes a future of an
/// operation, on any thread. An operation that finds no free slot waits for one, first come, first
/// served. Operations of different tasks are submitted together.
///
/// An operation is one of [`op`](crate::op), or the user's own. Its buffer is anything that holds
/// bytes and is `Send`: `Vec<u8>`, [`AlignedBuf`](crate::AlignedBuf) or `bytes::BytesMut` to read;
/// these and `bytes::Bytes` to write. A POLL is a future like any other operation.
///
/// # Batches
///
/// On its first poll a future submits its operation at once if no other is outstanding. Otherwise
/// the operation waits until the tasks that are ready have run, so that one call submits what they
/// all start. A task that computes for long delays what other tasks have started before it.
///
/// A full batch is submitted at once. A batch is full when it has as many operations as the kernel
/// has, but at least 4 and at most 32. So a disk that has just completed everything gets the first
/// operations early, and works while tasks start the others. If operations complete inside of
/// `io_submit`, an early submit gains nothing, and a batch is full at 32.
///
/// While reads and writes complete inside of `io_submit`, the driver does not have the kernel
/// signal its eventfd for them, which saves 0.2 µs for each. The first operations after that which
/// do not complete inside are found by the helper thread. It looks after 50 µs, and then at pauses
/// that double up to 1 ms.
///
/// A [`Reactor`] that does not know when tasks have run makes the driver signal its eventfd
/// instead.
///
/// # Blocking
///
/// `io_submit` is asynchronous for files that are open with `O_DIRECT`. For other files it does the
/// I/O itself, on the thread that submits: a task's or the reactor's. Use [`File`](crate::File) for
/// such files, which keeps this I/O away from `io_submit`, or a driver
/// [`on_thread`](Self::on_thread).
///
/// **A read of an empty pipe, socket or terminal without `O_NONBLOCK` blocks indefinitely**, and
/// with it the whole driver. POLL first.
///
/// The driver waits for the code that it calls: wakers, and the `prepare` and the drop of
/// operations. If such code itself waits for an operation of the driver, that may never end.
///
/// # Deadlines
///
/// [`OpFuture::timeout`] and [`OpFuture::deadline`] end a future even if the disk hangs.
/// [`with_deadline`](Self::with_deadline) gives a handle whose operations and files all have one.
/// [`overdue`](Self::overdue) lists the operations that the kernel has had for long, and
/// [`close_within`](Self::close_within) ends the driver in spite of them. The first deadline starts
/// a second thread, which sleeps until the next one.
///
/// # Spans
///
/// With the feature `tracing` each operation has a span of the crate `tracing`, at the level
/// `TRACE` and with the target `linux_aio`. It is a child of the span in which
/// [`perform`](Self::perform) was called, and is entered while the future is polled. It closes when
/// the operation has ended and the future is gone. Without a subscriber that wants it, it costs a
/// comparison. Its fields:
///
/// | field | value |
/// |---|---|
/// | `kind` | `pread`, `pwrite`, `preadv`, `pwritev`, `fsync`, `fdsync` or `poll` |
/// | `fd` | the descriptor |
/// | `offset` | of a read or write: where it begins, in bytes |
/// | `length` | of a read or write: the bytes, or the number of buffers of a vectored one |
/// | `result` | the count that the future gives, if the operation has succeeded |
/// | `error` | the errno, if it has failed |
/// | `left` | `deadline` or `dropped`, if the future has left the operation to the driver |
///
/// # Without resources
///
/// The context has room for as many operations as there are slots. So `EAGAIN` from `io_submit`
/// means that the kernel has no memory for an operation, or that a filter refuses it. The operation
/// stays queued. The driver submits it again after 1 ms, then after pauses of up to 100 ms, and
/// whenever an operation starts or ends. If the kernel takes none for 30 seconds, every queued
/// operation ends with [`Errno::EXHAUSTED`](crate::Errno::EXHAUSTED). Use
/// [`retry_submits_for`](Self::retry_submits_for) to set another time: none, or no end.
///
/// # Dropping
///
/// Neither handles nor futures block when they are dropped. A dropped future leaves its operation
/// and its buffer to the driver, which keeps both until the kernel is finished. Once the last
/// handle and the last future are gone, a helper thread waits for what is in flight. Use
/// [`close`](Self::close) to know when that is done.
///
/// # Without events
///
/// A filter that was installed after the driver was made may refuse `io_getevents`. If the ring
/// cannot be read either, nothing tells how operations end. The driver then takes no more
/// operations: their futures, and those of operations that wait for a slot, give the `errno` of the
/// refusal. The helper thread destroys the context. That waits for what is in flight, and proves
/// its buffers free. Then these futures, too, give that `errno` and the operation, which may have
/// been done. If `io_destroy` is refused as well, there is no proof, and they never complete.
///
/// # Forks
///
/// In a forked child the driver belongs to the parent. Every function returns at once there, even
/// if a thread of the parent held the driver's lock at the fork:
///
/// - The future of a new operation gives [`Errno::FORKED`](crate::Errno::FORKED) and the operation.
/// - A future that the parent has polled **panics** when the child polls it. It has no value to
///   give: the kernel may still be using the buffer, and the child has no thread that would wake
///   the task.
/// - [`outstanding`](Self::outstanding) returns 0, and [`stats`](Self::stats) returns zeros.
///   [`overdue`](Self::overdue), [`metrics`](Self::metrics) and
///   [`reactor_error`](Self::reactor_error) return nothing.
/// - [`close`](Self::close) and [`close_within`](Self::close_within) resolve at once, and the
///   parent's driver stays open.
/// - Dropping handles and futures drops nothing that the driver has. Operations, their buffers,
///   wakers and the [`Reactor`] are leaked, since they may belong to a thread or a runtime of the
///   parent. Their descriptors stay open in the child until it ends or executes another program.
///
/// Make another driver in the child, and another runtime for it.
///
/// # Panics of users' code
///
/// A panic in [`Operation::prepare`] is the outcome of that operation: its future panics. A panic
/// in the clone of a waker leaves `poll`, and the future is as it was before. A panic of the
/// [`Reactor`] counts as its failure. All other panics are caught after the panic hook has reported
/// them. They are panics in calling or dropping a waker, an operation whose future is gone, the
/// reactor, or the payload of a panic.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Driver, op::Read};
/// use std::{fs::File, sync::Arc};
///
/// let driver = Driver::on_thread(32)?;
/// let zero = Arc::new(File::open("/dev/zero")?);
/// smol::block_on(async {
///     // Tasks share the driver, which submits together what they start.
///     let reads: Vec<_> = (0..8)
///         .map(|i| smol::spawn(driver.perform(Read::new(zero.clone(), vec![1; 64], i * 64))))
///         .collect();
///     for read in reads {
///         assert_eq!(read.await.0, Ok(64));
///     }
/// });
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Driver {
    shared: Handle,
}

impl Driver {
    /// Makes a driver for up to `capacity` operations in flight. `reactor` watches its eventfd.
    ///
    /// `reactor` is called once, with the eventfd, to register it with the runtime. The driver
    /// starts one thread, which sleeps until the driver ends, the reactor fails, or the kernel has
    /// no resources.
    ///
    /// # Errors
    /// Those of [`IoContext::new`] and [`EventFd::new`], of `reactor`, and of starting a thread;
    /// `ENOSYS` or `EPERM` where events can be taken neither off the ring nor by `io_getevents`.
    pub fn new<R: Reactor>(
        capacity: u32,
        reactor: impl FnOnce(Arc<EventFd>) -> io::Result<R>,
    ) -> io::Result<Self> {
        let eventfd = Arc::new(EventFd::new()?);
        let reactor = Contained::new(reactor(Arc::clone(&eventfd))?);
        Self::with_reactor(capacity, eventfd, reactor, true)
    }

    /// Makes a driver that needs no reactor: a thread of its own makes every system call.
    ///
    /// An `io_submit` that blocks delays that thread and the driver's other operations, but no
    /// task.
    ///
    /// # Errors
    /// Those of [`IoContext::new`] and [`EventFd::new`], and of starting a thread; `ENOSYS` or
    /// `EPERM` where events can be taken neither off the ring nor by `io_getevents`.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Driver, op::Read};
    ///
    /// let driver = Driver::on_thread(32)?;
    /// let zero = std::fs::File::open("/dev/zero")?;
    /// let (result, read) = pollster::block_on(driver.perform(Read::new(zero, vec![1; 64], 0)));
    /// assert_eq!((result?, read.buf), (64, vec![0; 64]));
    /// # Ok(()) }
    /// ```
    pub fn on_thread(capacity: u32) -> io::Result<Self> {
        let (eventfd, reactor) = (Arc::new(EventFd::new()?), Contained::new(NoReactor));
        Self::with_reactor(capacity, eventfd, reactor, false)
    }

    fn with_reactor(
        capacity: u32,
        eventfd: Arc<EventFd>,
        reactor: Contained,
        tasks_run: bool,
    ) -> io::Result<Self> {
        let helper = Helper::start()?;
        let mut context = IoContext::new(capacity)?;
        if !context.uses_ring() {
            // Better no driver than one that fails at once. Nobody reads the ring beside this call.
            context.split().1.reap(&mut [])?;
        }
        let queue = Queue::over(context, capacity);
        let process = ForkGuard::of_this_process();
        let shared = Arc::new_cyclic(|weak: &Weak<Shared>| Shared {
            state: Mutex::new(State::new(queue.capacity())),
            event_loop: Mutex::new(EventLoop::new(
                queue,
                Arc::clone(&eventfd),
                // Nothing tells a simulation when to look.
                Announcing::new(helper.simulated),
            )),
            run_lock: RunLock::new(),
            tasks_run,
            reactor_polling: ReactorPolling::new(),
            reactor_failed: AtomicBool::new(false),
            empties: !reactor.is_edge_triggered(),
            reactor,
            waker: Arc::new(DriverWaker(weak.clone())).into(),
            eventfd,
            helper,
            blocking: BlockingThreads::new(process),
            process,
            machine: Machine::entered(),
        });
        // The reactor learns whom to wake.
        shared.run_event_loop();
        Ok(Self { shared: Handle(shared) })
    }

    /// Returns a future that performs `op`. It gives the result, and the operation with its buffer.
    ///
    /// The operation starts when the future is polled first. An eventfd that `op` names is replaced
    /// by the driver's.
    ///
    /// # Errors
    /// The result is the count, or the errno of the operation.
    /// [`Errno::EXHAUSTED`](crate::Errno::EXHAUSTED): the kernel had no resources for as long as
    /// the driver [retries](Self::retry_submits_for). `ECANCELED`: the driver was
    /// [closed](Self::close) before. [`Errno::FORKED`](crate::Errno::FORKED): the driver belongs to
    /// the parent process.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Driver, op::Read};
    /// use std::fs::File;
    ///
    /// let driver = Driver::on_thread(32)?;
    /// let zero = File::open("/dev/zero")?;
    /// let (result, read) = pollster::block_on(driver.perform(Read::new(zero, vec![1; 64], 0)));
    /// assert_eq!(result?, 64);
    /// assert_eq!(read.buf, [0; 64]);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "submit")]
    #[doc(alias = "io_submit")]
    #[inline(always)]
    pub fn perform<O: Operation + Send + 'static>(&self, op: O) -> OpFuture<O> {
        OpFuture::new(self, Held::new(op))
    }

    /// Sets for how long the driver retries where the kernel has no resources for the operations
    /// that are queued (`EAGAIN` from `io_submit`); 30 seconds unless this is called. It holds for
    /// all handles of the driver.
    ///
    /// The time is that in which the kernel takes none of them. Afterwards all that are queued end
    /// with [`Errno::EXHAUSTED`](crate::Errno::EXHAUSTED), as do those that wait for a slot unless
    /// the kernel takes them at the first attempt.
    ///
    /// - [`Duration::ZERO`]: does not retry. Use it where the program has a better answer, such as
    ///   another path to the data.
    /// - [`Duration::MAX`]: retries without end. Use it where the program can do nothing but wait.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::Driver;
    /// use std::time::Duration;
    ///
    /// let driver = Driver::on_thread(32)?;
    /// driver.retry_submits_for(Duration::MAX);
    /// # Ok(()) }
    /// ```
    pub fn retry_submits_for(&self, time: Duration) {
        if let Ok(mut state) = self.shared.lock() {
            state.retry_limit = time;
        }
    }

    /// Takes no more operations from now on: they give `ECANCELED`. The future resolves when those
    /// that were taken have completed and the context has been destroyed, by the helper thread.
    ///
    /// What nothing ends is waited for without end: drop the future of a POLL to cancel it. The
    /// future of `close` need not be polled; dropping it does not open the driver again.
    ///
    /// Calls of a [`File`](crate::File) that have begun on a thread are not waited for: await their
    /// futures. New ones give `ECANCELED`.
    ///
    /// In a forked child the future resolves at once, and the parent's driver stays open.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Driver, Errno, op::Read};
    ///
    /// let driver = Driver::on_thread(32)?;
    /// let handle = driver.clone();
    /// pollster::block_on(driver.close());
    /// // The other handle takes no more operations, and gives them back.
    /// let read = Read::new(std::fs::File::open("/dev/zero")?, vec![1; 64], 0);
    /// let (result, read) = pollster::block_on(handle.perform(read));
    /// assert_eq!((result, read.buf), (Err(Errno::ECANCELED), vec![1; 64]));
    /// # Ok(()) }
    /// ```
    pub fn close(self) -> Close {
        self.shared.blocking.take_no_calls();
        Close::new(self.shared)
    }

    /// Closes the driver as [`close`](Self::close) does, but waits for `time` at most.
    ///
    /// Use it where the program must end even if a disk hangs. The time begins with this call.
    ///
    /// # Errors
    /// [`Unfinished`] lists the operations that the kernel still has when the time is up. The
    /// driver leaks rather than waits: it keeps these operations and their buffers, and its helper
    /// thread destroys the context once the kernel has finished them, if that happens. Operations
    /// that wait for a slot end with `ECANCELED` then. Futures of operations in the kernel stay
    /// pending. If the thread of the timer cannot be started, the time is up at once.
    ///
    /// The kernel itself waits for the operations of a process that exits. A program cannot prevent
    /// that.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::{Driver, EventFd, PollEvents, op::Poll};
    /// use std::{pin::pin, task::{Context, Waker}, time::Duration};
    ///
    /// let driver = Driver::on_thread(8)?;
    /// let silent = EventFd::new()?;
    /// let mut poll = pin!(driver.perform(Poll::new(silent, PollEvents::IN)));
    /// assert!(poll.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    ///
    /// let close = driver.close_within(Duration::from_millis(50));
    /// let unfinished = pollster::block_on(close).unwrap_err();
    /// for operation in unfinished.operations() {
    ///     println!("still in the kernel: {operation}");
    /// }
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_destroy")]
    pub fn close_within(self, time: Duration) -> CloseWithin {
        self.shared.blocking.take_no_calls();
        CloseWithin::new(Close::new(self.shared), time)
    }

    /// Lists the operations that the kernel has had for `age` or longer, the oldest first.
    ///
    /// It lists abandoned operations as well: those whose future was dropped or has passed its
    /// deadline. An operation that the kernel has had no resources for counts from its first
    /// submit. One that waits for a slot is not listed. Returns nothing in a forked child.
    ///
    /// The call never waits for `io_submit`, so it also lists the operations of a call that blocks.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::Driver;
    /// use std::time::Duration;
    ///
    /// let driver = Driver::on_thread(8)?;
    /// for operation in driver.overdue(Duration::from_secs(10)) {
    ///     println!("late: {operation}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn overdue(&self, age: Duration) -> Vec<Overdue> {
        let now = clock::now();
        self.shared.lock().map(|state| state.overdue(age, now)).unwrap_or_default()
    }

    /// Returns the threads that make calls for files.
    pub(crate) fn blocking_threads(&self) -> &BlockingThreads {
        &self.shared.blocking
    }

    /// Returns the number of operations that the driver has: in the kernel, queued, and waiting for
    /// a slot. Returns 0 in a forked child.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Driver, PollEvents, op::Poll};
    /// use std::task::{Context, Waker};
    ///
    /// let driver = Driver::on_thread(32)?;
    /// let (reader, _writer) = std::os::unix::net::UnixStream::pair()?;
    /// let mut waiting = Box::pin(driver.perform(Poll::new(reader, PollEvents::IN)));
    /// assert_eq!(driver.outstanding(), 0); // It starts on its first poll.
    /// assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    /// assert_eq!(driver.outstanding(), 1);
    /// # Ok(()) }
    /// ```
    pub fn outstanding(&self) -> usize {
        self.shared.lock().map_or(0, |state| state.outstanding())
    }

    /// Begins to measure where operations spend their time, with counts of zero, or ends it.
    ///
    /// A driver does not measure unless this is called. While it does, it reads the clock some more
    /// times for each operation. It holds for all handles of the driver. Does nothing in a forked
    /// child.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::Driver;
    ///
    /// let driver = Driver::on_thread(8)?;
    /// driver.measure(true);
    /// // Perform operations, and then:
    /// println!("{}", driver.metrics());
    /// # Ok(()) }
    /// ```
    pub fn measure(&self, on: bool) {
        if let Ok(mut state) = self.shared.lock() {
            state.measure(on);
        }
    }

    /// Returns where operations have spent their time since the driver was told to
    /// [`measure`](Self::measure). The counts stay when measuring ends.
    ///
    /// Returns empty metrics if the driver has not measured, and in a forked child.
    pub fn metrics(&self) -> Metrics {
        self.shared.lock().map(|state| state.meter.snapshot()).unwrap_or_default()
    }

    /// Returns an error of the kind and text that the [`Reactor`] has failed with, if it has.
    ///
    /// The usual reason is that its runtime is gone. A panic of the reactor counts as an error.
    /// Since then the helper thread does the work of the reactor: operations still complete, and
    /// each costs a change of threads. To use another reactor, make another driver.
    ///
    /// Returns `None` for a driver [`on_thread`](Self::on_thread), which has no reactor, and in a
    /// forked child.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::{Driver, Reactor};
    /// use std::{io, task::{Context, Poll}};
    ///
    /// struct Gone;
    ///
    /// impl Reactor for Gone {
    ///     fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
    ///         Poll::Ready(Err(io::Error::other("the runtime is gone")))
    ///     }
    /// }
    ///
    /// let driver = Driver::new(8, |_eventfd| Ok(Gone))?;
    /// let error = driver.reactor_error().expect("it has failed");
    /// assert_eq!(error.to_string(), "the runtime is gone");
    /// # Ok(()) }
    /// ```
    pub fn reactor_error(&self) -> Option<io::Error> {
        // A driver on a thread has a reactor that is none.
        let asked = self.shared.tasks_run && self.shared.check_process().is_ok();
        asked.then(|| self.shared.reactor.error()).flatten()
    }

    /// Returns counts of what the driver has done so far. Returns zeros in a forked child.
    pub fn stats(&self) -> DriverStats {
        self.shared.lock().map(|state| state.stats).unwrap_or_default()
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("outstanding", &self.outstanding())
            .field("reactor_error", &self.reactor_error())
            .finish_non_exhaustive()
    }
}
