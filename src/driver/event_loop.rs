//! [`EventLoop`], which moves operations to the kernel and completions back.

use super::Shared;
use super::announced::{Announced, Kind, transfers};
use super::announcing::Announcing;
use super::deferred::Deferred;
use super::helper::Purpose;
use super::overdue::Facts;
use super::queued_operation::{Ended, QueuedOperation};
use super::stall::Stall;
use super::state::{Pushed, Waiting};
use super::stats::SubmitCounts;
use crate::clock;
use crate::{CallError, Errno, EventFd, Fd, Iocb, Queue, Token};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::task::Waker;
use core::time::Duration;
use std::time::Instant;

/// The queue, and what else only the thread in the event loop needs.
pub(super) struct EventLoop {
    /// `None` when the driver has been closed.
    queue: Option<Queue<QueuedOperation>>,
    eventfd: Arc<EventFd>,
    /// Taken from the state, and not pushed yet; its allocation is kept.
    admitted: Vec<Waiting>,
    /// Pushed, and not submitted yet. Emptied by each submit; its allocation is kept.
    pushed: Vec<Pushed>,
    /// The beginning of the last submit and its time, until the next step.
    last_submit: Option<(Instant, Duration)>,
    /// Taken from the queue, and not given to the state yet; its allocation is kept.
    completed: Vec<(usize, Ended)>,
    /// An empty list, for its allocation.
    wakers: Vec<Waker>,
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
            pushed: Vec::new(),
            last_submit: None,
            completed: Vec::new(),
            wakers: Vec::new(),
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
        let mut deferred = Deferred::with_list(mem::take(&mut self.wakers));
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
        self.wakers = shared.finish(deferred);
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
            self.announcing.ended(ready.op().announced.kind);
            if ready.goes_on() && shared.is_awaited(entry) {
                let names = self.announcing.names();
                ready.op_mut().announced.names = names;
                let token = ready.push_again();
                if let Some(iocb) = queue.iocb(token) {
                    note(&mut self.pushed, &mut self.announcing, entry, token, names, &iocb);
                }
                // It may be cancelled before it is submitted.
                if let Ok(mut state) = shared.lock() {
                    state.note_token(entry, token);
                }
            } else {
                let done = ready.take();
                self.completed.push((entry, done.op.ended(done.result)));
            }
        }
    }

    /// Returns `true` if an operation was cancelled: it ends without a signal if the kernel did not
    /// have it.
    fn cancel(&mut self, tokens: &[Token]) -> bool {
        let Some(queue) = &mut self.queue else { return false };
        // What cannot be cancelled runs to its end.
        tokens.iter().filter(|&&token| queue.cancel(token).is_ok()).count() > 0
    }

    #[inline(always)]
    fn push(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        // SAFETY: The event loop keeps it open, and the queue is submitted by the event loop alone.
        let eventfd = unsafe { Fd::<'static>::borrow_raw(self.eventfd.fd().as_raw()) };
        let names = self.announcing.names();
        for Waiting { entry, op } in self.admitted.drain(..) {
            let announced = Announced { eventfd, names, kind: Kind::Other };
            match queue.push_and_show(QueuedOperation { op, panic: None, entry, announced }) {
                Ok((token, iocb)) => {
                    note(&mut self.pushed, &mut self.announcing, entry, token, names, iocb);
                }
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
        note_submits(&mut self.pushed, shared, start);
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
                self.announcing.ended(op.announced.kind);
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

/// Notes an operation that has just been pushed.
#[inline(always)]
fn note(
    pushed: &mut Vec<Pushed>,
    announcing: &mut Announcing,
    entry: usize,
    token: Token,
    names: bool,
    iocb: &Iocb,
) {
    announcing.pushed(Kind::new(transfers(iocb.opcode()), names));
    pushed.push(Pushed { entry, token, facts: Facts::of(iocb) });
}

/// Notes what is about to be submitted, before the call, which may block.
#[inline(always)]
fn note_submits(pushed: &mut Vec<Pushed>, shared: &Shared, at: Instant) {
    if pushed.is_empty() {
        return;
    }
    if let Ok(mut state) = shared.lock() {
        for pushed in &*pushed {
            state.note_submit(pushed, at);
        }
    }
    pushed.clear();
}
