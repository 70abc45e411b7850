//! [`LocalDriver`], disk I/O as futures for one thread.
//!
//! One *turn* reaps completions, wakes their futures, cancels, and submits what is queued. Turns
//! are run by `block_on` before it sleeps, by the task of [`LocalRun`], and by a future that starts
//! an operation which is to be submitted at once. A turn inside of a turn makes the outer one
//! run one more step.
//!
//! # The way of an operation
//!
//! `perform` moves the operation into a vacant [`Entry`](entry::Entry), where it stays until its
//! future takes it. The first poll prepares it there, gives the entry's address to a slot of the
//! queue, and returns. The turn that finds the event writes the outcome and the phase into the
//! entry, and calls its waker. The next poll reads the operation out.
//!
//! What is rare goes another way, behind one test each:
//!
//! - The *credit* is the number of operations that may be queued before something is to be looked
//!   at: a slot, the batch, the end of the driver, measuring. Who finds none goes the slow way.
//! - The stage of an entry, its phase and what is noted of the operation, is one word. If it is not
//!   the common one, the operation ends on the slow way. Its future may be gone; it may name an
//!   eventfd, be a POLL or a sync, go on, or be measured.
//!
//! # What is borrowed when
//!
//! The [`State`] is borrowed for moments in which no code of a user runs. The [`EventLoop`] is
//! borrowed by a turn alone. The queue is used by `&`, also while users' code runs, and ends where
//! nobody uses it ([`QueueCell`]).

mod abandon;
pub(crate) mod alarm;
mod block_on;
mod close;
mod complete;
mod deadline;
mod entries;
mod entry;
mod future;
mod meter;
mod overdue;
mod queued;
mod run;
mod stage;
mod state;
mod turn;

pub use close::LocalClose;
pub use future::LocalFuture;
pub use run::LocalRun;

use crate::clock;
use crate::driver::BlockingThreads;
use crate::driver::reactor::FailedReactor;
use crate::driver::stall::RETRY_LIMIT;
use crate::driver::stats::SubmitCounts;
use crate::driver::thread::ThreadError;
use crate::driver::users_code::catch_and_forget;
use crate::fd::OwnedFd;
use crate::op::Fsync;
use crate::raw::ForkGuard;
use crate::{
    CloseWithin, DriverStats, Errno, EventFd, Fd, IoContext, Metrics, Operation, Overdue, Prepared,
    Queue, Reactor, Stats,
};
use alarm::{LocalAlarm, LocalAlarms};
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block_on::Bell;
use core::cell::{Cell, OnceCell, RefCell};
use core::fmt;
use core::future::Future;
use core::mem;
use core::ops::Deref;
use core::task::Waker;
use core::time::Duration;
use entries::{Entries, EntryRef};
use meter::LocalMeter;
use queued::{Announcing, QueueCell, Queued};
use state::State;
use static_assertions::assert_not_impl_any;
use std::io;
use std::thread;
use std::time::Instant;
use turn::{BellPoll, EventLoop};

assert_not_impl_any!(LocalDriver: Send, Sync);
assert_not_impl_any!(LocalFuture<Fsync<OwnedFd>>: Send, Sync);
assert_not_impl_any!(LocalRun<()>: Send, Sync);
assert_not_impl_any!(LocalClose: Send, Sync);

/// The number of steps of a turn at most. It leaves the rest to the next.
const STEPS: u32 = 8;

