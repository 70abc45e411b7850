//! [`State`], what a driver knows of its operations. Plain data behind the driver's lock.

use super::batching::{Batching, Decision};
use super::deferred::{Deferred, Discards};
use super::entry::EntryRef;
use super::meter::Meter;
use super::overdue::{Overdue, Submitted, late};
use super::stall::RETRY_LIMIT;
use super::stats::DriverStats;
use crate::Errno;
use crate::slot::Tag;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use core::mem;
use core::task::Waker;
use core::time::Duration;
use std::time::Instant;

/// Tells what has become of an operation whose future gives it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// It has ended, and is its future's.
    Ended,
    /// It waited for a slot, and is its future's again.
    NotAdmitted,
    /// It is in the queue or in the kernel, and stays with the driver.
    Left,
}

/// Gives numbers to the operations that are measured.
#[derive(Default)]
struct Marks {
    /// All numbers are below this.
    count: usize,
    /// The numbers below that are in use by no operation.
    vacant: Vec<usize>,
}

pub(super) struct State {
    /// Those that wait for a slot, oldest first, which is by ticket: first all of `held`, which a
    /// step has found no slot for.
    held: VecDeque<EntryRef>,
    waiting: Vec<EntryRef>,
    /// So many operations may come, less one, before there is to be decided when they are
    /// submitted. Then nothing else of them need be looked at: operations are taken, and are not
    /// measured.
    credit: i32,
    last_ticket: u64,
    /// The ticket of the last operation that was admitted: all up to it have been.
    admitted_to: u64,
    /// The number of operations that were admitted and have not ended; at most `capacity`.
    admitted: usize,
    capacity: usize,
    /// The ticket of the last operation that was submitted: all up to it have been. Those above it
    /// that were admitted are being prepared.
    submitted_to: u64,
    /// Operations that have been submitted and abandoned, and are to be cancelled.
    cancels: Vec<Tag>,
    /// Operations that were abandoned while they were being prepared.
    abandoned_early: Vec<EntryRef>,
    /// The operations in the queue or the kernel that have been submitted, by slot.
    in_kernel: Vec<Option<EntryRef>>,
    submits: Submits,
    marks: Marks,
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
            held: VecDeque::new(),
            waiting: Vec::new(),
            credit: 0,
            last_ticket: 0,
            admitted_to: 0,
            admitted: 0,
            capacity,
            submitted_to: 0,
            cancels: Vec::new(),
            abandoned_early: Vec::new(),
            in_kernel: vec![None; capacity],
            submits: Submits::default(),
            marks: Marks::default(),
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
        self.waiting() + self.admitted
    }

    #[inline(always)]
    fn waiting(&self) -> usize {
        self.held.len() + self.waiting.len()
    }

    /// Returns whether every operation has ended and no more will come.
    pub(super) fn is_drained(&self) -> bool {
        self.refusal.is_some() && self.outstanding() == 0
    }

    fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    // ---- a future's side ----

    /// Returns why no more operations are taken, if that is so.
    #[inline(always)]
    pub(super) fn refusal(&self) -> Option<Errno> {
        // With credit there is none.
        if self.credit > 1 { None } else { self.looked_at_refusal() }
    }

    #[cold]
    fn looked_at_refusal(&self) -> Option<Errno> {
        self.refusal
    }

    /// Sets why no more operations are taken.
    fn refuse(&mut self, errno: Errno) {
        self.refusal = Some(errno);
        self.credit = 0;
    }

    /// Begins to measure operations, or ends it.
    pub(super) fn measure(&mut self, on: bool) {
        self.meter.turn(on);
        self.credit = 0;
    }

    /// Takes over the operation of a future. Returns when it is submitted. Only if operations are
    /// taken.
    #[inline(always)]
    pub(super) fn start(&mut self, entry: EntryRef, waker: Waker) -> Decision {
        entry.ticket.set(self.ticket());
        entry.fill_waker(waker);
        self.waiting.push(entry);
        self.stats.submitted += 1;
        self.credit -= 1;
        if self.credit > 0 { Decision::WithNextStep } else { self.decide(entry) }
    }

    /// Decides when the operation is submitted, which has come last.
    #[inline(never)]
    fn decide(&mut self, entry: EntryRef) -> Decision {
        let (waiting, admitted) = (self.waiting(), self.admitted);
        let decision = self.batching.decide(self.last_ticket, waiting, admitted, self.capacity);
        self.credit = self.batching.until_look(waiting, admitted);
        if self.meter.is_on() {
            self.mark(entry);
            self.credit = 0;
        }
        decision
    }

    /// Begins to measure an operation.
    #[cold]
    fn mark(&mut self, entry: EntryRef) {
        let mark = self.marks.vacant.pop().unwrap_or_else(|| {
            self.marks.count += 1;
            self.marks.count - 1
        });
        entry.mark.set(mark);
        entry.is_measured.set(true);
        self.meter.started(mark);
    }

    /// Notes that the future of an operation that is measured has its outcome.
    #[cold]
    pub(super) fn polled(&mut self, entry: EntryRef) {
        self.meter.polled(entry.mark.get());
        self.unmark(entry);
    }

    /// Forgets the mark of an operation that is measured, if it is.
    fn unmark(&mut self, entry: EntryRef) {
        if entry.is_measured.replace(false) {
            self.marks.vacant.push(entry.mark.get());
        }
    }

    /// Replaces the waker of an entry, unless its operation has ended.
    pub(super) fn set_waker(&mut self, entry: EntryRef, new: Waker, deferred: &mut Deferred) {
        let unused = match entry.has_ended() {
            true => Some(new),
            false => entry.waker.replace(Some(new)),
        };
        unused.into_iter().for_each(|waker| deferred.drop_waker(waker));
    }

    /// Handles the drop of an entry's future. Cancels the operation if the kernel can; otherwise it
    /// keeps its slot and its buffer to its end.
    ///
    /// # Safety
    /// The caller is the future of the entry, has started it, and forgets it.
    pub(super) unsafe fn abandon(&mut self, entry: EntryRef, deferred: &mut Deferred) {
        let (left, run) = self.leave(entry, deferred);
        if left != GivenUp::Left {
            // SAFETY: The entry is its future's again, which forgets it (promise of the caller).
            unsafe { deferred.discard(entry) };
        }
        deferred.run_now = run;
    }

    /// Does the same for a future whose deadline has passed. Unless the operation is left with the
    /// driver, the entry is the future's then.
    pub(super) fn give_up(&mut self, entry: EntryRef, deferred: &mut Deferred) -> GivenUp {
        let (left, run) = self.leave(entry, deferred);
        // The task has asked for a bound, and `io_submit` has none.
        deferred.run_on_helper = run;
        left
    }

    /// Parts an entry from its future. Returns also whether the event loop is to run.
    fn leave(&mut self, entry: EntryRef, deferred: &mut Deferred) -> (GivenUp, bool) {
        if entry.has_ended() {
            self.unmark(entry);
            return (GivenUp::Ended, false);
        }
        entry.waker.take().into_iter().for_each(|waker| deferred.drop_waker(waker));
        let ticket = entry.ticket.get();
        if ticket <= self.admitted_to {
            debug_assert!(!entry.is_abandoned.get(), "a future is dropped once");
            entry.is_abandoned.set(true);
            if ticket <= self.submitted_to {
                self.cancels.push(entry.tag.get());
            } else {
                // It is cancelled when it has been submitted.
                self.abandoned_early.push(entry);
            }
            return (GivenUp::Left, true);
        }
        self.hold();
        let at = self.held.binary_search_by_key(&ticket, |entry| entry.ticket.get());
        let waiting = at.ok().and_then(|at| self.held.remove(at));
        assert!(waiting == Some(entry), "every entry that waits is on the list");
        self.unmark(entry);
        self.stats.completed += 1;
        // Perhaps it was the last.
        (GivenUp::NotAdmitted, self.is_drained())
    }

    // ---- the event loop's side ----

    /// Moves operations that wait to `admitted`, oldest first, while there are free slots.
    pub(super) fn admit(&mut self, admitted: &mut Vec<EntryRef>) {
        let (waiting, free) = (self.waiting(), self.capacity - self.admitted);
        self.batching.note_step(waiting);
        self.credit = 0;
        if self.held.is_empty() && waiting <= free && admitted.is_empty() {
            // All at once, and none is looked at.
            mem::swap(admitted, &mut self.waiting);
            self.admitted += waiting;
            self.admitted_to = self.last_ticket;
        } else {
            self.admit_some(waiting.min(free), admitted);
        }
    }

    #[cold]
    fn admit_some(&mut self, count: usize, admitted: &mut Vec<EntryRef>) {
        self.hold();
        for entry in self.held.drain(..count) {
            self.admitted += 1;
            self.admitted_to = entry.ticket.get();
            admitted.push(entry);
        }
    }

    /// Puts all that wait on one list.
    fn hold(&mut self) {
        self.held.extend(self.waiting.drain(..));
    }

    /// Notes that all operations that were admitted are about to be submitted. Those which have
    /// been prepared since the last time are `prepared`.
    #[inline(always)]
    pub(super) fn note_submit(&mut self, prepared: &[EntryRef], at: Instant) {
        for &entry in prepared {
            if let Some(place) = self.in_kernel.get_mut(entry.tag.get().index() as usize) {
                *place = Some(entry);
            }
        }
        if self.admitted == prepared.len() {
            // All of those before have ended.
            self.submits.0.clear();
        }
        if self.submits.0.len() >= Submits::MANY.max(2 * self.in_kernel.len()) {
            // No more submits than slots have operations in the kernel.
            let in_kernel = self.in_kernel.iter().flatten();
            self.submits.keep_those_of(in_kernel.map(|entry| entry.ticket.get()).collect());
        }
        self.submits.0.push((self.admitted_to, at));
        self.submitted_to = self.admitted_to;
        if self.meter.is_on() || !self.abandoned_early.is_empty() {
            self.note_rest(prepared, at);
        }
    }

    #[cold]
    fn note_rest(&mut self, prepared: &[EntryRef], at: Instant) {
        self.cancels.extend(self.abandoned_early.drain(..).map(|entry| entry.tag.get()));
        prepared.iter().for_each(|&entry| self.measure_submit(entry, at));
    }

    fn measure_submit(&mut self, entry: EntryRef, at: Instant) {
        if entry.is_measured.get() {
            let facts = entry.facts.get();
            self.meter.submits(entry.mark.get(), &Submitted { facts, at });
        }
    }

    /// Lets the event loop prepare the next piece of an operation. Returns `false` if nobody waits
    /// for it.
    pub(super) fn begin_piece(&mut self, entry: EntryRef) -> bool {
        self.forget_submit(entry);
        !entry.is_abandoned.get()
    }

    /// Notes that the next piece of an operation, which has this tag, is about to be submitted.
    pub(super) fn note_piece(&mut self, entry: EntryRef, tag: Tag, at: Instant) {
        entry.tag.set(tag);
        if let Some(place) = self.in_kernel.get_mut(tag.index() as usize) {
            *place = Some(entry);
        }
        // It was abandoned while the piece was being prepared.
        if entry.is_abandoned.get() {
            self.cancels.push(tag);
        }
        self.measure_submit(entry, at);
    }

    /// Takes an operation off the list of those that have been submitted.
    #[inline(always)]
    fn forget_submit(&mut self, entry: EntryRef) {
        if let Some(place) = self.in_kernel.get_mut(entry.tag.get().index() as usize) {
            *place = None;
        }
    }

    /// Lists the operations that were submitted so long before `now`, the oldest first.
    pub(super) fn overdue(&self, age: Duration, now: Instant) -> Vec<Overdue> {
        let submitted = self.in_kernel.iter().flatten().filter_map(|entry| {
            let at = self.submits.time_of(entry.ticket.get())?;
            Some((Submitted { facts: entry.facts.get(), at }, entry.is_abandoned.get()))
        });
        late(submitted, age, now)
    }

    /// Notes that operations were submitted, and that those which ended inside of `io_submit` have
    /// been completed.
    pub(super) fn note_submitted(&mut self) {
        self.batching.note_submitted(self.admitted);
    }

    /// Takes the tags of the operations that have been abandoned since the last call.
    pub(super) fn take_cancels(&mut self) -> Vec<Tag> {
        mem::take(&mut self.cancels)
    }

    /// Ends operations that were admitted, whose outcomes are in their entries, and has their
    /// futures woken. Empties the list.
    #[inline(always)]
    pub(super) fn complete_all(&mut self, entries: &mut Vec<EntryRef>, deferred: &mut Deferred) {
        self.admitted -= entries.len();
        self.stats.completed += entries.len() as u64;
        deferred.end_all(entries, |entry, discards| {
            self.forget_submit(entry);
            if entry.is_measured.get() {
                self.meter.completed(entry.mark.get(), entry.count());
            }
            if entry.is_abandoned.get() {
                self.discard(entry, discards);
                return None;
            }
            end(entry)
        });
    }

    /// Ends an operation whose future has gone.
    #[cold]
    fn discard(&mut self, entry: EntryRef, discards: &mut Discards) {
        self.unmark(entry);
        self.abandoned_early.retain(|&early| early != entry);
        // SAFETY: The operation has ended, its future has gone, and the driver's lists have
        // forgotten it.
        unsafe { discards.add(entry) };
    }

    // ---- the end ----

    /// Takes no more operations. Returns the ticket of a caller that waits for the end.
    pub(super) fn close(&mut self, deferred: &mut Deferred) -> u64 {
        if self.refusal.is_none() {
            self.refuse(Errno::ECANCELED);
        }
        deferred.run_now = self.is_drained();
        self.ticket()
    }

    /// Takes no more operations, since events cannot be had any more, for this reason. Ends those
    /// that wait for a slot; those that are admitted end with the context.
    pub(super) fn fail(&mut self, errno: Errno, deferred: &mut Deferred) {
        self.refuse(errno);
        self.end_waiting(errno, deferred);
    }

    /// Ends the operations that wait for a slot.
    pub(super) fn end_waiting(&mut self, errno: Errno, deferred: &mut Deferred) {
        self.hold();
        for entry in self.held.drain(..) {
            entry.set_result(Err(errno));
            end(entry).into_iter().for_each(|waker| deferred.wake(waker));
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

/// The times of the submits of which operations are in the kernel, each with the ticket up to which
/// operations had been submitted.
#[derive(Default)]
struct Submits(Vec<(u64, Instant)>);

impl Submits {
    /// The number from which on those are forgotten whose operations have ended.
    const MANY: usize = 64;

    /// Forgets the submits that are of none of these tickets.
    #[cold]
    fn keep_those_of(&mut self, mut tickets: Vec<u64>) {
        tickets.sort_unstable();
        let mut before = 0;
        self.0.retain(|&(submitted_to, _)| {
            let up_to = tickets.partition_point(|&ticket| ticket <= submitted_to);
            up_to > mem::replace(&mut before, up_to)
        });
    }

    /// Returns the time of the first submit of an operation.
    fn time_of(&self, ticket: u64) -> Option<Instant> {
        let submit = self.0.partition_point(|&(submitted_to, _)| submitted_to < ticket);
        self.0.get(submit).map(|&(_, at)| at)
    }
}

/// Gives an entry, whose outcome is there, to its future. Returns the future's waker.
#[inline(always)]
fn end(entry: EntryRef) -> Option<Waker> {
    let waker = entry.waker.take();
    entry.end();
    waker
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Submits;
    use core::time::Duration;
    use std::time::Instant;

    /// Goal: an operation has the time of its first submit, also when submits are forgotten whose
    /// operations have ended. Method: the second of these submits repeats the first.
    #[test]
    fn a_submit_has_its_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut submits = Submits([(3, at(0)), (3, at(1)), (5, at(2)), (9, at(3))].into());
        let times = |submits: &Submits| [1, 3, 4, 6, 9, 10].map(|ticket| submits.time_of(ticket));
        let expected = [Some(0), Some(0), Some(2), Some(3), Some(3), None];
        assert_eq!(times(&submits), expected.map(|seconds| seconds.map(at)));
        submits.keep_those_of([9, 2].into());
        assert_eq!(submits.0, [(3, at(0)), (9, at(3))]);
        submits.keep_those_of([].into());
        assert_eq!(submits.0, []);
    }
}
