//! [`State`], the table of a driver's operations. Plain data behind the driver's lock.

use super::batching::{Batching, Decision};
use super::deferred::Deferred;
use super::held::Held;
use super::meter::Meter;
use super::overdue::{Facts, Overdue, Submitted};
use super::queued_operation::{Ended, Sent};
use super::stall::RETRY_LIMIT;
use super::stats::DriverStats;
use super::users_code::Payload;
use crate::{Errno, Token};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::mem;
use core::task::Waker;
use core::time::Duration;
use std::time::Instant;

/// The operation of one future: from its first poll until the future has the outcome or the kernel
/// is finished, whichever is later.
///
/// Each step writes what it changes, in place: the entry is not moved as an enum with fields would
/// be.
struct Entry {
    phase: Phase,
    /// There from the start to the end of the operation, unless its future is gone.
    waker: Option<Waker>,
    /// The number of the operation. It waits for a slot if this is above [`State::admitted_to`].
    ticket: u64,
    /// There once the operation has ended, until the future takes it.
    op: Option<Held<Sent>>,
    /// The rest of its outcome, then.
    result: Result<u32, Errno>,
    panic: Option<Box<Payload>>,
    /// The operation in the queue or the kernel, once it has been submitted.
    submitted: Option<Submitted>,
    /// The token of its last piece.
    token: Option<Token>,
}

impl Entry {
    const VACANT: Self = Self {
        phase: Phase::Vacant,
        waker: None,
        ticket: 0,
        op: None,
        result: Ok(0),
        panic: None,
        submitted: None,
        token: None,
    };

    /// Stores the outcome of the operation, and has its future woken.
    #[inline(always)]
    fn end(&mut self, ended: Ended, deferred: &mut Deferred) {
        let Ended { op, result, panic } = ended;
        fill(&mut self.op, Some(op));
        fill(&mut self.panic, panic);
        self.result = result;
        if let Some(waker) = self.waker.take() {
            deferred.wake(waker);
        }
    }

