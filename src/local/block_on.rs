//! [`LocalDriver::block_on`], which polls one future and sleeps in `io_getevents` meanwhile, and
//! [`Bell`], by which other threads end the sleep.

mod nested;

use super::queued::Queued;
use super::sleep::{How, Sleep};
use super::turn::{BellPoll, Turning};
use super::{Handle, Inner, LocalDriver};
use crate::driver::users_code::catch_and_forget;
use crate::raw::ForkGuard;
use crate::{Errno, EventFd, PollEvents, Prepared, Queue};
use alloc::sync::Arc;
use alloc::task::Wake;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;
use nested::Level;
use std::thread::{self, Thread};

/// The length of a sleep that nothing need end. The thread then looks, and sleeps again.
const LONG: Duration = Duration::from_secs(3600);

/// The longest sleep while something has to be looked at again: operations that the
/// kernel had no resources for, or wakers that cannot end a sleep in the kernel.
const SHORT: Duration = Duration::from_millis(1);

/// The waker of `block_on`. All that other threads have of a local driver.
pub(super) struct Bell {
    sleep: Sleep,
    eventfd: Arc<EventFd>,
    thread: Thread,
    process: ForkGuard,
}

impl Bell {
    /// Makes one for this thread.
    pub(super) fn new(process: ForkGuard) -> Result<Self, Errno> {
        Ok(Self {
            sleep: Sleep::new(),
            eventfd: Arc::new(EventFd::new()?),
            thread: thread::current(),
            process,
        })
    }

    pub(super) fn eventfd(&self) -> &Arc<EventFd> {
        &self.eventfd
    }

    fn park(&self, at_most: Duration) {
        self.sleep.sleeping(How::Parked, || thread::park_timeout(at_most));
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match self.sleep.wake() {
            Some(How::InKernel) if self.process.check_strictly().is_ok() => {
                // EAGAIN: the count is at its limit, so it is readable as it is.
                let _ = self.eventfd.add(1);
            }
            Some(How::Parked) => self.thread.unpark(),
            _ => {}
        }
    }
}

/// Notes that `block_on` has ended, even by a panic.
struct Entered<'i>(&'i Inner, Level);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.blocking.set(false);
        self.0.revoke_credit();
        self.0.state.borrow_mut().batching.expect_none();
        // Nobody else submits what the future has started last.
        if self.0.check_process().is_ok() && self.0.with_queue(Queue::queued) > Some(0) {
            self.0.wake_host();
        }
    }
}

impl LocalDriver {
    /// Polls `future` until it is ready, and does the driver's work meanwhile. Sleeps in
    /// `io_getevents` while nothing is to be done.
    ///
    /// Wakers of the future may be called on any thread, and end the sleep. Operations may be
    /// outstanding when it returns; the next call goes on with them.
    ///
    /// Inside of the `block_on` of another local driver the future may wait for operations of that
    /// one, too, also in a waker that it calls. Their ends do not wake the thread, so it looks for
    /// them every millisecond: await them outside, where you can. Two waits never end: in such a
    /// waker for the [`close`](Self::close) of the driver that calls it, and anywhere for a driver
    /// whose work an executor of this thread does.
    ///
    /// # Panics
    /// Inside of another `block_on` of the same driver, and in code that the driver calls: a waker,
    /// the drop or the [`prepare`](crate::Operation::prepare) of an operation.
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
}

impl Handle {
    #[track_caller]
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        assert!(
            !self.blocking.get(),
            "block_on was called inside of block_on of the same LocalDriver: await the future"
        );
        assert!(
            !self.turning.get(),
            "block_on was called by a waker or an operation that its LocalDriver runs"
        );
        self.machine.check();
        self.blocking.set(true);
        let entered = Entered(self, Level::enter(self));
        let mut cx = Context::from_waker(&self.bell_waker);
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            // The poll has run a turn, which has ended operations. What has come since is
            // submitted with what comes next.
            if self.rung.take() {
                self.alarms.ring(self.process);
                continue;
            }
            loop {
                let more = self.turn();
                self.alarms.ring(self.process);
                // Also for a future that is woken each time, as one that yields is.
                let at_most = entered.1.serve_outer();
                // Both, whatever the first is.
                if self.rung.take() | self.bell.sleep.take_woken() {
                    break;
                }
                if !more {
                    self.sleep(at_most);
                }
            }
        }
    }
}

impl Inner {
    /// Sleeps until an operation ends or the future is woken, for `at_most`; or for a moment.
    fn sleep(&self, at_most: Duration) {
        if self.check_process().is_err() {
            // A fork inside of the future: nothing of the driver is this process's.
            return self.bell.park(LONG);
        }
        let long = self.alarms.bound(at_most);
        let short = SHORT.min(long);
        let Some(queue) = self.queue.get() else { return self.bell.park(long) };
        let (engine, context) = queue.parts();
        if self.bell_poll.get() == BellPoll::Idle {
            let poll = Prepared::poll(self.bell.eventfd.fd(), PollEvents::IN);
            // SAFETY: The eventfd, which is lent, is open until the driver is dropped, which ends
            // the queue first.
            if unsafe { queue.push_prepared(Queued(None), poll) }.is_ok() {
                self.bell_poll.set(BellPoll::Armed);
                // What it leaves queued bounds the sleep.
                let _ = engine.submit(context);
            }
        }
        let armed = self.bell_poll.get() == BellPoll::Armed;
        let queued = queue.queued() > 0;
        if queue.in_flight() == 0 && !armed {
            return self.bell.park(if queued { short } else { long });
        }
        let at_most = if armed && !queued { long } else { short };
        match self.bell.sleep.sleeping(How::InKernel, || engine.wait_piece(context, at_most)) {
            Some(Ok(Some(finished))) => {
                // Users' code in it may come back, as from a turn. One follows.
                let _turning = Turning::begin(self);
                catch_and_forget(|| self.complete(finished));
            }
            // Nothing is in flight, as what is queued has found no room.
            Some(Ok(None)) => self.bell.park(short),
            None => {}
            Some(Err(error)) => match error.errno() {
                Errno::ETIMEDOUT | Errno::EINTR => {}
                // A filter. The ring is looked at all the same.
                _ => self.bell.park(short),
            },
        }
    }
}
