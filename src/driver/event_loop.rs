//! [`EventLoop`], which moves operations to the kernel and completions back.

use super::Shared;
use super::announced::{Announced, Announcing, Kind as Announcement};
use super::deferred::Deferred;
use super::entry::{EntryRef, QueuedOperation};
use super::helper::Purpose;
use super::stall::Stall;
use super::state::State;
use super::stats::SubmitCounts;
use crate::clock;
use crate::slot::{Tag, Vacancy};
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
    /// Prepared and queued, and not submitted yet. Emptied by each submit; its allocation is kept.
    prepared: Vec<EntryRef>,
    /// The beginning of the last submit and its time, until the next step.
    last_submit: Option<(Instant, Duration)>,
    /// Taken from the queue, and not given to the state yet; its allocation is kept.
    completed: Vec<EntryRef>,
    /// An empty list, for its allocation.
    wakers: Vec<Option<Waker>>,
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
            prepared: Vec::new(),
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
        let announced = self.announced();
        let queue = self.queue.as_mut()?;
        // The reactor, which may have forked, has run since the last time.
        shared.check_process().ok()?;
        loop {
            let mut ready = match queue.ready_piece() {
                Ok(Some(ready)) => ready,
                Ok(None) => return None,
                Err(error) => return Some(error.errno()),
            };
            let &QueuedOperation { entry, announcement } = ready.op();
            self.announcing.ended(announcement);
            let asked = !entry.is_plain.get();
            let goes_on = asked && ready.goes_on();
            let result = ready.take().result;
            if asked {
                // It may have forked.
                shared.check_process().ok()?;
            }
            if !(goes_on && shared.lock().ok()?.begin_piece(entry)) {
                entry.set_result(result);
                self.completed.push(entry);
                continue;
            }
            let (tag, announcement) = push(queue, entry, announced);
            self.announcing.pushed(announcement);
            let mut state = shared.lock().ok()?;
            // The submit of the piece before ends first.
            note_return(&mut self.last_submit, &mut state);
            // It may be cancelled before it is submitted.
            state.note_piece(entry, tag, clock::now());
        }
    }

    /// Returns `true` if an operation was cancelled: it ends without a signal if the kernel did not
    /// have it.
    fn cancel(&mut self, tags: &[Tag]) -> bool {
        let Some(queue) = &mut self.queue else { return false };
        // What cannot be cancelled runs to its end.
        tags.iter().filter(|&&tag| queue.cancel_tag(tag).is_ok()).count() > 0
    }

    fn announced(&self) -> Announced {
        // SAFETY: The event loop keeps it open, and the queue is submitted by the event loop alone.
        let eventfd = unsafe { Fd::<'static>::borrow_raw(self.eventfd.fd().as_raw()) };
        Announced { eventfd, names: self.announcing.names() }
    }

    /// Prepares and queues the operations that were admitted.
    #[inline(always)]
    fn push(&mut self) {
        let announced = self.announced();
        let Some(queue) = &mut self.queue else { return };
        // Off the list first: one that is unwound over is not pushed twice.
        self.prepared.clear();
        mem::swap(&mut self.prepared, &mut self.admitted);
        for &entry in &self.prepared {
            let (tag, announcement) = push(queue, entry, announced);
            entry.tag.set(tag);
            self.announcing.pushed(announcement);
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
        // Before the call, which may block.
        if !self.prepared.is_empty() {
            if let Ok(mut state) = shared.lock() {
                state.note_submit(&self.prepared, start);
            }
            self.prepared.clear();
        }
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
            while let Some(QueuedOperation { entry, announcement }) = queue.take_queued() {
                self.announcing.ended(announcement);
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

/// Prepares an operation, and queues it.
#[inline(always)]
fn push(
    queue: &mut Queue<QueuedOperation>,
    entry: EntryRef,
    announced: Announced,
) -> (Tag, Announcement) {
    let mut announcement = Announcement::Other;
    let make = |vacancy: Vacancy<'_, QueuedOperation>| {
        let tag;
        // SAFETY: The driver has the operation, as that of each entry that it pushes. It leaves it
        // alone until it takes it out of the queue, which is when it has ended.
        (tag, announcement) = unsafe { entry.prepare(announced, vacancy) };
        (QueuedOperation { entry, announcement }, tag)
    };
    // SAFETY: The tag is that of `Vacancy::fill`, which is the last that `prepare` calls.
    let pushed = unsafe { queue.push_made(make) };
    match pushed {
        Some(tag) => (tag, announcement),
        None => unreachable!("no more are admitted than there are slots"),
    }
}
