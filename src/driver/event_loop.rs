//! [`EventLoop`], which moves operations to the kernel and completions back.

use super::Shared;
use super::announcing::Announcing;
use super::deferred::Deferred;
use super::held::Held;
use super::helper::Purpose;
use super::overdue::{Facts, Submitted};
use super::queued_operation::{Action, Ended, Kind, QueuedOperation, Sent};
use super::stall::Stall;
use super::stats::SubmitCounts;
use crate::clock;
use crate::{CallError, Errno, EventFd, Fd, Queue, Token};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;
use std::time::Instant;

/// The queue, and what else only the thread in the event loop needs.
pub(super) struct EventLoop {
    /// `None` when the driver has been closed.
    queue: Option<Queue<QueuedOperation>>,
    eventfd: Arc<EventFd>,
    /// Taken from the state, and not pushed yet; its allocation is kept.
    admitted: Vec<(usize, Held<Sent>)>,
    pushed: Pushed,
    /// The beginning of the last submit and its time, until the next step.
    last_submit: Option<(Instant, Duration)>,
    /// Taken from the queue, and not given to the state yet; its allocation is kept.
    completed: Vec<(usize, Ended)>,
    /// An empty list, for its allocation.
    actions: Vec<Action>,
    /// Operations have left the queue since the completions were taken.
    submitted: bool,
    announcing: Announcing,
    /// The present stall, while the kernel takes none of the queued operations.
    stall: Option<Stall>,
    counts: SubmitCounts,
}

impl EventLoop {
    pub(super) fn new(
        queue: Queue<QueuedOperation>,
        eventfd: Arc<EventFd>,
        announcing: Announcing,
    ) -> Self {
        Self {
            queue: Some(queue),
            eventfd,
            admitted: Vec::new(),
            pushed: Pushed::default(),
            last_submit: None,
            completed: Vec::new(),
            actions: Vec::new(),
            submitted: false,
            announcing,
            stall: None,
            counts: SubmitCounts::default(),
        }
    }

    /// Runs one step: takes the completions that are there, gives their slots to operations that
    /// wait, cancels and submits. Returns `false` if the step did nothing that asks for another.
    pub(super) fn step(&mut self, shared: &Arc<Shared>) -> bool {
        let failed = self.take_completed(shared);
        let Some(queue) = &mut self.queue else { return false };
        let Ok(mut state) = shared.lock() else { return false };
        let mut deferred = Deferred::with_list(mem::take(&mut self.actions));
        state.meter.step();
        if let Some((at, took)) = self.last_submit.take() {
            state.meter.returned(at, took);
        }
        for (entry, ended) in self.completed.drain(..) {
            state.complete(entry, ended, &mut deferred);
        }
        if mem::take(&mut self.submitted) {
            state.note_submitted();
            self.announcing.submitted();
        }
        if let Some(errno) = failed {
            state.fail(errno, &mut deferred);
        }
        self.counts.show(queue.stats(), &mut state.stats);
        // With the completions: so an entry that was abandoned is the same operation still when it
        // is cancelled, or has none in the queue.
        let cancels = state.take_cancels();
        state.admit(&mut self.admitted);
        let over = failed.is_some() || state.is_drained();
        drop(state);
        self.actions = shared.finish(deferred);
        if over {
            self.end(shared);
            return false;
        }
        let cancelled = self.cancel(&cancels);
        self.look_later(shared);
        self.push();
        self.submit(shared) || cancelled
    }

    /// Has the helper thread look for operations that nobody announces, if there are any.
    #[inline(always)]
    fn look_later(&mut self, shared: &Arc<Shared>) {
        if self.announcing.overlooks() {
            let look = self.announcing.next_look(clock::now());
            look.into_iter().for_each(|at| shared.run_at(at, Purpose::Look));
        }
    }

    /// Takes the operations that have ended and do not go on. Queues the others again. Returns the
    /// error if no more can be taken.
    ///
    /// This runs users' code (`goes_on`, `prepare`), so the state is not locked.
    fn take_completed(&mut self, shared: &Shared) -> Option<Errno> {
        let queue = self.queue.as_mut()?;
        loop {
            let mut ready = match queue.ready_piece() {
                Ok(Some(ready)) => ready,
                Ok(None) => return None,
                Err(error) => return Some(error.errno()),
            };
            let entry = ready.op().entry;
            self.announcing.ended(ready.op().kind);
            if ready.goes_on() && shared.is_awaited(entry) {
                ready.op_mut().names = self.announcing.names();
                let token = ready.push_again();
                self.pushed.note(entry, token, queue, &mut self.announcing);
            } else {
                let done = ready.take();
                self.completed.push((entry, done.op.ended(done.result)));
            }
        }
    }

