//! [`Driver`], disk I/O as futures, on any runtime.
//!
//! # Who drives
//!
//! No task does. The driver has an eventfd that the kernel signals with each completion, and a waker
//! of its own that the runtime's reactor calls when the eventfd is readable. That waker takes a
//! *turn*, right there: it reaps the completions, wakes the futures they belong to, and submits what
//! waits. So nothing depends on a particular future being polled: one that is dropped, leaked, or
//! kept and never polled again by its task does not keep the others waiting. When the reactor fails,
//! because its runtime is gone, a helper thread watches the eventfd from then on. While the kernel has no
//! resources for operations that are queued, the helper thread takes turns as well (`Stall`).
//!
//! A future takes a turn itself when it is polled first and nothing else is under way, and when
//! enough have come together for a batch. Otherwise what has come together is submitted when the tasks
//! that are ready have run, where the runtime can tell; or else by the reactor, for which the future
//! makes the eventfd readable.
//!
//! # What is held when
//!
//! One thread at a time turns (`RunLock`); one that would like to while another does has that one
//! look once more, and goes on. The queue (`EventLoop`) belongs to whoever turns: system calls are made,
//! and [`Operation::prepare`] and wakers are called, with nothing else held. The lock of the `State`
//! is held for moments: nothing waits and no code of users is called under it, since that may come
//! back here. What is left to do afterwards is collected (`Deferred`).

mod deferred;
mod event_loop;
mod future;
mod helper;
#[cfg(all(test, loom))]
mod model;
mod queued_operation;
mod reactor;
mod run_lock;
mod stall;
mod state;
mod stats;

pub(crate) use deferred::catch_and_forget;
pub use future::{Close, OpFuture};
pub use reactor::Reactor;
pub use stats::DriverStats;

use crate::raw::ForkGuard;
use crate::{Errno, EventFd, IoContext, Operation, Queue};
use alloc::sync::{Arc, Weak};
use alloc::task::Wake;
use core::fmt;
use core::mem;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use deferred::Deferred;
use event_loop::EventLoop;
use helper::Helper;
use reactor::{Contained, NoReactor};
use run_lock::{ReactorPolling, RunLock};
use state::State;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How many steps a turn takes at most, before it leaves the rest to the reactor.
const STEPS: u32 = 8;

