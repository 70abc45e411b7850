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
#[cfg(all(test, loom))]
mod model;
mod overdue;
mod queued;
mod run;
mod sleep;
mod stage;
mod state;
mod turn;

pub use close::LocalClose;
pub use future::LocalFuture;
pub use run::LocalRun;

use crate::driver::BlockingThreads;
use crate::driver::reactor::FailedReactor;
use crate::driver::stall::RETRY_LIMIT;
use crate::driver::stats::SubmitCounts;
use crate::driver::thread::ThreadError;
use crate::fd::OwnedFd;
use crate::machine::Machine;
use crate::op::Fsync;
use crate::raw::ForkGuard;
use crate::{DriverStats, Errno, EventFd, IoContext, Operation, Queue, Stats};
use alarm::{LocalAlarm, LocalAlarms};
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use block_on::Bell;
use core::cell::{Cell, OnceCell, RefCell};
use core::fmt;
use core::mem;
use core::ops::Deref;
use core::task::Waker;
use core::time::Duration;
use entries::Entries;
use meter::LocalMeter;
use queued::{Announcing, QueueCell};
use state::State;
use static_assertions::assert_not_impl_any;
use std::io;
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
///   sleeps in the kernel until an operation ends, or until a waker is called on any thread. Such
///   a program needs no runtime. For timers take a crate that has a thread of its own, such as
///   `async-io`.
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
            machine: Machine::entered(),
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
    machine: Machine,
}

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
}
