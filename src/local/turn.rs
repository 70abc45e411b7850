//! Turns: they move operations to the kernel and completions back.

use super::entries::EntryRef;
use super::overdue::Submits;
use super::queued::Queued;
use super::stage::{Outcome, Phase};
use super::{Inner, LocalDriver};
use crate::clock;
use crate::driver::stall::Stall;
use crate::driver::users_code::{call_each, catch_and_forget, caught};
use crate::machine::checked;
use crate::{Errno, EventFd, Queue};
use core::task::Waker;
use core::time::Duration;
use std::time::Instant;

/// After so many submits in a row whose reads and writes all ended inside of `io_submit`, these
/// name no eventfd. The number doubles each time that this was wrong.
const INLINE_SUBMITS: u32 = 5;

/// The pauses between looks at operations that name no eventfd, and have not ended at once.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LONGEST_LOOK: Duration = Duration::from_millis(16);

/// Has what only a turn needs.
pub(super) struct EventLoop {
    /// The operations that a submit has left queued, where one has submitted any since the
    /// completions were taken.
    submitted: Option<usize>,
    /// The present stall, while the kernel takes none of the queued operations.
    stall: Option<Stall>,
    /// The submits in a row whose reads and writes all ended inside of `io_submit`.
    inline_submits: u32,
    inline_submits_needed: u32,
    /// The pause before the next look at operations that name no eventfd.
    look: Duration,
    /// The time of the next look that has been asked for.
    look_due: Option<Instant>,
    pub(super) submits: Submits,
}

/// The state of the POLL of the bell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BellPoll {
    Idle,
    Armed,
    /// The kernel has refused a POLL.
    Refused,
}

impl BellPoll {
    /// Returns the state after the POLL has ended.
    pub(super) fn after(result: Result<u32, Errno>, eventfd: &EventFd) -> Self {
        let _ = eventfd.take();
        match result {
            Ok(_) | Err(Errno::EXHAUSTED | Errno::EAGAIN) => Self::Idle,
            Err(_) => Self::Refused,
        }
    }
}

impl EventLoop {
    pub(super) fn new() -> Self {
        Self {
            submitted: None,
            stall: None,
            inline_submits: 0,
            inline_submits_needed: INLINE_SUBMITS,
            look: FIRST_LOOK,
            look_due: None,
            submits: Submits::default(),
        }
    }

    /// Learns from a submit, which has left so many reads and writes to the kernel. Returns whether
    /// the next name no eventfd.
    fn learn(&mut self, transfers: usize) -> bool {
        if transfers == 0 {
            self.inline_submits = self.inline_submits.saturating_add(1);
        } else {
            if self.inline_submits >= self.inline_submits_needed {
                self.inline_submits_needed = self.inline_submits_needed.saturating_mul(2);
            }
            self.inline_submits = 0;
        }
        self.inline_submits >= self.inline_submits_needed
    }
}

impl LocalDriver {
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
}

/// Says that a turn is under way, until it is dropped: also if the turn unwinds, as a system call
/// of a simulation may.
pub(super) struct Turning<'i>(&'i Inner);

impl<'i> Turning<'i> {
    /// Returns `None` if there is a turn already.
    pub(super) fn begin(inner: &'i Inner) -> Option<Self> {
        (!inner.turning.replace(true)).then(|| Self(inner))
    }
}

impl Drop for Turning<'_> {
    fn drop(&mut self) {
        self.0.turning.set(false);
        self.0.revoke_credit();
    }
}

impl Inner {
    /// Runs steps until nothing is left to do. Inside of a step, that one is followed by another
    /// instead. Returns `true` if there is more to do.
    pub(super) fn turn(&self) -> bool {
        let Some(turning) = Turning::begin(self) else {
            self.again.set(true);
            return false;
        };
        // The step submits what comes meanwhile.
        self.give_credit(i32::MAX);
        let mut steps = 0;
        let more = loop {
            // In each step, since the user's code that a step runs may fork.
            if self.check_process().is_err() {
                break false;
            }
            self.again.set(false);
            let event_loop = &mut *self.event_loop.borrow_mut();
            let progress = self.step(event_loop);
            if !progress && !self.again.get() {
                if self.check_process().is_ok() {
                    self.look_again(event_loop);
                }
                break false;
            }
            steps += 1;
            if steps == super::STEPS {
                break true;
            }
        };
        drop(turning);
        if self.blocking.get() {
            self.expect_batch();
        }
        if more {
            self.wake_host();
        }
        more
    }

    /// Lets operations come without a look at each, if `block_on` submits them when its future has
    /// been polled.
    fn expect_batch(&self) {
        let in_kernel = self.admitted();
        let credit = self.state.borrow_mut().batching.expect(in_kernel);
        self.give_credit(credit);
    }

