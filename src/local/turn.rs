//! [`EventLoop`], which moves operations to the kernel and completions back.

use super::Inner;
use super::overdue::Submits;
use super::queued::{Naming, Queued, Tracked};
use super::state::Action;
use crate::clock;
use crate::driver::stall::Stall;
use crate::driver::stats::SubmitCounts;
use crate::driver::users_code::run;
use crate::{CallError, Errno, EventFd, Fd, Queue, Ready, Token};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;
use std::time::Instant;

/// After so many submits in a row whose reads and writes all ended inside of `io_submit`, these
/// name no eventfd. The number doubles each time that this was wrong.
const INLINE_SUBMITS: u32 = 5;

/// The pauses between looks at operations that name no eventfd, and have not ended at once.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LONGEST_LOOK: Duration = Duration::from_millis(16);

/// The queue, and what else only a step needs.
pub(super) struct EventLoop {
    /// `None` when the driver has been closed.
    pub(super) queue: Option<Queue<Queued>>,
    pub(super) bell: BellPoll,
    /// Its allocation is kept.
    cancels: Vec<Token>,
    /// Operations have left the queue since the completions were taken.
    submitted: bool,
    /// The present stall, while the kernel takes none of the queued operations.
    stall: Option<Stall>,
    /// The submits in a row whose reads and writes all ended inside of `io_submit`.
    inline_submits: u32,
    inline_submits_needed: u32,
    /// The pause before the next look at operations that name no eventfd.
    look: Duration,
    /// The time of the next look that has been asked for.
    look_due: Option<Instant>,
    pub(super) counts: SubmitCounts,
    pub(super) submits: Submits,
}

/// The state of the POLL of the bell.
pub(super) enum BellPoll {
    Idle,
    Armed,
    /// The kernel has refused a POLL.
    Refused,
}

impl BellPoll {
    /// Notes that the POLL has ended.
    pub(super) fn end(&mut self, result: Result<u32, Errno>, eventfd: &EventFd) {
        *self = match result {
            Ok(_) | Err(Errno::EXHAUSTED | Errno::EAGAIN) => Self::Idle,
            Err(_) => Self::Refused,
        };
        let _ = eventfd.take();
    }
}

impl EventLoop {
    pub(super) fn new(queue: Queue<Queued>) -> Self {
        Self {
            queue: Some(queue),
            bell: BellPoll::Idle,
            cancels: Vec::new(),
            submitted: false,
            stall: None,
            inline_submits: 0,
            inline_submits_needed: INLINE_SUBMITS,
            look: FIRST_LOOK,
            look_due: None,
            counts: SubmitCounts::default(),
            submits: Submits::default(),
        }
    }

    /// Runs one step: takes the completions that are there, gives their slots to operations that
    /// wait, cancels and submits. Returns `false` if the step did nothing that asks for another.
    ///
    /// Users' code runs where nothing but the event loop itself is borrowed, which only the caller
    /// of a step uses.
    pub(super) fn step(&mut self, inner: &Inner) -> bool {
        let left_out = self.leaves_out();
        let Some(queue) = &mut self.queue else { return false };
        let mut actions = inner.take_actions();
        let failed = loop {
            match queue.ready_piece() {
                Ok(Some(ready)) => finish(ready, inner, left_out, &mut self.bell, &mut actions),
                Ok(None) => break None,
                Err(error) => break Some(error.errno()),
            }
        };
        if failed == Some(Errno::FORKED) {
            // What is to be done is the parent's.
            mem::forget(actions);
            return false;
        }
        let over = {
            let state = &mut *inner.state.borrow_mut();
            if mem::take(&mut self.submitted) {
                state.batching.note_submitted(state.admitted());
                if let (1.., Some(at)) = (state.admitted(), self.counts.last()) {
                    self.submits.note(at, state);
                }
                let transfers = state.admitted() - inner.counts.lasting.get();
                if transfers == 0 {
                    self.inline_submits = self.inline_submits.saturating_add(1);
                } else {
                    if self.inline_submits >= self.inline_submits_needed {
                        self.inline_submits_needed = self.inline_submits_needed.saturating_mul(2);
                    }
                    self.inline_submits = 0;
                }
            }
            if let Some(errno) = failed {
                state.fail(errno, &mut actions);
            }
            self.counts.show(queue.stats(), &mut state.stats);
            state.take_cancels(&mut self.cancels);
            state.note_step();
            failed.is_some() || state.is_drained()
        };
        inner.run_actions(actions);
        // Wakers may have forked.
        if inner.check_process().is_err() {
            return false;
        }
        if over {
            self.end(inner);
            return false;
        }
        let cancelled = self.cancel();
        self.push(inner);
        if inner.check_process().is_err() {
            return false;
        }
        self.submit(inner) || cancelled
    }