/// Performs operations as futures of one thread, with no lock and no atomic operation on the way.
///
/// A clone is another handle of the same driver. [`perform`](Self::perform) makes a future of an
/// operation. An operation that finds no free slot waits for one, first come, first served.
/// Operations need not be `Send`. Handles and futures are not: a program with several threads has a
/// driver on each.
///
/// # Who does the work
///
/// - [`block_on`](Self::block_on) runs one future, and with it whatever that future joins. It
///   sleeps in the kernel until an operation ends. Such a program needs no runtime.
/// - [`run_on`](Self::run_on) gives a future to spawn on an executor of this thread: tokio's
///   `LocalSet` (`linux_aio::tokio::local_driver` does it all), smol's `LocalExecutor`.
///
/// Without one of the two, work is done when a future is polled, and nobody wakes a future that is
/// pending.
///
/// # Batches
///
/// Operations are submitted as [`Driver`](crate::Driver#batches) does it: at once if no other is
/// outstanding or the batch is full, and otherwise together, when the tasks that are ready have
/// run.
///
/// # Without an eventfd
///
/// To signal an eventfd for each operation costs the kernel about 0.2 µs. In `block_on` operations
/// name none. On an executor they name one until several submits in a row have left nothing to
/// wait for: page cache, `/dev/zero`, a disk in memory. From then on reads and writes name none. If
/// some of them then do not end at once, the driver looks at them after 1 ms, and later after up to
/// 16 ms. The next ones name the eventfd again. A POLL or a sync always names it.
///
/// # Blocking
///
/// `io_submit` does the I/O itself for files that are open without `O_DIRECT`. The thread waits
/// for it. **A read of an empty pipe, socket or terminal without `O_NONBLOCK` blocks
/// indefinitely.** POLL first. A [`File`](crate::File) keeps the I/O of files without `O_DIRECT`
/// away from this thread: threads of the driver do it, which start when they are first needed. They
/// take only buffers that are `Send`.
///
/// # Dropping
///
/// A dropped future leaves its operation and its buffer to the driver, which keeps both until the
/// kernel is finished. A POLL is cancelled. **Dropping the last handle, future or both waits** for
/// what is in flight: about 30 ms, or as long as the slowest operation. The driver has no thread
/// that could do it, and operations that are not `Send` could not go there. Use
/// [`close`](Self::close) to be told when all has ended. Once [`close_within`](Self::close_within)
/// has given up, the drop waits for nothing, and leaks what the kernel has. The drop does not wait
/// for calls that a thread makes for a [`File`](crate::File).
///
/// # Without resources
///
/// An operation that the kernel has no memory for stays queued, and is submitted again after 1 ms,
/// then after pauses of up to 100 ms. If the kernel takes none for 30 seconds, every queued
/// operation ends with [`Errno::EXHAUSTED`](crate::Errno::EXHAUSTED). Use
/// [`retry_submits_for`](Self::retry_submits_for) to set another time: none, or no end.
///
/// # Deadlines
///
/// [`LocalFuture::timeout`] and [`LocalFuture::deadline`] end a future even if the disk hangs.
/// [`with_deadline`](Self::with_deadline) gives a handle whose operations and files all have one.
/// [`overdue`](Self::overdue) lists the operations that the kernel has had for long, and
/// [`close_within`](Self::close_within) ends the driver in spite of them. `block_on` ends its sleep
/// at the next deadline. Outside of it, the first deadline starts a thread, which sleeps until the
/// next one. A deadline cannot end an `io_submit` that blocks: the thread that would see it is in
/// the call.
///
/// If events can be taken no longer, as under a filter that was installed since, the driver
/// destroys its context, which waits for what is in flight. All futures then give the reason. If
/// `io_destroy` is refused as well, those in flight never complete.
///
/// # Forks
///
/// In a forked child the driver belongs to the parent. Every function returns at once:
///
/// - The future of a new operation gives [`Errno::FORKED`](crate::Errno::FORKED) and the operation.
/// - A future that the parent has polled **panics** when the child polls it.
/// - [`block_on`](Self::block_on) polls its future, and parks the thread while it is pending.
/// - [`run_on`](Self::run_on) and the future that it gave fail with `FORKED`.
/// - [`outstanding`](Self::outstanding) returns 0, [`stats`](Self::stats) returns zeros, and
///   [`overdue`](Self::overdue), [`metrics`](Self::metrics) and
///   [`reactor_error`](Self::reactor_error) return nothing.
/// - [`close`](Self::close) and [`close_within`](Self::close_within) resolve at once, and the
///   parent's driver stays open.
/// - Dropping handles and futures drops nothing that the driver has.
///
/// # Wakers
///
/// The driver keeps the waker of a future that has ended until another operation needs the place,
/// or until it is dropped itself. So the next operation of a task need not clone it.
///
/// # Panics of users' code
///
/// A panic in [`Operation::prepare`] is the outcome of that operation: its future panics. A panic
/// in the clone of a waker leaves `poll`, and the future is as it was before. Panics in calling or
/// dropping a waker, and in dropping an operation whose future is gone, are caught after the panic
/// hook has reported them.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{LocalDriver, op::Read};
/// use std::{fs::File, rc::Rc};
///
/// let driver = LocalDriver::new(32)?;
/// let file = Rc::new(File::open("/dev/zero")?);
/// let (result, read) = driver.block_on(driver.perform(Read::new(file, vec![1; 64], 0)));
/// assert_eq!((result?, read.buf), (64, vec![0; 64]));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LocalDriver {
    inner: Handle,
}

