//! [`State`], the table of a driver's operations. Plain data behind the driver's lock.

use super::batching::{Batching, Decision};
use super::deferred::Deferred;
use super::entry::{self, Phase};
use super::held::Held;
use super::meter::Meter;
use super::overdue::{Overdue, Submitted};
use super::queued_operation::{Ended, Sent};
use super::stall::RETRY_LIMIT;
use super::stats::DriverStats;
use crate::Errno;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::mem;
use core::task::Waker;
use core::time::Duration;
use std::time::Instant;

type Entry = entry::Entry<Sent, Option<Submitted>>;

/// Tells what has become of an operation whose future gives it up.
pub(super) enum GivenUp {
    Ended(Ended),
    /// It waited for a slot.
    NotAdmitted(Held<Sent>),
    /// It is in the queue or in the kernel, and stays with the driver.
    Left,
}

pub(super) struct State {
    entries: Vec<Entry>,
    vacant: Vec<usize>,
    /// Tickets and entries that wait for a slot, oldest first.
    waiting: VecDeque<(u64, usize)>,
    next_ticket: u64,
    /// The number of entries that are admitted or abandoned; at most `capacity`.
    admitted: usize,
    capacity: usize,
    /// Entries that have been abandoned and are to be cancelled.
    cancels: Vec<usize>,
    batching: Batching,
    pub(super) meter: Meter,
    /// The reason if no more operations are taken.
    refusal: Option<Errno>,
    /// The context has ended.
    destroyed: bool,
    /// The callers that wait for that, by ticket.
    closers: BTreeMap<u64, Waker>,
    pub(super) stats: DriverStats,
    /// The time after which queued operations end, if the kernel takes none of them.
    pub(super) retry_limit: Duration,
}

