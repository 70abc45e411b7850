//! [`State`], the table of a local driver's operations. Plain data, borrowed for moments in which
//! no code of a user runs.

use super::queued::{Counts, Ended, Queued};
use crate::driver::batching::{Batching, Decision};
use crate::driver::entry::{self, Phase};
use crate::driver::held::{Erased, Held};
use crate::driver::users_code;
use crate::{DriverStats, Errno, Token};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;
use core::task::Waker;

pub(super) type Entry = entry::Entry<dyn Erased, Option<Token>>;

/// An operation that is not taken: the reason, and what is given back.
pub(super) type Refused = (Errno, Held<dyn Erased>, Waker);

/// Tells what has become of an operation whose future gives it up.
pub(super) enum GivenUp {
    Ended(Ended),
    /// It waited for a slot.
    NotAdmitted(Held<dyn Erased>),
    /// It is in the queue or in the kernel, and stays with the driver.
    Left,
}

/// An action of a local driver.
pub(super) type Action = users_code::Action<Held<dyn Erased>>;

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
    pub(super) batching: Batching,
    /// Operations are taken, and are not measured.
    plain: bool,
    /// The reason if no more operations are taken.
    refusal: Option<Errno>,
    /// The context has ended.
    pub(super) destroyed: bool,
    /// The callers that wait for that, by ticket.
    closers: Vec<(u64, Waker)>,
    pub(super) stats: DriverStats,
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
            plain: true,
            refusal: None,
            destroyed: false,
            closers: Vec::new(),
            stats: DriverStats::default(),
        }
    }

    pub(super) fn outstanding(&self) -> usize {
        self.waiting.len() + self.admitted
    }

    /// Returns the number of operations that have slots.
    pub(super) fn admitted(&self) -> usize {
        self.admitted
    }

    /// Returns whether nothing is to be done for an operation that starts but to start it.
    #[inline(always)]
    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }

    /// Notes whether operations are measured.
    pub(super) fn measure(&mut self, on: bool) {
        self.plain = !on && self.refusal.is_none();
    }

    /// Returns the number of operations that there are slots for.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns a ticket that is not below those of operations with slots, and below those of
    /// operations that wait for one.
    pub(super) fn last_admitted(&self) -> u64 {
        self.waiting.front().map_or(self.next_ticket, |&(first, _)| first - 1)
    }

    /// Returns the entries whose operations have slots, and whether their futures are gone.
    pub(super) fn admitted_entries(&self) -> impl Iterator<Item = (bool, &Entry)> {
        self.entries.iter().filter_map(|entry| match entry.phase {
            Phase::Admitted => Some((false, entry)),
            Phase::Abandoned => Some((true, entry)),
            _ => None,
        })
    }

    /// Returns whether every operation has ended and no more will come.
    pub(super) fn is_drained(&self) -> bool {
        self.refusal.is_some() && self.outstanding() == 0
    }

    pub(super) fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    // ---- a future's side ----

    /// Takes over the operation of a future, and returns its entry; or gives it back, with the
    /// reason.
    pub(super) fn start(
        &mut self,
        op: Held<dyn Erased>,
        waker: Waker,
    ) -> Result<(usize, Decision), Refused> {
        if !self.plain {
            if let Some(errno) = self.refusal {
                return Err((errno, op, waker));
            }
        }
        let ticket = self.ticket();
        let entry = self.vacant.pop().unwrap_or_else(|| {
            self.entries.push(Entry::default());
            self.entries.len() - 1
        });
        let new = &mut self.entries[entry];
        new.start(op, waker, ticket);
        self.waiting.push_back((ticket, entry));
        self.stats.submitted += 1;
        let waiting = self.waiting.len();
        let decision = self.batching.decide(ticket, waiting, self.admitted, self.capacity);
        Ok((entry, decision))
    }

    /// Returns whether the operation of an entry has ended.
    #[inline(always)]
    pub(super) fn has_ended(&self, entry: usize) -> bool {
        self.entries[entry].phase == Phase::Ended
    }

    /// Takes the outcome of an entry's operation. Returns `None` if it has not ended.
    #[inline(always)]
    pub(super) fn take_end(&mut self, entry: usize) -> Option<Ended> {
        let ended = &mut self.entries[entry];
        if ended.phase != Phase::Ended {
            return None;
        }
        ended.phase = Phase::Vacant;
        self.vacant.push(entry);
        ended.take_ended()
    }

    /// Returns whether the waker of an entry that has not ended wakes the same task.
    pub(super) fn wakes(&self, entry: usize, new: &Waker) -> bool {
        self.entries[entry].waker.as_ref().is_some_and(|waker| waker.will_wake(new))
    }

    /// Replaces the waker of an entry that has not ended. Returns the waker that is not used, to be
    /// dropped.
    pub(super) fn set_waker(&mut self, entry: usize, new: Waker) -> Waker {
        match &mut self.entries[entry].waker {
            Some(waker) => mem::replace(waker, new),
            None => new,
        }
    }

    /// Handles the drop of an entry's future. Returns `true` if a step is needed.
    pub(super) fn abandon(&mut self, entry: usize, actions: &mut Vec<Action>) -> bool {
        match self.give_up(entry, actions) {
            GivenUp::NotAdmitted(op) => {
                actions.push(Action::DropOp(op));
                // Perhaps it was the last.
                self.is_drained()
            }
            GivenUp::Ended(ended) => {
                ended.discard(|action| actions.push(action));
                false
            }
            GivenUp::Left => true,
        }
    }

    /// Parts an entry from its future. Gives back what the kernel does not have.
    pub(super) fn give_up(&mut self, entry: usize, actions: &mut Vec<Action>) -> GivenUp {
        let left = &mut self.entries[entry];
        actions.extend(left.waker.take().map(Action::DropWaker));
        match left.phase {
            Phase::Waiting => {
                left.phase = Phase::Vacant;
                let (op, ticket) = (left.op.take(), left.ticket);
                let at = self.waiting.binary_search_by_key(&ticket, |&(ticket, _)| ticket);
                self.waiting.remove(at.expect("every entry that waits is on the list"));
                self.vacant.push(entry);
                self.stats.completed += 1;
                GivenUp::NotAdmitted(op.expect("an entry that waits has its operation"))
            }
            Phase::Admitted => {
                left.phase = Phase::Abandoned;
                self.cancels.push(entry);
                GivenUp::Left
            }
            Phase::Ended => {
                left.phase = Phase::Vacant;
                let ended = left.take_ended();
                self.vacant.push(entry);
                GivenUp::Ended(ended.expect("it has ended"))
            }
            Phase::Vacant | Phase::Abandoned => unreachable!("a future is dropped once"),
        }
    }

    // ---- a step's side ----

    /// Notes that a step begins.
    pub(super) fn note_step(&mut self) {
        self.batching.note_step(self.waiting.len());
    }

    /// Takes the operation that has waited the longest, if a slot is free for it.
    #[inline(always)]
    pub(super) fn admit(&mut self) -> Option<(usize, Held<dyn Erased>)> {
        if self.admitted == self.capacity {
            return None;
        }
        let (entry, op) = self.next_waiting()?;
        let admitted = &mut self.entries[entry];
        (admitted.phase, admitted.noted) = (Phase::Admitted, None);
        self.admitted += 1;
        Some((entry, op))
    }

    /// Takes the operation that has waited for a slot the longest. Its entry keeps the waker.
    #[inline(always)]
    fn next_waiting(&mut self) -> Option<(usize, Held<dyn Erased>)> {
        let (_, entry) = self.waiting.pop_front()?;
        let op = self.entries[entry].op.take();
        Some((entry, op.expect("every entry on the list waits")))
    }

    /// Returns whether the future of an operation that was admitted is there.
    pub(super) fn is_awaited(&self, entry: usize) -> bool {
        self.entries[entry].phase == Phase::Admitted
    }

    /// Notes the token of an operation that has been prepared.
    #[inline(always)]
    pub(super) fn note_pushed(&mut self, entry: usize, new: Token) {
        self.entries[entry].noted = Some(new);
    }

    /// Takes the tokens of the operations that have been abandoned since the last call.
    pub(super) fn take_cancels(&mut self, tokens: &mut Vec<Token>) {
        let entries = &self.entries;
        tokens.extend(self.cancels.drain(..).filter_map(|entry| match entries[entry].phase {
            // `None` where it is prepared at the moment.
            Phase::Abandoned => entries[entry].noted,
            // It has ended meanwhile.
            _ => None,
        }));
    }

    /// Stores the outcome of an operation that was admitted, and has its future woken. Returns the
    /// result where it is the bell's.
    #[inline(always)]
    pub(super) fn complete(
        &mut self,
        counts: &Counts,
        queued: Queued,
        result: Result<u32, Errno>,
        actions: &mut Vec<Action>,
    ) -> Option<Result<u32, Errno>> {
        let Queued::Operation(mut tracked) = queued else { return Some(result) };
        let entry = tracked.entry;
        tracked.uncount(counts);
        self.admitted -= 1;
        self.stats.completed += 1;
        let (op, panic) = tracked.into_parts();
        let ended = &mut self.entries[entry];
        match (ended.phase, ended.waker.take()) {
            (Phase::Admitted, Some(waker)) => {
                ended.end(op, result, panic);
                actions.push(Action::Wake(waker));
            }
            _ => {
                ended.phase = Phase::Vacant;
                self.vacant.push(entry);
                Ended::new(op, result, panic).discard(|action| actions.push(action));
            }
        }
        None
    }

    // ---- the end ----

    /// Takes no more operations. Returns the ticket of a caller that waits for the end.
    pub(super) fn close(&mut self) -> u64 {
        self.refusal.get_or_insert(Errno::ECANCELED);
        self.plain = false;
        self.ticket()
    }

    /// Takes no more operations, since events cannot be had any more, for this reason. Ends those
    /// that wait for a slot; those that are admitted end with the context.
    pub(super) fn fail(&mut self, errno: Errno, actions: &mut Vec<Action>) {
        (self.refusal, self.plain) = (Some(errno), false);
        self.end_waiting(errno, actions);
    }

    /// Ends the operations that wait for a slot.
    pub(super) fn end_waiting(&mut self, errno: Errno, actions: &mut Vec<Action>) {
        while let Some((entry, op)) = self.next_waiting() {
            let ended = &mut self.entries[entry];
            ended.end(op, Err(errno), None);
            actions.extend(ended.waker.take().map(Action::Wake));
            self.stats.completed += 1;
        }
    }

    /// Returns why no more operations are taken.
    pub(super) fn refusal(&self) -> Option<Errno> {
        self.refusal
    }

    /// Has `waker` called when the context has ended. Returns the waker that is not used.
    pub(super) fn await_end(&mut self, closer: u64, waker: Waker) -> Option<Waker> {
        if self.destroyed {
            return Some(waker);
        }
        match self.closers.iter_mut().find(|(ticket, _)| *ticket == closer) {
            Some((_, old)) => Some(mem::replace(old, waker)),
            None => {
                self.closers.push((closer, waker));
                None
            }
        }
    }

    /// Forgets a caller that waited for the end.
    pub(super) fn forget_closer(&mut self, closer: u64) -> Option<Waker> {
        let at = self.closers.iter().position(|(ticket, _)| *ticket == closer)?;
        Some(self.closers.swap_remove(at).1)
    }

    /// Notes that the context has ended, and wakes the callers that wait for it.
    pub(super) fn set_destroyed(&mut self, actions: &mut Vec<Action>) {
        self.destroyed = true;
        actions.extend(self.closers.drain(..).map(|(_, waker)| Action::Wake(waker)));
    }

    /// Takes all that is left, to be dropped.
    pub(super) fn clear(&mut self, actions: &mut Vec<Action>) {
        for mut entry in mem::take(&mut self.entries) {
            actions.extend(entry.waker.take().map(Action::DropWaker));
            let ended = entry.take_ended();
            ended.into_iter().for_each(|ended| ended.discard(|action| actions.push(action)));
        }
        let closers = mem::take(&mut self.closers);
        actions.extend(closers.into_iter().map(|(_, waker)| Action::DropWaker(waker)));
    }
}
