//! [`EventLoop`], which moves operations to the kernel and completions back.

use super::Shared;
use super::announced::{Announced, Announcing, Kind};
use super::deferred::Deferred;
use super::entry::{EntryRef, QueuedOperation};
use super::helper::Purpose;
use super::overdue::Facts;
use super::stall::Stall;
use super::state::State;
use super::stats::SubmitCounts;
use crate::clock;
use crate::slot::Tag;
use crate::{CallError, Errno, EventFd, Fd, Queue};
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
    admitted: Vec<EntryRef>,
    /// Pushed, and not submitted yet. Emptied by each submit; its allocation is kept.
    pushed: Vec<EntryRef>,
    /// The beginning of the last submit and its time, until the next step.
    last_submit: Option<(Instant, Duration)>,
    /// Taken from the queue, and not given to the state yet; its allocation is kept.
    completed: Vec<EntryRef>,
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
        note_return(&mut self.last_submit, &mut state);
        state.complete_all(&mut self.completed, &mut deferred);
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
                let tag = ready.push_again().tag();
                let Some(iocb) = queue.iocb_of(tag) else { continue };
                self.announcing.pushed(Kind::of(&iocb, names));
                // It may be cancelled before it is submitted.
                if let Ok(mut state) = shared.lock() {
                    // The submit of the piece before ends first.
                    note_return(&mut self.last_submit, &mut state);
                    entry.tag.set(tag);
                    state.note_submit(entry, Facts::of(&iocb), clock::now());
                }
            } else {
                entry.set_result(ready.take().result);
                self.completed.push(entry);
            }
        }
    }

    /// Returns `true` if an operation was cancelled: it ends without a signal if the kernel did not
    /// have it.
    fn cancel(&mut self, tags: &[Tag]) -> bool {
        let Some(queue) = &mut self.queue else { return false };
        // What cannot be cancelled runs to its end.
        tags.iter().filter(|&&tag| queue.cancel_tag(tag).is_ok()).count() > 0
    }

    #[inline(always)]
    fn push(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        // SAFETY: The event loop keeps it open, and the queue is submitted by the event loop alone.
        let eventfd = unsafe { Fd::<'static>::borrow_raw(self.eventfd.fd().as_raw()) };
        let names = self.announcing.names();
        // Off the list first: one that is unwound over is not pushed twice.
        for entry in self.admitted.drain(..) {
            let announced = Announced { eventfd, names, kind: Kind::Other };
            match queue.push_and_show(QueuedOperation { entry, announced }) {
                Ok((tag, iocb)) => {
                    entry.tag.set(tag);
                    self.announcing.pushed(Kind::of(iocb, names));
                    self.pushed.push(entry);
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
        note_submits(&mut self.pushed, queue, shared, start);
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
        let _ = shared.with_state(|state, deferred| {
            note_return(&mut self.last_submit, state);
            while let Some(QueuedOperation { entry, announced }) = queue.take_queued() {
                self.announcing.ended(announced.kind);
                entry.set_result(Err(errno));
                self.completed.push(entry);
            }
            state.complete_all(&mut self.completed, deferred);
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

/// Notes how long the last submit took, once.
#[inline(always)]
fn note_return(last_submit: &mut Option<(Instant, Duration)>, state: &mut State) {
    if let Some((at, took)) = last_submit.take() {
        state.meter.returned(at, took);
    }
}

/// Notes what is about to be submitted, before the call, which may block.
#[inline(always)]
fn note_submits(
    pushed: &mut Vec<EntryRef>,
    queue: &Queue<QueuedOperation>,
    shared: &Shared,
    at: Instant,
) {
    if pushed.is_empty() {
        return;
    }
    if let Ok(mut state) = shared.lock() {
        for &entry in &*pushed {
            if let Some(iocb) = queue.iocb_of(entry.tag.get()) {
                state.note_submit(entry, Facts::of(&iocb), at);
            }
        }
    }
    pushed.clear();
}