impl State {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: Vec::new(),
            vacant: Vec::new(),
            waiting: VecDeque::new(),
            next_ticket: 0,
            admitted: 0,
            capacity,
            cancels: Vec::new(),
            batching: Batching::default(),
            meter: Meter::default(),
            refusal: None,
            destroyed: false,
            closers: BTreeMap::new(),
            stats: DriverStats::default(),
            retry_limit: RETRY_LIMIT,
        }
    }

    pub(super) fn outstanding(&self) -> usize {
        self.waiting.len() + self.admitted
    }

    /// Returns whether every operation has ended and no more will come.
    pub(super) fn is_drained(&self) -> bool {
        self.refusal.is_some() && self.outstanding() == 0
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    // ---- a future's side ----

    /// Takes over the operation of a future, and returns its entry; or gives it back, with the
    /// reason.
    pub(super) fn start(
        &mut self,
        op: Held<Sent>,
        waker: Waker,
        deferred: &mut Deferred,
    ) -> Result<usize, (Errno, Held<Sent>)> {
        if let Some(errno) = self.refusal {
            deferred.drop_waker(waker);
            return Err((errno, op));
        }
        let entry = self.vacant.pop().unwrap_or_else(|| {
            self.entries.push(Entry::default());
            self.entries.len() - 1
        });
        let ticket = self.ticket();
        self.entries[entry].start(op, waker, ticket);
        self.waiting.push_back((ticket, entry));
        self.stats.submitted += 1;
        self.meter.started(entry);
        self.submit_now_or_later(deferred);
        Ok(entry)
    }

    /// Has the operations that wait submitted, now or later.
    fn submit_now_or_later(&mut self, deferred: &mut Deferred) {
        let (waiting, admitted) = (self.waiting.len(), self.admitted);
        match self.batching.decide(self.next_ticket, waiting, admitted, self.capacity) {
            Decision::Now => deferred.run_now = true,
            Decision::AfterReadyTasks => deferred.run_later = true,
            Decision::WithNextStep => {}
        }
    }

    /// Takes the outcome of an entry's operation. Returns `None` if it has not ended.
    pub(super) fn take_end(&mut self, entry: usize) -> Option<Ended> {
        if self.entries[entry].phase != Phase::Ended {
            return None;
        }
        self.meter.polled(entry);
        self.vacate(entry);
        self.entries[entry].take_ended()
    }

    /// Replaces the waker of an entry that has not ended.
    pub(super) fn set_waker(&mut self, entry: usize, new: Waker, deferred: &mut Deferred) {
        let unused = match &mut self.entries[entry].waker {
            Some(waker) => mem::replace(waker, new),
            None => new,
        };
        deferred.drop_waker(unused);
    }

    /// Handles the drop of an entry's future. Cancels the operation if the kernel can; otherwise it
    /// keeps its slot and its buffer to its end.
    pub(super) fn abandon(&mut self, entry: usize, deferred: &mut Deferred) {
        let (left, run) = self.leave(entry, deferred);
        match left {
            GivenUp::NotAdmitted(op) => deferred.drop_op(op),
            GivenUp::Ended(ended) => deferred.discard(ended),
            GivenUp::Left => {}
        }
        deferred.run_now = run;
    }

    /// Does the same for a future whose deadline has passed. Gives back what the kernel does not
    /// have.
    pub(super) fn give_up(&mut self, entry: usize, deferred: &mut Deferred) -> GivenUp {
        let (left, run) = self.leave(entry, deferred);
        // The task has asked for a bound, and `io_submit` has none.
        deferred.run_on_helper = run;
        left
    }

    /// Parts an entry from its future. Returns also whether the event loop is to run.
    fn leave(&mut self, entry: usize, deferred: &mut Deferred) -> (GivenUp, bool) {
        let left = &mut self.entries[entry];
        left.waker.take().into_iter().for_each(|waker| deferred.drop_waker(waker));
        match left.phase {
            Phase::Waiting => {
                let (op, ticket) = (left.op.take(), left.ticket);
                let at = self.waiting.binary_search_by_key(&ticket, |&(ticket, _)| ticket);
                self.waiting.remove(at.expect("every entry that waits is on the list"));
                self.vacate(entry);
                self.stats.completed += 1;
                let op = op.expect("an entry that waits has its operation");
                // Perhaps it was the last.
                (GivenUp::NotAdmitted(op), self.is_drained())
            }
            Phase::Admitted => {
                left.phase = Phase::Abandoned;
                self.cancels.push(entry);
                (GivenUp::Left, true)
            }
            Phase::Ended => {
                let ended = left.take_ended();
                self.vacate(entry);
                (GivenUp::Ended(ended.expect("it has ended")), false)
            }
            Phase::Vacant | Phase::Abandoned => unreachable!("a future is dropped once"),
        }
    }

    #[inline(always)]
    fn vacate(&mut self, entry: usize) {
        self.entries[entry].phase = Phase::Vacant;
        self.vacant.push(entry);
    }

    // ---- the event loop's side ----

    /// Moves operations that wait to `admitted`, oldest first, while there are free slots.
    pub(super) fn admit(&mut self, admitted: &mut Vec<(usize, Held<Sent>)>) {
        self.batching.note_step(self.waiting.len());
        while self.admitted < self.capacity {
            let Some((entry, op)) = self.next_waiting() else { return };
            self.entries[entry].phase = Phase::Admitted;
            admitted.push((entry, op));
            self.admitted += 1;
        }
    }

    /// Notes that the operation of an entry is about to be submitted.
    pub(super) fn note_submit(&mut self, entry: usize, submitted: Submitted) {
        self.meter.submits(entry, &submitted);
        self.entries[entry].noted = Some(submitted);
    }

    /// Lists the operations that were submitted so long before `now`, the oldest first.
    pub(super) fn overdue(&self, age: Duration, now: Instant) -> Vec<Overdue> {
        let of_entry = |entry: &Entry| {
            let submitted = entry.noted.as_ref()?;
            let since = now.saturating_duration_since(submitted.at);
            let abandoned = entry.phase == Phase::Abandoned;
            (since >= age).then(|| submitted.overdue(since, abandoned))
        };
        let mut overdue: Vec<_> = self.entries.iter().filter_map(of_entry).collect();
        overdue.sort_by_key(|operation| core::cmp::Reverse(operation.age));
        overdue
    }

    /// Returns whether the future of an entry is there.
    pub(super) fn is_awaited(&self, entry: usize) -> bool {
        self.entries[entry].phase != Phase::Abandoned
    }

    /// Notes that operations were submitted, and that those which ended inside of `io_submit` have
    /// been completed.
    pub(super) fn note_submitted(&mut self) {
        self.batching.note_submitted(self.admitted);
    }

    /// Takes the operation that has waited for a slot the longest. Its entry keeps the waker.
    #[inline(always)]
    fn next_waiting(&mut self) -> Option<(usize, Held<Sent>)> {
        let (_, entry) = self.waiting.pop_front()?;
        let op = self.entries[entry].op.take();
        Some((entry, op.expect("every entry on the list waits")))
    }

    /// Takes the entries that have been abandoned since the last call.
    pub(super) fn take_cancels(&mut self) -> Vec<usize> {
        mem::take(&mut self.cancels)
    }

    /// Stores the outcome of an operation that was admitted, and has its future woken.
    pub(super) fn complete(&mut self, entry: usize, ended: Ended, deferred: &mut Deferred) {
        self.admitted -= 1;
        self.stats.completed += 1;
        self.meter.completed(entry, ended.count());
        let admitted = &mut self.entries[entry];
        admitted.noted = None;
        match admitted.phase {
            Phase::Admitted => self.end(entry, ended, deferred),
            _ => {
                self.vacate(entry);
                deferred.discard(ended);
            }
        }
    }

    #[inline(always)]
    fn end(&mut self, entry: usize, ended: Ended, deferred: &mut Deferred) {
        let entry = &mut self.entries[entry];
        match ended {
            Ended::Done { result, op } => entry.end(op, result, None),
            Ended::Panicked { payload, op } => entry.end(op, Ok(0), Some(payload)),
        }
        entry.waker.take().into_iter().for_each(|waker| deferred.wake(waker));
    }

    // ---- the end ----

    /// Takes no more operations. Returns the ticket of a caller that waits for the end.
    pub(super) fn close(&mut self, deferred: &mut Deferred) -> u64 {
        self.refusal.get_or_insert(Errno::ECANCELED);
        deferred.run_now = self.is_drained();
        self.ticket()
    }

    /// Takes no more operations, since events cannot be had any more, for this reason. Ends those
    /// that wait for a slot; those that are admitted end with the context.
    pub(super) fn fail(&mut self, errno: Errno, deferred: &mut Deferred) {
        self.refusal = Some(errno);
        self.end_waiting(errno, deferred);
    }

    /// Ends the operations that wait for a slot.
    pub(super) fn end_waiting(&mut self, errno: Errno, deferred: &mut Deferred) {
        while let Some((entry, op)) = self.next_waiting() {
            self.end(entry, Ended::Done { result: Err(errno), op }, deferred);
            self.stats.completed += 1;
        }
    }

    /// Returns whether the context has ended. If not, `waker` will be called then.
    pub(super) fn poll_destroyed(
        &mut self,
        closer: u64,
        waker: Waker,
        deferred: &mut Deferred,
    ) -> bool {
        let unused = match self.destroyed {
            true => Some(waker),
            false => self.closers.insert(closer, waker),
        };
        if let Some(unused) = unused {
            deferred.drop_waker(unused);
        }
        self.destroyed
    }

    /// Forgets a caller that waited for the end.
    pub(super) fn forget_closer(&mut self, closer: u64, deferred: &mut Deferred) {
        if let Some(waker) = self.closers.remove(&closer) {
            deferred.drop_waker(waker);
        }
    }

    /// Notes that the context has ended, and wakes the callers that wait for it.
    pub(super) fn set_destroyed(&mut self, deferred: &mut Deferred) {
        self.destroyed = true;
        mem::take(&mut self.closers).into_values().for_each(|waker| deferred.wake(waker));
    }
}