impl LocalDriver {
    /// Makes a driver for up to `capacity` operations in flight.
    ///
    /// # Errors
    /// Those of [`IoContext::new`] for one operation more, and of [`EventFd::new`]; `ENOSYS` or
    /// `EPERM` where events can be taken neither off the ring nor by `io_getevents`.
    #[doc(alias = "io_setup")]
    pub fn new(capacity: u32) -> io::Result<Self> {
        let process = ForkGuard::of_this_process();
        // One more, for the POLL by which other threads end a sleep; 0 stays an error.
        let slots = if capacity == 0 { 0 } else { capacity.saturating_add(1) };
        let mut context = IoContext::new(slots)?;
        if !context.uses_ring() {
            // Better no driver than one that fails at once. Nobody reads the ring beside this call.
            context.split().1.reap(&mut [])?;
        }
        let queue = Queue::over(context, slots);
        let capacity = queue.capacity() - 1;
        let bell = Arc::new(Bell::new(process)?);
        let inner = Inner {
            process,
            granted: Cell::new(0),
            credit: Cell::new(0),
            batch: Cell::new(0),
            completed: Cell::new(0),
            entries: Entries::default(),
            announcing: Announcing::default(),
            rung: Cell::new(false),
            queue: QueueCell::new(queue),
            capacity,
            state: RefCell::default(),
            event_loop: RefCell::new(EventLoop::new()),
            counts: RefCell::default(),
            last_stats: Cell::default(),
            turning: Cell::new(false),
            again: Cell::new(false),
            blocking: Cell::new(false),
            hosted: Cell::new(false),
            yields: Cell::new(false),
            host: RefCell::new(None),
            watched: OnceCell::new(),
            reactor_error: OnceCell::new(),
            alarms: LocalAlarms::default(),
            retry_limit: Cell::new(RETRY_LIMIT),
            given_up: Cell::new(false),
            measures: Cell::new(false),
            meter: LocalMeter::default(),
            bell_poll: Cell::new(BellPoll::Idle),
            bell_waker: Waker::from(Arc::clone(&bell)),
            bell,
            threads: BlockingThreads::new(process),
        };
        Ok(Self { inner: Handle(Rc::new(inner)) })
    }