    /// Returns whether reads and writes name no eventfd.
    pub(super) fn leaves_out(&self) -> bool {
        self.inline_submits >= self.inline_submits_needed
    }

    /// Returns `true` if an operation was cancelled: it ends without a signal if the kernel did not
    /// have it.
    fn cancel(&mut self) -> bool {
        let Some(queue) = &mut self.queue else { return false };
        // What cannot be cancelled runs to its end.
        self.cancels.drain(..).filter(|&token| queue.cancel(token).is_ok()).count() > 0
    }

    /// Gives free slots to operations that wait, oldest first.
    fn push(&mut self, inner: &Inner) {
        let naming = naming(inner, self.leaves_out());
        let Some(queue) = &mut self.queue else { return };
        // Nothing is borrowed in a push, which calls `prepare`.
        while inner.check_process().is_ok() {
            let Some((entry, op)) = inner.state.borrow_mut().admit() else { return };
            let tracked = Tracked::new(op, entry, naming, &inner.counts);
            match queue.push(Queued::Operation(tracked)) {
                Ok(token) => inner.state.borrow_mut().note_pushed(entry, token),
                Err(_) => unreachable!("no more are admitted than there are slots"),
            }
        }
    }

    /// Returns `true` if operations left the queue. Those that the kernel refused end without a
    /// signal, and others may have completed inside of the call.
    fn submit(&mut self, inner: &Inner) -> bool {
        let Some(queue) = &mut self.queue else { return false };
        let queued = queue.queued();
        if queued == 0 {
            self.stall = None;
            return false;
        }
        let start = clock::now();
        let submitted = queue.submit();
        let took = clock::now() - start;
        self.counts.took(start, took);
        if inner.measures.get() {
            inner.meter.submitted(start, took);
        }
        let left = queue.queued();
        self.submitted = left < queued;
        if self.submitted {
            self.stall = None;
        }
        let ended = left > 0 && self.end_or_retry(inner, submitted, start);
        self.submitted || ended
    }

    /// Decides what becomes of the operations that a submit has left queued: has them submitted
    /// again later, or ends them. Returns `true` if they have ended.
    #[cold]
    fn end_or_retry(
        &mut self,
        inner: &Inner,
        submitted: Result<usize, CallError>,
        now: Instant,
    ) -> bool {
        let errno = match submitted.map_err(Errno::from) {
            Err(Errno::FORKED) => return false,
            // Without an error, operations are in flight. They need not end soon: one may be a
            // POLL.
            Ok(_) | Err(Errno::EAGAIN) => {
                self.counts.stalled();
                self.submits.note(now, &inner.state.borrow());
                let limit = inner.retry_limit.get();
                let stall = self.stall.get_or_insert_with(|| Stall::new(now));
                if !stall.is_over(now, limit) {
                    // A sleep in `block_on` has a bound while operations are queued.
                    if let Some(at) = stall.next_attempt(now, limit) {
                        inner.wake_host_at(at);
                    }
                    return false;
                }
                Errno::EXHAUSTED
            }
            Err(errno) => errno,
        };
        let Some(queue) = &mut self.queue else { return false };
        let mut actions = inner.take_actions();
        while let Some(queued) = queue.take_queued() {
            let rung =
                inner.state.borrow_mut().complete(&inner.counts, queued, Err(errno), &mut actions);
            if let Some(rung) = rung {
                self.bell.end(rung, inner.bell.eventfd());
            }
        }
        inner.run_actions(actions);
        true
    }