    /// Returns `true` if an operation was cancelled: it ends without a signal if the kernel did not
    /// have it.
    fn cancel(&mut self, entries: &[usize]) -> bool {
        let Some(queue) = &mut self.queue else { return false };
        let tokens = entries.iter().filter_map(|&entry| *self.pushed.tokens.get(entry)?);
        // What cannot be cancelled runs to its end.
        tokens.filter(|&token| queue.cancel(token).is_ok()).count() > 0
    }

    fn push(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        // SAFETY: The event loop keeps it open, and the queue is submitted by the event loop alone.
        let eventfd = unsafe { Fd::<'static>::borrow_raw(self.eventfd.fd().as_raw()) };
        for (entry, op) in self.admitted.drain(..) {
            let names = self.announcing.names();
            let kind = Kind::Other;
            let op = QueuedOperation { op, eventfd, names, kind, entry, panic: None };
            match queue.push(op) {
                Ok(token) => self.pushed.note(entry, token, queue, &mut self.announcing),
                Err(_) => unreachable!("no more are admitted than there are slots"),
            }
        }
    }

    /// Returns `true` if operations left the queue. Those that the kernel refused end without a
    /// signal, and others may have completed inside of the call.
    fn submit(&mut self, shared: &Arc<Shared>) -> bool {
        let Some(queue) = &mut self.queue else { return false };
        let queued = queue.queued();
        if queued == 0 {
            self.stall = None;
            return false;
        }
        let start = clock::now();
        self.pushed.note_submits(shared, start);
        let submitted = queue.submit();
        let took = clock::now() - start;
        self.last_submit = Some((start, took));
        self.counts.took(start, took);
        let left = queue.queued();
        self.submitted = left < queued;
        if self.submitted {
            self.stall = None;
        }
        let ended = left > 0 && self.end_or_retry(shared, submitted, start);
        self.submitted || ended
    }

    /// Decides what becomes of the operations that a submit has left queued: has them submitted
    /// again later, or ends them. Returns `true` if they have ended.
    #[cold]
    fn end_or_retry(
        &mut self,
        shared: &Arc<Shared>,
        submitted: Result<usize, CallError>,
        now: Instant,
    ) -> bool {
        let errno = match submitted.map_err(Errno::from) {
            // Without an error, operations are in flight. They need not end soon: one may be a
            // POLL.
            Ok(_) | Err(Errno::EAGAIN) => {
                self.counts.stalled();
                let Ok(limit) = shared.lock().map(|state| state.retry_limit) else { return false };
                let stall = self.stall.get_or_insert_with(|| Stall::new(now));
                if !stall.is_over(now, limit) {
                    if let Some(at) = stall.next_attempt(now, limit) {
                        shared.run_at(at, Purpose::Retry);
                    }
                    return false;
                }
                Errno::EXHAUSTED
            }
            Err(errno) => errno,
        };
        let Some(queue) = &mut self.queue else { return false };
        let last_submit = self.last_submit.take();
        let _ = shared.with_state(|state, deferred| {
            if let Some((at, took)) = last_submit {
                state.meter.returned(at, took);
            }
            while let Some(op) = queue.take_queued() {
                self.announcing.ended(op.kind);
                state.complete(op.entry, op.ended(Err(errno)), deferred);
            }
        });
        true
    }

    /// Gives the context to the helper thread. No more operations will come; those that are left
    /// end with it.
    fn end(&mut self, shared: &Arc<Shared>) {
        if let Some(queue) = self.take_queue() {
            shared.destroy(queue, Arc::downgrade(shared));
        }
    }

    /// Takes the queue, to be destroyed.
    pub(super) fn take_queue(&mut self) -> Option<Queue<QueuedOperation>> {
        mem::take(&mut self.queue)
    }
}

/// The operations that have been pushed.
#[derive(Default)]
struct Pushed {
    /// The token of the last operation of each entry.
    tokens: Vec<Option<Token>>,
    /// Those that have not been submitted yet. Emptied by each submit; its allocation is kept.
    unsubmitted: Vec<(usize, Facts)>,
}

impl Pushed {
    /// Notes the operation of an entry that has just been pushed.
    #[inline(always)]
    fn note(
        &mut self,
        entry: usize,
        token: Token,
        queue: &Queue<QueuedOperation>,
        announcing: &mut Announcing,
    ) {
        if self.tokens.len() <= entry {
            self.tokens.resize(entry + 1, None);
        }
        self.tokens[entry] = Some(token);
        if let Some(iocb) = queue.iocb(token) {
            announcing.pushed(Kind::of(&iocb));
            self.unsubmitted.push((entry, Facts::of(&iocb)));
        }
    }

    /// Notes what is about to be submitted, before the call, which may block.
    fn note_submits(&mut self, shared: &Shared, at: Instant) {
        if self.unsubmitted.is_empty() {
            return;
        }
        if let Ok(mut state) = shared.lock() {
            for (entry, facts) in self.unsubmitted.drain(..) {
                state.note_submit(entry, Submitted { facts, at });
            }
        }
        self.unsubmitted.clear();
    }
}