    /// Returns a future that performs `op`. It gives the result, and the operation with its buffer.
    ///
    /// The operation starts when the future is polled first. An eventfd that `op` names is replaced
    /// by the driver's on an executor, and kept in [`block_on`](Self::block_on).
    ///
    /// # Errors
    /// The result is the count, or the errno of the operation. [`Errno::EXHAUSTED`]: the kernel had
    /// no resources for as long as the driver [retries](Self::retry_submits_for). `ECANCELED`: the
    /// driver was [closed](Self::close) before. [`Errno::FORKED`]: the driver belongs to the parent
    /// process.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{LocalDriver, op::Read};
    /// use std::fs::File;
    ///
    /// let driver = LocalDriver::new(8)?;
    /// let read = driver.perform(Read::new(File::open("/dev/zero")?, [1; 8], 0));
    /// let (result, read) = driver.block_on(read);
    /// assert_eq!((result?, read.buf), (8, [0; 8]));
    /// # Ok(()) }
    /// ```
    #[doc(alias = "submit")]
    #[doc(alias = "io_submit")]
    #[inline]
    pub fn perform<O: Operation + 'static>(&self, op: O) -> LocalFuture<O> {
        LocalFuture::new(&self.inner, op)
    }

    /// Does the same for an operation that is in a box.
    pub(crate) fn perform_boxed<O: Operation + 'static>(&self, op: Box<O>) -> LocalFuture<O> {
        LocalFuture::of_boxed(&self.inner, op)
    }

    /// Polls `future` until it is ready, and does the driver's work meanwhile. Sleeps in
    /// `io_getevents` while nothing is to be done.
    ///
    /// Wakers of the future may be called on any thread, and end the sleep. Operations may be
    /// outstanding when it returns; the next call goes on with them.
    ///
    /// # Panics
    /// Inside of another `block_on` of the same driver, and in code that the driver calls: a waker,
    /// the drop or the [`prepare`](Operation::prepare) of an operation.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{LocalDriver, op::Read};
    /// use std::{fs::File, sync::mpsc};
    ///
    /// let driver = LocalDriver::new(8)?;
    /// let both = async {
    ///     let file = File::open("/dev/zero")?;
    ///     let (first, read) = driver.perform(Read::new(file, vec![1; 512], 0)).await;
    ///     let (second, _) = driver.perform(read).await;
    ///     std::io::Result::Ok(first? + second?)
    /// };
    /// assert_eq!(driver.block_on(both)?, 1024);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_getevents")]
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.inner.block_on(future)
    }

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
    /// use linux_aio::LocalDriver;
    /// use std::time::Duration;
    ///
    /// let driver = LocalDriver::new(32)?;
    /// driver.retry_submits_for(Duration::MAX);
    /// # Ok(()) }
    /// ```
    pub fn retry_submits_for(&self, time: Duration) {
        self.inner.retry_limit.set(time);
    }

    /// Lists the operations that the kernel has had for `age` or longer, the oldest first.
    ///
    /// It lists abandoned operations as well: those whose future was dropped or has passed its
    /// deadline. An operation that the kernel has had no resources for counts from its first
    /// submit. One that waits for a slot is not listed. Returns nothing in a forked child, and in
    /// code that the driver calls while it works: wakers, and the
    /// [`prepare`](Operation::prepare) and the drop of operations.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::LocalDriver;
    /// use std::time::Duration;
    ///
    /// let driver = LocalDriver::new(8)?;
    /// for operation in driver.overdue(Duration::from_secs(10)) {
    ///     println!("late: {operation}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn overdue(&self, age: Duration) -> Vec<Overdue> {
        self.inner.overdue(age)
    }

    /// Begins to measure where operations spend their time, with counts of zero, or ends it.
    ///
    /// A driver does not measure unless this is called. While it does, it reads the clock some more
    /// times for each operation. It holds for all handles of the driver, and for operations whose
    /// futures are polled first after this call. Does nothing in a forked child.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::LocalDriver;
    ///
    /// let driver = LocalDriver::new(8)?;
    /// driver.measure(true);
    /// // Perform operations, and then:
    /// println!("{}", driver.metrics());
    /// # Ok(()) }
    /// ```
    pub fn measure(&self, on: bool) {
        if self.inner.check_process().is_ok() {
            self.inner.measures.set(on);
            self.inner.meter.turn(on);
            self.inner.revoke_credit();
        }
    }

    /// Returns where operations have spent their time since the driver was told to
    /// [`measure`](Self::measure). The counts stay when measuring ends.
    ///
    /// Returns empty metrics if the driver has not measured, and in a forked child.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{LocalDriver, Opcode, op::Read};
    /// use std::fs::File;
    ///
    /// let driver = LocalDriver::new(8)?;
    /// driver.measure(true);
    /// let zero = File::open("/dev/zero")?;
    /// driver.block_on(driver.perform(Read::new(zero, vec![1; 64], 0))).0?;
    /// let metrics = driver.metrics();
    /// assert_eq!(metrics.of(Opcode::PREAD).expect("one read").bytes, 64);
    /// # Ok(()) }
    /// ```
    pub fn metrics(&self) -> Metrics {
        match self.inner.check_process() {
            Ok(()) => self.inner.meter.snapshot(),
            Err(_) => Metrics::default(),
        }
    }

    /// Returns the threads that make calls for files.
    pub(crate) fn blocking_threads(&self) -> &BlockingThreads {
        &self.inner.threads
    }

    /// Makes an alarm.
    pub(crate) fn alarm_at(&self, at: Instant) -> Result<LocalAlarm, ThreadError> {
        LocalAlarm::new(self.inner.clone(), at)
    }

    /// Returns the number of operations that the driver has: in the kernel, queued, and waiting for
    /// a slot. Returns 0 in a forked child.
    pub fn outstanding(&self) -> usize {
        match self.inner.check_process() {
            Ok(()) => self.inner.outstanding(),
            Err(_) => 0,
        }
    }

    /// Returns an error of the kind and text that the reactor of `tokio::local_driver` has failed
    /// with, if it has.
    /// Nobody else sees that error, since the task of that driver is detached. A [`LocalRun`] of
    /// the program's own returns its error from its future.
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

    /// Returns counts of what the driver has done so far. Returns zeros in a forked child.
    ///
    /// The counts of its queue include the POLL by which other threads end the sleep of
    /// [`block_on`](Self::block_on).
    pub fn stats(&self) -> DriverStats {
        match self.inner.check_process() {
            Ok(()) => self.inner.stats(),
            Err(_) => DriverStats::default(),
        }
    }
}