    /// Has the host look again, if the end of an operation in flight would not tell it to.
    pub(super) fn look_again(&mut self, inner: &Inner) {
        if inner.counts.unnamed.get() == 0 {
            (self.look, self.look_due) = (FIRST_LOOK, None);
            return;
        }
        let now = clock::now();
        if inner.is_hosted() && self.look_due.is_none_or(|due| due <= now) {
            self.look_due = Some(now + self.look);
            inner.wake_host_at(now + self.look);
            self.look = LONGEST_LOOK.min(2 * self.look);
        }
    }

    /// Destroys the context, which waits for what is in flight, and ends what is left.
    fn end(&mut self, inner: &Inner) {
        let Some(queue) = self.queue.take() else { return };
        let errno = inner.state.borrow().refusal().unwrap_or(Errno::ECANCELED);
        let left = queue.into_operations();
        let mut actions = inner.take_actions();
        {
            let state = &mut *inner.state.borrow_mut();
            for queued in left {
                let _the_bell = state.complete(&inner.counts, queued, Err(errno), &mut actions);
            }
            state.set_destroyed(&mut actions);
        }
        inner.run_actions(actions);
        // Its future ends, too.
        inner.wake_host();
    }
}

/// Gives the end of an operation to its future; or queues the operation again, if it goes on.
///
/// This runs users' code (`goes_on`, `prepare`), inside of a turn.
#[inline]
pub(super) fn finish(
    mut ready: Ready<'_, Queued>,
    inner: &Inner,
    left_out: bool,
    bell: &mut BellPoll,
    actions: &mut Vec<Action>,
) {
    if ready.goes_on() {
        if inner.check_process().is_err() {
            // Its drop is the parent's.
            return mem::forget(ready);
        }
        if let Queued::Operation(tracked) = ready.op_mut() {
            let entry = tracked.entry;
            if inner.state.borrow().is_awaited(entry) {
                tracked.uncount(&inner.counts);
                tracked.naming = naming(inner, left_out);
                let token = ready.push_again();
                return inner.state.borrow_mut().note_pushed(entry, token);
            }
        }
    }
    if inner.check_process().is_err() {
        return mem::forget(ready);
    }
    let done = ready.take();
    if let Some(rung) =
        inner.state.borrow_mut().complete(&inner.counts, done.op, done.result, actions)
    {
        bell.end(rung, inner.bell.eventfd());
    }
}

/// Says which eventfd operations name from now on.
fn naming(inner: &Inner, left_out: bool) -> Naming {
    let watched = inner.watched_by_host().map(of_driver);
    Naming { watched, left_out, some: of_driver(inner.bell.eventfd()) }
}

/// Returns the descriptor of an eventfd of the driver.
fn of_driver(eventfd: &Arc<EventFd>) -> Fd<'static> {
    // SAFETY: The driver keeps its eventfds open until the queue is gone, and operations that name
    // them are submitted by that queue alone.
    unsafe { Fd::borrow_raw(eventfd.fd().as_raw()) }
}

impl Inner {
    /// Runs steps until nothing is left to do. Inside of a step, that one is followed by another
    /// instead. Returns `true` if there is more to do.
    pub(super) fn turn(&self) -> bool {
        if self.turning.replace(true) {
            self.again.set(true);
            return false;
        }
        let mut steps = 0;
        let more = loop {
            // In each step, since the user's code that a step runs may fork.
            if self.check_process().is_err() {
                break false;
            }
            self.again.set(false);
            let event_loop = &mut *self.event_loop.borrow_mut();
            let progress = event_loop.step(self);
            if !progress && !self.again.get() {
                if self.check_process().is_ok() {
                    event_loop.look_again(self);
                }
                break false;
            }
            steps += 1;
            if steps == super::STEPS {
                break true;
            }
        };
        self.turning.set(false);
        if more {
            self.wake_host();
        }
        more
    }

    /// Takes the list of actions, whose allocation is kept.
    pub(super) fn take_actions(&self) -> Vec<Action> {
        self.actions.take()
    }

    /// Runs users' code, with nothing borrowed but the event loop at most.
    pub(super) fn run_actions(&self, mut actions: Vec<Action>) {
        run(&mut actions, || self.check_process().is_ok());
        self.actions.set(actions);
    }
}