/// Disk I/O as futures: a queue that many tasks share.
///
/// A clone is another handle of the same driver. Operations are pushed by futures
/// ([`perform`](Self::perform)), any number of them, from any thread; what finds no slot waits its
/// turn, first come, first served. What arrives together is submitted together.
///
/// Operations are those of [`op`](crate::op), or the user's own. Their buffers are anything that
/// holds bytes and can be sent: `Vec<u8>`, [`AlignedBuf`](crate::AlignedBuf), `bytes::BytesMut` to
/// read; these and `bytes::Bytes` to write. A POLL is a future beside the others.
///
/// # Batches
///
/// An operation that is alone is submitted when its future is polled first. Where others are in flight, or have lately
/// come together, it waits until the tasks that can run have run, or until there are enough of them: so one call
/// submits what many tasks start, and a task that computes for long holds up what others have started before it. Enough
/// are as many as the kernel has, from 4 to 32: a disk that has just ended all gets the first few early, and works on
/// them while tasks start the others. Where all ends inside of `io_submit`, there is nothing to be gained by that, and
/// 32 are enough. Where the [`Reactor`] does not know when tasks have run, the driver makes its eventfd readable
/// instead.
///
/// # Blocking
///
/// `io_submit` is asynchronous for files opened with `O_DIRECT`. For other files it does the I/O
/// itself, on the thread that submits: a task's, or the reactor's, and a future may be ready when it
/// is polled first. Give such operations
/// [`RwFlags::NOWAIT`](crate::RwFlags::NOWAIT) and those that fail with `EAGAIN` or `EOPNOTSUPP` to
/// a driver [`on_thread`](Self::on_thread), which is what
/// `linux_aio::tokio::File` can do by itself. **A read of an empty pipe, socket or terminal without
/// `O_NONBLOCK` blocks without end**, and with it the whole driver: POLL first.
///
/// # Without resources
///
/// The context has room for as many operations as there are slots. `EAGAIN` from `io_submit` therefore
/// means that the kernel has no memory for an operation (or that a filter says so). The operation stays
/// queued. The driver submits it again after a millisecond, then after pauses of up to 100 ms, and
/// whenever an operation starts or ends. When the kernel has taken none for 30 seconds, all that are
/// queued end with [`Errno::EXHAUSTED`](crate::Errno::EXHAUSTED).
/// [`retry_submits_for`](Self::retry_submits_for) sets another time: none, or no end.
///
/// # Dropping
///
/// Neither handles nor futures block when they are dropped. A dropped future leaves its operation,
/// with its buffer, to the driver, which keeps both until the kernel is finished. When the last
/// handle and the last future are gone, a helper thread waits for what is in flight. To know when
/// that is done, use [`close`](Self::close).
///
/// # Without events
///
/// Where the ring is of no use, and `io_getevents` is refused by a filter that was installed after the
/// driver was made, nothing tells any more how operations end. The driver takes no more then: they give
/// the `errno` of the refusal, as do those that wait for a slot. The helper thread destroys the context,
/// which waits for what is in flight and proves its buffers free; then these futures, too, give that
/// `errno` and the operation, which may have been done. (Where `io_destroy` is refused as well there is
/// no proof, and they never complete.)
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
/// - [`close`](Self::close) resolves at once, and the parent's driver stays open.
/// - Dropping handles and futures drops nothing that the driver has. Operations, their buffers,
///   wakers and the [`Reactor`] are leaked, since they may belong to a thread or a runtime of the
///   parent. Their descriptors stay open in the child until it ends or executes another program.
///
/// Make another driver in the child, and another runtime for it.
///
/// # Panics of users' code
///
/// A panic in [`Operation::prepare`] is the outcome of that operation: its future panics. A panic in
/// the clone of a waker leaves `poll`, and the future is as it was before. A panic of the
/// [`Reactor`] counts as its failure. All other panics are caught after the panic hook has reported
/// them: those in calling or dropping a waker, in dropping an operation whose future is gone, in
/// dropping the reactor, and in dropping the payload of a panic.
#[derive(Clone)]
pub struct Driver {
    shared: Handle,
}

impl Driver {
    /// A driver for up to `capacity` operations in flight, whose eventfd `reactor` watches.
    ///
    /// `reactor` is called once, with the eventfd, to register it with the runtime. It starts one
    /// thread, which sleeps until the driver ends or the reactor fails.
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

    /// A driver that needs no reactor: a thread of its own makes every system call. An `io_submit`
    /// that blocks holds up that thread and the driver's other operations, but no task.
    ///
    /// # Errors
    /// Those of [`IoContext::new`] and [`EventFd::new`], and of starting a thread; `ENOSYS` or `EPERM`
    /// where events can be taken neither off the ring nor by `io_getevents`.
    pub fn on_thread(capacity: u32) -> io::Result<Self> {
        let (eventfd, reactor) = (Arc::new(EventFd::new()?), Contained::new(NoReactor));
        Self::with_reactor(capacity, eventfd, reactor, false)
    }

    fn with_reactor(
        capacity: u32,
        eventfd: Arc<EventFd>,
        reactor: Contained,
        tasks_turn: bool,
    ) -> io::Result<Self> {
        let helper = Helper::start()?;
        let mut context = IoContext::new(capacity)?;
        if !context.uses_ring() {
            // Better no driver than one that fails at once. Nobody reads the ring beside this call.
            context.split().1.reap(&mut [])?;
        }
        let queue = Queue::over(context, capacity);
        let shared = Arc::new_cyclic(|weak: &Weak<Shared>| Shared {
            state: Mutex::new(State::new(queue.capacity())),
            event_loop: Mutex::new(EventLoop::new(queue, Arc::clone(&eventfd))),
            turns: RunLock::new(),
            tasks_turn,
            woken: ReactorPolling::new(),
            reactor_failed: AtomicBool::new(false),
            empties: !reactor.is_edge_triggered(),
            reactor,
            waker: Arc::new(DriverWaker(weak.clone())).into(),
            eventfd,
            helper,
            process: ForkGuard::of_this_process(),
        });
        // The reactor learns whom to wake.
        shared.turn();
        Ok(Self { shared: Handle(shared) })
    }