    /// Runs one step: takes the completions that are there, gives their slots to operations that
    /// wait, cancels and submits. Returns `false` if the step did nothing that asks for another.
    ///
    /// Users' code runs where nothing but the event loop itself is borrowed, which only the caller
    /// of a step uses, and the queue by `&`.
    fn step(&self, event_loop: &mut EventLoop) -> bool {
        let Some(queued) = self.with_queue(Queue::queued) else { return false };
        {
            let state = &mut *self.state.borrow_mut();
            let came = queued + state.waiting();
            state.batching.note_step(came);
        }
        let failed = self.reap::<false>();
        // Wakers may have forked. What is to be done is the parent's.
        if self.check_process().is_err() {
            return false;
        }
        if let Some(errno) = failed {
            self.fail(errno);
        }
        let is_busy = {
            let state = &mut *self.state.borrow_mut();
            if let Some(left) = event_loop.submitted.take() {
                let queued = self.with_queue(Queue::queued).unwrap_or(0);
                let admitted = self.outstanding() - state.waiting();
                let in_kernel = admitted.saturating_sub(queued) + left;
                state.batching.note_submitted(in_kernel);
                if in_kernel > 0 {
                    self.note_submit(&mut event_loop.submits);
                }
                let transfers = in_kernel.saturating_sub(self.announcing.lasting());
                self.announcing.leave_out(event_loop.learn(transfers));
            }
            state.is_busy()
        };
        let mut cancelled = false;
        if is_busy {
            if failed.is_some() || self.is_drained() {
                self.end();
                return false;
            }
            cancelled = self.cancel();
            self.admit();
            if self.check_process().is_err() {
                return false;
            }
        }
        self.submit(event_loop) || cancelled
    }

    /// Does the work of a step inside of one, which runs users' code that waits for it. The outer
    /// step goes on afterwards with what is left. So neither failures nor the end of the driver are
    /// looked at here.
    #[cold]
    pub(super) fn step_inside(&self) {
        let _ = self.reap::<true>();
        if self.check_process().is_ok() && self.state.borrow().is_busy() {
            self.cancel();
            self.admit();
        }
        let Some(queue) = self.queue.get() else { return };
        if self.check_process().is_ok() && queue.queued() > 0 {
            let (engine, context) = queue.parts();
            let start = clock::now();
            // What the kernel does not take is submitted by the next step.
            let _ = engine.submit(context);
            self.note_call(start, clock::now() - start);
        }
    }

    // ---- operations that wait, or go on ----

    /// Gives free slots to operations that wait, oldest first.
    fn admit(&self) {
        while self.admitted() < self.capacity && self.check_process().is_ok() {
            let Some(entry) = self.state.borrow_mut().next_waiting() else { break };
            self.revoke_credit();
            self.push(entry);
        }
    }

    /// Prepares an operation where it is, and queues it.
    #[cold]
    pub(super) fn push(&self, entry: EntryRef) {
        // SAFETY: There is an operation, and the kernel does not have it. Its future does not touch
        // it in the phases `Flying` and `Abandoned`, nor does anybody else, until the queue says
        // that it has ended: that is when the loan ends.
        // The payload of its panic is users' code, too: it stays in the entry whatever follows.
        let prepared =
            caught(|| checked(unsafe { entry.prepare() })).map_err(|it| entry.set_panic(it));
        if self.check_process().is_err() {
            return;
        }
        match prepared {
            // `prepare` has dropped the future of its own operation.
            _ if entry.phase() != Phase::FLYING => {
                self.completed.set(self.completed.get() + 1);
                self.discard(entry);
            }
            Ok(prepared) => {
                let prepared = self.announcing.announce::<true>(prepared, false, &entry);
                // SAFETY: As above.
                if unsafe { self.enqueue(entry, prepared) }.is_err() {
                    let errno = self.refuse(entry);
                    catch_and_forget(|| self.finish(entry, Outcome::from(errno)));
                } else if entry.stage.get().note().is_measured() {
                    self.measure_queued(entry);
                }
            }
            Err(()) => {
                if entry.stage.get().note().is_measured() {
                    self.meter.panicked(entry);
                }
                catch_and_forget(|| self.end_by_panic(entry));
            }
        }
    }

    /// Cancels what has been abandoned. Returns `true` if an operation was cancelled: it ends
    /// without a signal if the kernel did not have it.
    fn cancel(&self) -> bool {
        let mut cancelled = false;
        loop {
            let Some(entry) = self.state.borrow_mut().next_cancel() else { return cancelled };
            // What cannot be cancelled runs to its end.
            cancelled |= self.with_queue(|queue| {
                let (engine, context) = queue.parts();
                engine.cancel(context, engine.token(entry.tag.get()))
            }) == Some(Ok(()));
        }
    }

