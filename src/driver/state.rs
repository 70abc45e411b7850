//! [`State`], the table of a driver's operations. Plain data behind the driver's lock.

use super::batching::{Batching, Decision};
use super::deferred::Deferred;
use super::meter::Meter;
use super::overdue::{Overdue, Submitted};
use super::queued_operation::{Ended, Erased};
use super::stall::RETRY_LIMIT;
use super::stats::DriverStats;
use super::timer::{Deadlines, Sleeper};
use crate::Errno;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::mem;
use core::task::Waker;
use core::time::Duration;
use std::time::Instant;

/// The operation of one future: from its first poll until the future has the outcome or the kernel
/// is finished, whichever is later.
enum Entry {
    Vacant,
    /// Waits for a slot, behind those with a lower ticket.
    Waiting {
        op: Box<dyn Erased>,
        waker: Waker,
        ticket: u64,
    },
    /// In the queue, or in the kernel.
    Admitted {
        waker: Waker,
    },
    /// Admitted, and its future has been dropped.
    Abandoned,
    /// Not taken by its future yet.
    Ended(Ended),
}

/// Tells what has become of an operation whose future gives it up.
pub(super) enum GivenUp {
    Ended(Ended),
    /// It waited for a slot.
    NotAdmitted(Box<dyn Erased>),
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
    /// The operation of each entry that has been submitted and has not ended.
    submitted: Vec<Option<Submitted>>,
    /// Entries that have been abandoned and are to be cancelled.
    cancels: Vec<usize>,
    batching: Batching,
    deadlines: Deadlines,
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
            submitted: Vec::new(),
            cancels: Vec::new(),
            batching: Batching::default(),
            deadlines: Deadlines::default(),
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
        op: Box<dyn Erased>,
        waker: Waker,
        deferred: &mut Deferred,
    ) -> Result<usize, (Errno, Box<dyn Erased>)> {
        if let Some(errno) = self.refusal {
            deferred.drop_waker(waker);
            return Err((errno, op));
        }
        let entry = self.vacant.pop().unwrap_or_else(|| {
            self.entries.push(Entry::Vacant);
            self.entries.len() - 1
        });
        let ticket = self.ticket();
        self.fill(entry, Entry::Waiting { op, waker, ticket });
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
        if !matches!(self.entries[entry], Entry::Ended(_)) {
            return None;
        }
        self.meter.polled(entry);
        match self.vacate(entry) {
            Entry::Ended(ended) => Some(ended),
            _ => unreachable!("the entry has ended, as was checked"),
        }
    }

    /// Replaces the waker of an entry that has not ended.
    pub(super) fn set_waker(&mut self, entry: usize, new: Waker, deferred: &mut Deferred) {
        let unused = match &mut self.entries[entry] {
            Entry::Waiting { waker, .. } | Entry::Admitted { waker } => mem::replace(waker, new),
            _ => new,
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
        self.deadlines.clear(Sleeper::Operation(entry));
        match mem::replace(&mut self.entries[entry], Entry::Abandoned) {
            Entry::Waiting { op, waker, ticket } => {
                let at = self.waiting.binary_search_by_key(&ticket, |&(ticket, _)| ticket);
                self.waiting.remove(at.expect("every entry that waits is on the list"));
                self.vacate(entry);
                self.stats.completed += 1;
                deferred.drop_waker(waker);
                // Perhaps it was the last.
                (GivenUp::NotAdmitted(op), self.is_drained())
            }
            Entry::Admitted { waker } => {
                self.cancels.push(entry);
                deferred.drop_waker(waker);
                (GivenUp::Left, true)
            }
            Entry::Ended(ended) => {
                self.vacate(entry);
                (GivenUp::Ended(ended), false)
            }
            Entry::Vacant | Entry::Abandoned => unreachable!("a future is dropped once"),
        }
    }

    /// Has the future of an entry woken at that time, unless it is woken before.
    pub(super) fn set_deadline(&mut self, entry: usize, at: Instant, deferred: &mut Deferred) {
        if self.deadlines.set(Sleeper::Operation(entry), at) {
            deferred.arm = Some(at);
        }
    }

    /// Wakes the futures whose deadlines have passed, and has the timer armed for the next.
    pub(super) fn expire(&mut self, now: Instant, deferred: &mut Deferred) {
        while let Some(sleeper) = self.deadlines.take_due(now) {
            let waker = match sleeper {
                Sleeper::Operation(entry) => match &mut self.entries[entry] {
                    Entry::Waiting { waker, .. } | Entry::Admitted { waker } => {
                        Some(mem::replace(waker, Waker::noop().clone()))
                    }
                    // Its deadline went when it ended.
                    _ => None,
                },
                Sleeper::Closer(ticket) => self.closers.remove(&ticket),
            };
            waker.into_iter().for_each(|waker| deferred.wake(waker));
        }
        deferred.arm = self.deadlines.next();
    }

    /// Replaces a vacant entry.
    #[inline(always)]
    fn fill(&mut self, entry: usize, new: Entry) {
        let vacant = mem::replace(&mut self.entries[entry], new);
        debug_assert!(matches!(vacant, Entry::Vacant));
        // There is nothing in it to be dropped, which the compiler does not know.
        mem::forget(vacant);
    }

    fn vacate(&mut self, entry: usize) -> Entry {
        self.vacant.push(entry);
        mem::replace(&mut self.entries[entry], Entry::Vacant)
    }

    // ---- the event loop's side ----

    /// Moves operations that wait to `admitted`, oldest first, while there are free slots.
    pub(super) fn admit(&mut self, admitted: &mut Vec<(usize, Box<dyn Erased>)>) {
        self.batching.note_step(self.waiting.len());
        while self.admitted < self.capacity {
            let Some((entry, op, waker)) = self.next_waiting() else { return };
            self.fill(entry, Entry::Admitted { waker });
            admitted.push((entry, op));
            self.admitted += 1;
        }
    }

    /// Notes that the operation of an entry is about to be submitted.
    pub(super) fn note_submit(&mut self, entry: usize, submitted: Submitted) {
        if self.submitted.len() <= entry {
            self.submitted.resize(entry + 1, None);
        }
        self.meter.submits(entry, &submitted);
        self.submitted[entry] = Some(submitted);
    }

    /// Lists the operations that were submitted so long before `now`, the oldest first.
    pub(super) fn overdue(&self, age: Duration, now: Instant) -> Vec<Overdue> {
        let of_entry = |(entry, submitted): (usize, &Option<Submitted>)| {
            let submitted = submitted.as_ref()?;
            let since = now.saturating_duration_since(submitted.at);
            let abandoned = matches!(self.entries[entry], Entry::Abandoned);
            (since >= age).then(|| submitted.overdue(since, abandoned))
        };
        let mut overdue: Vec<_> = self.submitted.iter().enumerate().filter_map(of_entry).collect();
        overdue.sort_by_key(|operation| core::cmp::Reverse(operation.age));
        overdue
    }

    /// Returns whether the future of an entry is there.
    pub(super) fn is_awaited(&self, entry: usize) -> bool {
        !matches!(self.entries[entry], Entry::Abandoned)
    }

    /// Notes that operations were submitted, and that those which ended inside of `io_submit` have
    /// been completed.
    pub(super) fn note_submitted(&mut self) {
        self.batching.note_submitted(self.admitted);
    }

    /// Takes the operation that has waited for a slot the longest. Its entry is to be filled.
    #[inline(always)]
    fn next_waiting(&mut self) -> Option<(usize, Box<dyn Erased>, Waker)> {
        let (_, entry) = self.waiting.pop_front()?;
        match mem::replace(&mut self.entries[entry], Entry::Vacant) {
            Entry::Waiting { op, waker, .. } => Some((entry, op, waker)),
            _ => unreachable!("every entry on the list waits"),
        }
    }

    /// Takes the entries that have been abandoned since the last call.
    pub(super) fn take_cancels(&mut self) -> Vec<usize> {
        mem::take(&mut self.cancels)
    }

    /// Stores the outcome of an operation that was admitted, and has its future woken.
    pub(super) fn complete(&mut self, entry: usize, ended: Ended, deferred: &mut Deferred) {
        self.admitted -= 1;
        self.stats.completed += 1;
        self.meter.completed(entry, &ended);
        // Absent only if the process forked before the submit.
        if let Some(submitted) = self.submitted.get_mut(entry) {
            *submitted = None;
        }
        match mem::replace(&mut self.entries[entry], Entry::Vacant) {
            Entry::Admitted { waker } => self.end(entry, ended, waker, deferred),
            _ => {
                self.vacant.push(entry);
                deferred.discard(ended);
            }
        }
    }

    #[inline(always)]
    fn end(&mut self, entry: usize, ended: Ended, waker: Waker, deferred: &mut Deferred) {
        self.deadlines.clear(Sleeper::Operation(entry));
        self.fill(entry, Entry::Ended(ended));
        deferred.wake(waker);
    }

    // ---- the end ----

    /// Takes no more operations. Returns the ticket of a caller that waits for the end.
    pub(super) fn close(&mut self, deferred: &mut Deferred) -> u64 {
        self.refusal.get_or_insert(Errno::ECANCELED);
        deferred.run_now = self.is_drained();
        self.ticket()
    }

    /// Does the same, and has the caller woken at the deadline.
    pub(super) fn close_until(
        &mut self,
        deadline: Option<Instant>,
        deferred: &mut Deferred,
    ) -> u64 {
        let closer = self.close(deferred);
        deferred.arm = deadline.filter(|&at| self.deadlines.set(Sleeper::Closer(closer), at));
        closer
    }

    /// Takes no more operations, since events cannot be had any more, for this reason. Ends those
    /// that wait for a slot; those that are admitted end with the context.
    pub(super) fn fail(&mut self, errno: Errno, deferred: &mut Deferred) {
        self.refusal = Some(errno);
        self.end_waiting(errno, deferred);
    }

    /// Ends the operations that wait for a slot.
    pub(super) fn end_waiting(&mut self, errno: Errno, deferred: &mut Deferred) {
        while let Some((entry, op, waker)) = self.next_waiting() {
            self.end(entry, Ended::Done { result: Err(errno), op }, waker, deferred);
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
        self.deadlines.clear(Sleeper::Closer(closer));
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