    /// A future that does `op` when it is polled, and gives the result and the operation back.
    ///
    /// An eventfd that `op` names is replaced by the driver's.
    pub fn perform<O: Operation + Send + 'static>(&self, op: O) -> OpFuture<O> {
        OpFuture::new(self.shared.clone(), op)
    }

    /// Sets for how long the driver retries where the kernel has no resources for the operations that
    /// are queued (`EAGAIN` from `io_submit`); 30 seconds unless this is called. It holds for all handles
    /// of the driver.
    ///
    /// The time is that in which the kernel takes none of them. Afterwards all that are queued end with
    /// [`Errno::EXHAUSTED`](crate::Errno::EXHAUSTED), as do those that wait for a slot unless the kernel
    /// takes them at the first attempt.
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
    /// In a forked child the future resolves at once, and the parent's driver stays open.
    pub fn close(self) -> Close {
        Close::new(self.shared)
    }

    /// Returns the number of operations that the driver has: in the kernel, queued, and waiting for
    /// a slot. Returns 0 in a forked child.
    pub fn outstanding(&self) -> usize {
        self.shared.lock().map_or(0, |state| state.outstanding())
    }

    /// Returns counts of what the driver has done so far. Returns zeros in a forked child.
    pub fn stats(&self) -> DriverStats {
        self.shared.lock().map(|state| state.stats).unwrap_or_default()
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("outstanding", &self.outstanding()).finish_non_exhaustive()
    }
}

/// What the handles and the futures of a driver share.
struct Shared {
    state: Mutex<State>,
    /// Locked by whoever turns, and so never waited for.
    event_loop: Mutex<EventLoop>,
    turns: RunLock,
    /// Whether tasks turn, too, or the helper thread alone.
    tasks_turn: bool,
    woken: ReactorPolling,
    /// The helper thread does what the reactor should.
    reactor_failed: AtomicBool,
    reactor: Contained,
    /// Whether the eventfd is to be emptied before it tells the reactor anything again.
    empties: bool,
    /// RunLock. Holds no strong reference: the reactor keeps it, and `self` the reactor.
    waker: Waker,
    eventfd: Arc<EventFd>,
    helper: Helper,
    process: ForkGuard,
}

/// The share of the driver that a [`Driver`] or a future has.
///
/// A forked child keeps every share, so it drops nothing of the driver: an operation or a waker may
/// belong to a thread, a runtime or a buffer that only the parent has, and the reactor's
/// registration and the helper's channel are the parent's.
#[derive(Clone)]
struct Handle(Arc<Shared>);

impl Handle {
    fn upgrade(shared: &Weak<Shared>) -> Option<Self> {
        shared.upgrade().map(Self)
    }
}

impl Deref for Handle {
    type Target = Arc<Shared>;

    fn deref(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.check_process().is_err() {
            mem::forget(Arc::clone(&self.0));
        }
    }
}

impl Shared {
    /// `Err(FORKED)` in a child of the process that made the driver.
    fn check_process(&self) -> Result<(), Errno> {
        self.process.check_strictly()
    }

    /// Locks the state, under which nothing panics. A forked child gets the error instead: a thread
    /// that it does not have may hold the lock.
    fn lock(&self) -> Result<MutexGuard<'_, State>, Errno> {
        self.check_process()?;
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `step` under the lock, and what it leaves to do after it. Does neither in a forked
    /// child.
    fn with_state<R>(
        self: &Arc<Self>,
        step: impl FnOnce(&mut State, &mut Deferred) -> R,
    ) -> Result<R, Errno> {
        Ok(self.with_locked(self.lock()?, step))
    }