impl fmt::Debug for LocalDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalDriver")
            .field("outstanding", &self.outstanding())
            .finish_non_exhaustive()
    }
}

/// The part of a driver that its handles and futures share.
///
/// The first fields are those that each operation needs.
struct Inner {
    process: ForkGuard,
    /// The operations that futures have started, and those of the credit.
    granted: Cell<u64>,
    /// The number of operations that may be queued before one goes the slow way: that looks for a
    /// free slot, and decides when they are submitted. Never more than there are free slots, and 0
    /// while operations wait for one, and when none are taken any more.
    credit: Cell<i32>,
    /// The number of the next submit.
    batch: Cell<u64>,
    /// The operations that have ended.
    completed: Cell<u64>,
    entries: Entries,
    announcing: Announcing,
    /// The driver has called the waker of its own `block_on`.
    rung: Cell<bool>,
    queue: QueueCell,
    /// The number of slots, without that of the bell.
    capacity: usize,
    state: RefCell<State>,
    event_loop: RefCell<EventLoop>,
    counts: RefCell<SubmitCounts>,
    /// Those of the queue, when the driver has ended.
    last_stats: Cell<Stats>,
    /// A turn is under way.
    turning: Cell<bool>,
    /// It is to run one more step.
    again: Cell<bool>,
    /// `block_on` is under way.
    blocking: Cell<bool>,
    /// There is a [`LocalRun`].
    hosted: Cell<bool>,
    /// Its task lets others run first, once.
    yields: Cell<bool>,
    /// The waker of its task. `None` before the first poll, and while it is called.
    host: RefCell<Option<Waker>>,
    /// The eventfd that a reactor watches, once there has been one.
    watched: OnceCell<Arc<EventFd>>,
    /// The error of a reactor whose task is detached.
    reactor_error: OnceCell<FailedReactor>,
    alarms: LocalAlarms,
    /// The time after which queued operations end, if the kernel takes none of them.
    retry_limit: Cell<Duration>,
    /// `close_within` was given up: the drop must not wait for the kernel.
    given_up: Cell<bool>,
    measures: Cell<bool>,
    meter: LocalMeter,
    bell: Arc<Bell>,
    bell_poll: Cell<BellPoll>,
    bell_waker: Waker,
    /// The threads that make calls for files.
    threads: BlockingThreads,
}

/// Says that the driver has ended.
struct NoQueue;

/// The reference to the driver that a [`LocalDriver`] or a future has. A forked child leaks it, and
/// so drops nothing of the driver.
#[derive(Clone)]
struct Handle(Rc<Inner>);

impl Deref for Handle {
    type Target = Rc<Inner>;

    fn deref(&self) -> &Rc<Inner> {
        &self.0
    }
}

impl Drop for Handle {
    #[inline]
    fn drop(&mut self) {
        if self.check_process().is_err() {
            mem::forget(Rc::clone(&self.0));
        }
    }
}

impl Inner {
    /// `Err(FORKED)` in a child of the process that made the driver.
    #[inline]
    fn check_process(&self) -> Result<(), Errno> {
        self.process.check_strictly()
    }

    /// Returns the number of operations that have been started and have not ended.
    fn outstanding(&self) -> usize {
        (self.started() - self.completed.get()) as usize
    }