    // ---- submitting ----

    /// Returns `true` if operations left the queue. Those that the kernel refused end without a
    /// signal, and others may have completed inside of the call.
    fn submit(&self, event_loop: &mut EventLoop) -> bool {
        let Some(queue) = self.queue.get() else { return false };
        let queued = queue.queued();
        if queued == 0 {
            event_loop.stall = None;
            return false;
        }
        let start = clock::now();
        let (engine, context) = queue.parts();
        let submitted = engine.submit(context);
        let took = clock::now() - start;
        self.note_call(start, took);
        let left = queue.queued();
        if left < queued {
            event_loop.stall = None;
            event_loop.submitted = Some(left);
        }
        let ended = left > 0 && self.end_or_retry(event_loop, queue, submitted, start);
        left < queued || ended
    }

    /// Notes a call of `io_submit`.
    #[inline(always)]
    fn note_call(&self, start: Instant, took: Duration) {
        self.counts.borrow_mut().took(start, took);
        if self.measures.get() {
            self.meter.submitted(start, took);
        }
        self.batch.set(self.batch.get() + 1);
    }

    /// Decides what becomes of the operations that a submit has left queued: has them submitted
    /// again later, or ends them. Returns `true` if they have ended.
    #[cold]
    fn end_or_retry(
        &self,
        event_loop: &mut EventLoop,
        queue: &Queue<Queued>,
        submitted: Result<usize, Errno>,
        now: Instant,
    ) -> bool {
        let errno = match submitted {
            Err(Errno::FORKED) => return false,
            // Without an error, operations are in flight. They need not end soon: one may be a
            // POLL.
            Ok(_) | Err(Errno::EAGAIN) => {
                self.counts.borrow_mut().stalled();
                self.note_submit(&mut event_loop.submits);
                let limit = self.retry_limit.get();
                let stall = event_loop.stall.get_or_insert_with(|| Stall::new(now));
                if !stall.is_over(now, limit) {
                    // A sleep in `block_on` has a bound while operations are queued.
                    if let Some(at) = stall.next_attempt(now, limit) {
                        self.wake_host_at(at);
                    }
                    return false;
                }
                Errno::EXHAUSTED
            }
            Err(errno) => errno,
        };
        let (engine, _) = queue.parts();
        // All of them before one is woken, which may queue another.
        let taken = core::iter::from_fn(|| engine.take_queued()).collect();
        self.finish_all(taken, errno);
        true
    }

    /// Has the host look again, if the end of an operation in flight would not tell it to.
    fn look_again(&self, event_loop: &mut EventLoop) {
        if self.admitted() == self.announcing.named() {
            (event_loop.look, event_loop.look_due) = (FIRST_LOOK, None);
            return;
        }
        if !self.is_hosted() {
            return;
        }
        let now = clock::now();
        if event_loop.look_due.is_none_or(|due| due <= now) {
            event_loop.look_due = Some(now + event_loop.look);
            self.wake_host_at(now + event_loop.look);
            event_loop.look = LONGEST_LOOK.min(2 * event_loop.look);
        }
    }

    // ---- the end ----

    /// Takes no more operations, and ends those that wait for a slot. Those that are queued or in
    /// the kernel end with the context.
    #[cold]
    fn fail(&self, errno: Errno) {
        self.state.borrow_mut().fail(errno);
        self.end_waiting(errno);
    }

    /// Ends the operations that wait for a slot.
    #[cold]
    pub(super) fn end_waiting(&self, errno: Errno) {
        loop {
            self.revoke_credit();
            let Some(entry) = self.state.borrow_mut().next_waiting() else { return };
            catch_and_forget(|| self.finish(entry, Outcome::from(errno)));
        }
    }

    /// Destroys the context, which waits for what is in flight, and ends what is left.
    #[cold]
    fn end(&self) {
        self.last_stats.set(self.with_queue(Queue::stats).unwrap_or_default());
        // SAFETY: Others refer to the queue for a moment in which no users' code runs; or while
        // users' code runs in a turn or in `sleep`: `reap`, `end_or_retry` and `sleep`. There a
        // turn inside returns at once, and `step_inside` does not call this function. It is the
        // end of a step, whose own references are not used any more.
        let Some(queue) = (unsafe { self.queue.take() }) else { return };
        let errno = self.state.borrow().refusal().unwrap_or(Errno::ECANCELED);
        self.finish_all(queue.into_operations(), errno);
        let mut closers = {
            let state = &mut *self.state.borrow_mut();
            state.destroyed = true;
            state.take_closers()
        };
        let in_parent = || self.check_process().is_ok();
        call_each(&mut closers, Waker::wake, in_parent);
        if in_parent() {
            // Its future ends, too.
            self.wake_host();
        }
    }
}