    /// As [`with_state`](Self::with_state), under a lock that is held already.
    fn with_locked<R>(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        step: impl FnOnce(&mut State, &mut Deferred) -> R,
    ) -> R {
        let mut deferred = Deferred::default();
        let result = step(&mut state, &mut deferred);
        drop(state);
        self.finish(deferred);
        result
    }

    /// Does what a step under the lock has left to do.
    fn finish(self: &Arc<Self>, mut deferred: Deferred) {
        if deferred.turn && !self.tasks_turn {
            self.signal_eventfd();
        } else if deferred.later {
            self.turn_later();
        }
        deferred.run_users_code();
        // Last, since it may block in `io_submit`.
        if deferred.turn && self.tasks_turn {
            self.turn();
        }
    }

    /// Takes completions, wakes their futures, and submits what waits, unless another thread is at
    /// it, which then does so once more.
    fn turn(self: &Arc<Self>) {
        let mut steps = 0;
        self.turns.take(|| {
            // In each round: the users' code that one runs may fork.
            if self.check_process().is_err() {
                return false;
            }
            self.listen();
            steps += 1;
            steps <= STEPS && self.lock_event_loop().step(self)
        });
        if steps > STEPS {
            self.signal_eventfd();
        }
    }

    fn lock_event_loop(&self) -> MutexGuard<'_, EventLoop> {
        self.event_loop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the reactor call the waker when the eventfd is readable again, if it has called it.
    fn listen(self: &Arc<Self>) {
        self.woken.poll_until_pending(|| match self.poll_reactor() {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => {
                if self.empties {
                    // None where the reactor was wrong, which costs a round.
                    let _ = self.eventfd.take();
                }
                true
            }
            Poll::Ready(Err(())) => {
                self.reactor_failed.store(true, Ordering::Release);
                // A reactor that has forked may say so, too.
                if self.check_process().is_ok() {
                    self.helper.drive(self);
                }
                false
            }
        });
    }

    /// Pending without end when it has failed.
    fn poll_reactor(&self) -> Poll<Result<(), ()>> {
        if self.reactor_has_failed() {
            return Poll::Pending;
        }
        self.reactor.poll_readable(&mut Context::from_waker(&self.waker))
    }

    fn reactor_has_failed(&self) -> bool {
        self.reactor_failed.load(Ordering::Acquire)
    }

    /// Has a turn taken when the tasks that can run now have run, or at once where nobody knows when that is.
    fn turn_later(&self) {
        if !(self.tasks_turn && self.reactor.wake_later(&self.waker)) {
            self.signal_eventfd();
        }
    }

    /// Makes the eventfd readable, so that the reactor or the helper thread turns.
    fn signal_eventfd(&self) {
        // EAGAIN: the count is at its limit, so the eventfd is readable as it is.
        let _ = self.eventfd.add(1);
    }

    /// Has the helper thread take a turn at that time.
    fn turn_at(self: &Arc<Self>, at: Instant) {
        self.helper.turn_at(at, self);
        if self.reactor_has_failed() {
            // The thread may be waiting for the eventfd.
            self.signal_eventfd();
        }
    }

    /// Ends the context on the helper thread.
    fn destroy(&self, queue: Queue<queued_operation::QueuedOperation>, shared: Weak<Self>) {
        // A waker that has forked may have come back here.
        if self.check_process().is_err() {
            return;
        }
        self.helper.destroy(queue, shared);
        if self.reactor_has_failed() {
            // The thread may be waiting for the eventfd.
            self.signal_eventfd();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let event_loop = self.event_loop.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = event_loop.take_queue() {
            self.destroy(queue, Weak::new());
        }
    }
}

/// The driver's own waker.
struct DriverWaker(Weak<Shared>);

impl Wake for DriverWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(shared) = Handle::upgrade(&self.0) {
            shared.woken.set();
            shared.turn();
        }
    }
}