    /// Returns the number of operations that futures have started.
    fn started(&self) -> u64 {
        self.granted.get() - self.credit.get() as u64
    }

    /// Notes an operation that is started without credit.
    fn note_started(&self) {
        self.granted.set(self.granted.get() + 1);
    }

    /// Returns the number of those that have slots.
    fn admitted(&self) -> usize {
        self.outstanding() - self.state.borrow().waiting()
    }

    /// Returns whether every operation has ended and no more will come.
    fn is_drained(&self) -> bool {
        self.outstanding() == 0 && self.state.borrow().refusal().is_some()
    }

    fn takes_operations(&self) -> bool {
        self.state.borrow().refusal().is_none()
    }

    /// Returns the number of operations that may be queued now.
    fn room(&self) -> usize {
        let state = self.state.borrow();
        let open = state.refusal().is_none() && state.waiting() == 0;
        if open { self.capacity.saturating_sub(self.outstanding()) } else { 0 }
    }

    /// Lets up to so many operations be queued without a look at the batch.
    fn give_credit(&self, most: i32) {
        self.revoke_credit();
        if self.measures.get() {
            // Each goes the slow way, where it is measured.
            return;
        }
        let credit = i32::try_from(self.room()).map_or(most, |room| room.min(most));
        self.credit.set(credit);
        self.granted.set(self.granted.get() + credit as u64);
    }

    /// Has the next operation go the slow way.
    fn revoke_credit(&self) {
        self.granted.set(self.started());
        self.credit.set(0);
    }

    fn stats(&self) -> DriverStats {
        let mut stats = DriverStats {
            submitted: self.started(),
            completed: self.completed.get(),
            ..DriverStats::default()
        };
        let queue = self.with_queue(Queue::stats).unwrap_or(self.last_stats.get());
        self.counts.borrow().show(queue, &mut stats);
        stats
    }

    /// Calls `f` with the queue, if the driver has not ended.
    #[inline(always)]
    fn with_queue<R>(&self, f: impl FnOnce(&Queue<Queued>) -> R) -> Option<R> {
        self.queue.get().map(f)
    }

    /// Queues a prepared operation.
    ///
    /// # Safety
    /// What `prepared` lends stays lent until the operation has ended.
    #[inline(always)]
    unsafe fn enqueue(&self, entry: EntryRef, prepared: Prepared<'_>) -> Result<(), NoQueue> {
        let Some(queue) = self.queue.get() else { return Err(NoQueue) };
        // SAFETY: The promise of the caller.
        match unsafe { queue.push_prepared(Queued(Some(entry)), prepared) } {
            Ok(tag) => {
                entry.tag.set(tag);
                entry.batch.set(self.batch.get());
            }
            Err(_) => unreachable!("no more are admitted than there are slots"),
        }
        Ok(())
    }

    /// Says why an operation is not taken whose `prepare` has ended the driver, by a turn in it
    /// that could take no events.
    #[cold]
    fn refuse(&self, entry: EntryRef) -> Errno {
        self.announcing.forget(&entry);
        self.state.borrow().refusal().unwrap_or(Errno::ECANCELED)
    }

    fn is_hosted(&self) -> bool {
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
    fn is_left_alone(&self) -> bool {
        !self.is_hosted() && !self.blocking.get()
    }

    /// Has operations that have come submitted when the tasks that are ready have run. With nobody
    /// to do so later, submits them now.
    fn turn_later(&self) {
        if self.turning.get() {
            self.again.set(true);
        } else if self.is_hosted() {
            self.wake_host();
        } else if !self.blocking.get() {
            self.turn();
        }
    }

    /// Wakes the task of the [`LocalRun`].
    fn wake_host(&self) {
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
    fn wake_host_at(&self, at: Instant) {
        let Some(eventfd) = self.watched_by_host() else { return };
        if self.signal_at(at, eventfd).is_err() {
            // Without a thread for it, this one waits.
            thread::sleep(at.saturating_duration_since(clock::now()).min(Duration::from_millis(1)));
            let _ = eventfd.add(1);
        }
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
            complete::drop_caught(Some(waker));
        }
        // The task ends.
        if let Some(host) = self.host.get_mut().take() {
            catch_and_forget(|| host.wake());
        }
    }
}