    /// Takes the outcome of an operation that has ended.
    #[inline(always)]
    fn take_ended(&mut self) -> Option<Ended> {
        let op = self.op.take()?;
        Some(Ended { op, result: self.result, panic: self.panic.take() })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Vacant,
    /// Waits for a slot, or is in the queue, in the kernel, or not taken by its future yet.
    Started,
    /// In the queue or in the kernel. Its future has gone.
    Abandoned,
}

/// An operation that waits for a slot.
pub(super) struct Waiting {
    pub(super) entry: usize,
    pub(super) op: Held<Sent>,
}

/// An operation that has been pushed, and is to be submitted.
pub(super) struct Pushed {
    pub(super) entry: usize,
    pub(super) token: Token,
    pub(super) facts: Facts,
}

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
    /// Those that wait for a slot, oldest first, which is by ticket: first all of `held`, which a
    /// step has found no slot for.
    held: VecDeque<Waiting>,
    waiting: Vec<Waiting>,
    last_ticket: u64,
    /// The ticket of the last operation that was admitted: all up to it have been.
    admitted_to: u64,
    /// The number of operations that were admitted and have not ended; at most `capacity`.
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
            held: VecDeque::new(),
            waiting: Vec::new(),
            last_ticket: 0,
            admitted_to: 0,
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
        self.refusal
    }

    /// Takes over the operation of a future. Returns its entry, and when it is submitted. Only if
    /// operations are taken.
    #[inline(always)]
    pub(super) fn start(&mut self, op: Held<Sent>, waker: Waker) -> (usize, Decision) {
        let entry = match self.vacant.pop() {
            Some(entry) => entry,
            None => self.grow(),
        };
        let ticket = self.ticket();
        let started = &mut self.entries[entry];
        debug_assert!(started.phase == Phase::Vacant && started.op.is_none());
        (started.phase, started.ticket) = (Phase::Started, ticket);
        fill(&mut started.waker, Some(waker));
        self.waiting.push(Waiting { entry, op });
        self.stats.submitted += 1;
        self.meter.started(entry);
        let (waiting, admitted) = (self.waiting(), self.admitted);
        (entry, self.batching.decide(ticket, waiting, admitted, self.capacity))
    }

    #[cold]
    fn grow(&mut self) -> usize {
        self.entries.push(Entry::VACANT);
        self.entries.len() - 1
    }

    /// Takes the outcome of an entry's operation. Returns `None` if it has not ended.
    #[inline(always)]
    pub(super) fn take_end(&mut self, entry: usize) -> Option<Ended> {
        let ended = self.entries[entry].take_ended()?;
        self.meter.polled(entry);
        self.vacate(entry);
        Some(ended)
    }

    /// Returns whether the end of an entry that has not ended calls a waker that does the same.
    #[inline(always)]
    pub(super) fn will_wake(&self, entry: usize, waker: &Waker) -> bool {
        self.entries[entry].waker.as_ref().is_some_and(|own| own.will_wake(waker))
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
        debug_assert_eq!(left.phase, Phase::Started, "a future is dropped once");
        if let Some(ended) = left.take_ended() {
            self.vacate(entry);
            return (GivenUp::Ended(ended), false);
        }
        let ticket = left.ticket;
        if ticket <= self.admitted_to {
            left.phase = Phase::Abandoned;
            self.cancels.push(entry);
            return (GivenUp::Left, true);
        }
        self.hold();
        let at = self.held.binary_search_by_key(&ticket, |it| self.entries[it.entry].ticket);
        let waiting = at.ok().and_then(|at| self.held.remove(at));
        let Waiting { op, .. } = waiting.expect("every entry that waits is on the list");
        self.vacate(entry);
        self.stats.completed += 1;
        // Perhaps it was the last.
        (GivenUp::NotAdmitted(op), self.is_drained())
    }

    #[inline(always)]
    fn vacate(&mut self, entry: usize) {
        self.entries[entry].phase = Phase::Vacant;
        self.vacant.push(entry);
    }

    // ---- the event loop's side ----

    /// Moves operations that wait to `admitted`, oldest first, while there are free slots.
    pub(super) fn admit(&mut self, admitted: &mut Vec<Waiting>) {
        let (waiting, free) = (self.waiting(), self.capacity - self.admitted);
        self.batching.note_step(waiting);
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
    fn admit_some(&mut self, count: usize, admitted: &mut Vec<Waiting>) {
        self.hold();
        for waiting in self.held.drain(..count) {
            self.admitted += 1;
            self.admitted_to = self.entries[waiting.entry].ticket;
            admitted.push(waiting);
        }
    }

    /// Puts all that wait on one list.
    fn hold(&mut self) {
        self.held.extend(self.waiting.drain(..));
    }

    /// Notes that an operation is about to be submitted.
    #[inline(always)]
    pub(super) fn note_submit(&mut self, pushed: &Pushed, at: Instant) {
        let &Pushed { entry, token, facts } = pushed;
        if self.meter.is_on() {
            self.meter.submits(entry, &Submitted { facts, at });
        }
        let entry = &mut self.entries[entry];
        (entry.submitted, entry.token) = (Some(Submitted { facts, at }), Some(token));
    }

    /// Notes the token of an operation that goes on.
    pub(super) fn note_token(&mut self, entry: usize, token: Token) {
        self.entries[entry].token = Some(token);
    }

    /// Lists the operations that were submitted so long before `now`, the oldest first.
    pub(super) fn overdue(&self, age: Duration, now: Instant) -> Vec<Overdue> {
        let of_entry = |entry: &Entry| {
            let submitted = entry.submitted.as_ref()?;
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
        self.entries[entry].phase == Phase::Started
    }

    /// Notes that operations were submitted, and that those which ended inside of `io_submit` have
    /// been completed.
    pub(super) fn note_submitted(&mut self) {
        self.batching.note_submitted(self.admitted);
    }

    /// Takes the tokens of the operations that have been abandoned since the last call.
    pub(super) fn take_cancels(&mut self) -> Vec<Token> {
        // Collecting no elements allocates nothing.
        self.cancels.drain(..).filter_map(|entry| self.entries[entry].token).collect()
    }

    /// Stores the outcome of an operation that was admitted, and has its future woken.
    #[inline(always)]
    pub(super) fn complete(&mut self, entry: usize, ended: Ended, deferred: &mut Deferred) {
        self.admitted -= 1;
        self.stats.completed += 1;
        if self.meter.is_on() {
            self.meter.completed(entry, ended.count());
        }
        let completed = &mut self.entries[entry];
        completed.submitted = None;
        if completed.phase == Phase::Started {
            completed.end(ended, deferred);
        } else {
            self.discard(entry, ended, deferred);
        }
    }

    /// Ends an operation whose future has gone.
    #[cold]
    fn discard(&mut self, entry: usize, ended: Ended, deferred: &mut Deferred) {
        self.vacate(entry);
        deferred.discard(ended);
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
        self.hold();
        for Waiting { entry, op } in self.held.drain(..) {
            self.entries[entry].end(Ended { op, result: Err(errno), panic: None }, deferred);
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

/// Fills an empty place. To assign to it would also drop what is in it, which is nothing.
#[inline(always)]
fn fill<T>(place: &mut Option<T>, value: Option<T>) {
    let empty = mem::replace(place, value);
    debug_assert!(empty.is_none());
    mem::forget(empty);
}
