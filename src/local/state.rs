//! [`State`], the table of a local driver's operations. Plain data, borrowed for moments in which
//! no code of a user runs.

use super::queued::{Counts, Ended, Erased, Naming, Queued, Tracked};
use crate::driver::batching::{Batching, Decision};
use crate::driver::users_code::{self, catch_and_forget};
use crate::raw::ForkGuard;
use crate::{DriverStats, Errno, Token};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::mem;
use core::task::Waker;

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
    /// In the queue, or in the kernel. Without a token while it is being prepared.
    Admitted {
        waker: Waker,
        token: Option<Token>,
    },
    /// Admitted, and its future has been dropped.
    Abandoned {
        token: Option<Token>,
    },
    /// Not taken by its future yet.
    Ended(Ended),
}

/// An operation that is not taken: the reason, and what is given back.
pub(super) type Refused = (Errno, Box<dyn Erased>, Waker);

/// An action of a local driver.
pub(super) type Action = users_code::Action<dyn Erased>;

/// Runs and empties a list. A panic ends one action, and not the others. In a child that one of
/// them forks, leaks those that are left: they are the parent's.
pub(super) fn run(actions: &mut Vec<Action>, process: ForkGuard) {
    if actions.is_empty() {
        return;
    }
    let mut left = actions.drain(..);
    // One call for the whole list, as long as none panics.
    let mut step = || {
        while process.check_strictly().is_ok() {
            match left.next() {
                Some(action) => action.run(),
                None => break,
            }
        }
    };
    while catch_and_forget(&mut step).is_none() {}
    if process.check_strictly().is_err() {
        mem::forget(left);
    }
}

pub(super) struct State {
    entries: Vec<Entry>,
    vacant: Vec<usize>,
    /// Tickets and entries that wait for a slot, oldest first.
    waiting: VecDeque<(u64, usize)>,
    next_ticket: u64,
    /// The number of entries that are admitted or abandoned; at most `capacity`.
    admitted: usize,
    pub(super) counts: Rc<Counts>,
    capacity: usize,
    /// Entries that have been abandoned and are to be cancelled.
    cancels: Vec<usize>,
    pub(super) batching: Batching,
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
            counts: Rc::default(),
            capacity,
            cancels: Vec::new(),
            batching: Batching::default(),
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
        op: Box<dyn Erased>,
        waker: Waker,
    ) -> Result<(usize, Decision), Refused> {
        if let Some(errno) = self.refusal {
            return Err((errno, op, waker));
        }
        let ticket = self.ticket();
        let new = Entry::Waiting { op, waker, ticket };
        let entry = match self.vacant.pop() {
            Some(entry) => {
                self.fill(entry, new);
                entry
            }
            None => {
                self.entries.push(new);
                self.entries.len() - 1
            }
        };
        self.waiting.push_back((ticket, entry));
        self.stats.submitted += 1;
        let waiting = self.waiting.len();
        let decision = self.batching.decide(ticket, waiting, self.admitted, self.capacity);
        Ok((entry, decision))
    }

    /// Takes the outcome of an entry's operation. Returns `None` if it has not ended.
    #[inline]
    pub(super) fn take_end(&mut self, entry: usize) -> Option<Ended> {
        if !matches!(self.entries[entry], Entry::Ended(_)) {
            return None;
        }
        match self.vacate(entry) {
            Entry::Ended(ended) => Some(ended),
            _ => unreachable!("the entry has ended, as was checked"),
        }
    }

    /// Returns whether the waker of an entry that has not ended wakes the same task.
    pub(super) fn wakes(&self, entry: usize, new: &Waker) -> bool {
        match &self.entries[entry] {
            Entry::Waiting { waker, .. } | Entry::Admitted { waker, .. } => waker.will_wake(new),
            _ => false,
        }
    }

    /// Replaces the waker of an entry that has not ended. Returns the waker that is not used, to be
    /// dropped.
    pub(super) fn set_waker(&mut self, entry: usize, new: Waker) -> Waker {
        match &mut self.entries[entry] {
            Entry::Waiting { waker, .. } | Entry::Admitted { waker, .. } => {
                mem::replace(waker, new)
            }
            _ => new,
        }
    }

    /// Handles the drop of an entry's future. Returns `true` if a step is needed.
    pub(super) fn abandon(&mut self, entry: usize, actions: &mut Vec<Action>) -> bool {
        match self.vacate(entry) {
            Entry::Waiting { op, waker, ticket } => {
                let at = self.waiting.binary_search_by_key(&ticket, |&(ticket, _)| ticket);
                self.waiting.remove(at.expect("every entry that waits is on the list"));
                self.stats.completed += 1;
                actions.push(Action::DropOp(op));
                actions.push(Action::DropWaker(waker));
                // Perhaps it was the last.
                self.is_drained()
            }
            Entry::Admitted { waker, token } => {
                // It keeps its entry.
                self.vacant.pop();
                self.fill(entry, Entry::Abandoned { token });
                self.cancels.push(entry);
                actions.push(Action::DropWaker(waker));
                true
            }
            Entry::Ended(ended) => {
                ended.discard(|action| actions.push(action));
                false
            }
            Entry::Vacant | Entry::Abandoned { .. } => unreachable!("a future is dropped once"),
        }
    }

    /// Replaces a vacant entry.
    #[inline(always)]
    fn fill(&mut self, entry: usize, new: Entry) {
        let vacant = mem::replace(&mut self.entries[entry], new);
        debug_assert!(matches!(vacant, Entry::Vacant));
        // There is nothing in it to be dropped, which the compiler does not know.
        mem::forget(vacant);
    }

    #[inline(always)]
    fn vacate(&mut self, entry: usize) -> Entry {
        self.vacant.push(entry);
        mem::replace(&mut self.entries[entry], Entry::Vacant)
    }

    // ---- a step's side ----

    /// Moves operations that wait to `admitted`, oldest first, while there are free slots.
    pub(super) fn admit(&mut self, naming: Naming, admitted: &mut VecDeque<Tracked>) {
        self.batching.note_step(self.waiting.len());
        while self.admitted < self.capacity {
            let Some((entry, op, waker)) = self.next_waiting() else { return };
            self.fill(entry, Entry::Admitted { waker, token: None });
            let (kind, counts) = (None, Rc::clone(&self.counts));
            admitted.push_back(Tracked { op, entry, naming, kind, counts, panic: None });
            self.admitted += 1;
        }
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

    /// Returns whether the future of an operation that was admitted is there.
    pub(super) fn is_awaited(&self, entry: usize) -> bool {
        matches!(self.entries[entry], Entry::Admitted { .. })
    }

    /// Notes the token of an operation that has been prepared.
    pub(super) fn note_pushed(&mut self, entry: usize, new: Token) {
        match &mut self.entries[entry] {
            Entry::Admitted { token, .. } | Entry::Abandoned { token } => *token = Some(new),
            _ => unreachable!("an operation that was admitted has not ended before its push"),
        }
    }

    /// Takes the tokens of the operations that have been abandoned since the last call.
    pub(super) fn take_cancels(&mut self, tokens: &mut Vec<Token>) {
        let entries = &self.entries;
        tokens.extend(self.cancels.drain(..).filter_map(|entry| match entries[entry] {
            // `None` where it has ended meanwhile, or is prepared at the moment.
            Entry::Abandoned { token } => token,
            _ => None,
        }));
    }

    /// Stores the outcome of an operation that was admitted, and has its future woken. Returns the
    /// result where it is the bell's.
    #[inline]
    pub(super) fn complete(
        &mut self,
        queued: Queued,
        result: Result<u32, Errno>,
        actions: &mut Vec<Action>,
    ) -> Option<Result<u32, Errno>> {
        let Queued::Operation(mut tracked) = queued else { return Some(result) };
        let entry = tracked.entry;
        tracked.uncount();
        self.admitted -= 1;
        self.stats.completed += 1;
        let ended = tracked.ended(result);
        match mem::replace(&mut self.entries[entry], Entry::Vacant) {
            Entry::Admitted { waker, .. } => {
                self.fill(entry, Entry::Ended(ended));
                actions.push(Action::Wake(waker));
            }
            _ => {
                self.vacant.push(entry);
                ended.discard(|action| actions.push(action));
            }
        }
        None
    }

    // ---- the end ----

    /// Takes no more operations. Returns the ticket of a caller that waits for the end.
    pub(super) fn close(&mut self) -> u64 {
        self.refusal.get_or_insert(Errno::ECANCELED);
        self.ticket()
    }

    /// Takes no more operations, since events cannot be had any more, for this reason. Ends those
    /// that wait for a slot; those that are admitted end with the context.
    pub(super) fn fail(&mut self, errno: Errno, actions: &mut Vec<Action>) {
        self.refusal = Some(errno);
        while let Some((entry, op, waker)) = self.next_waiting() {
            self.fill(entry, Entry::Ended(Ended::Done { result: Err(errno), op }));
            actions.push(Action::Wake(waker));
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
        for entry in mem::take(&mut self.entries) {
            match entry {
                Entry::Waiting { op, waker, .. } => {
                    actions.push(Action::DropOp(op));
                    actions.push(Action::DropWaker(waker));
                }
                Entry::Admitted { waker, .. } => actions.push(Action::DropWaker(waker)),
                Entry::Ended(ended) => ended.discard(|action| actions.push(action)),
                Entry::Vacant | Entry::Abandoned { .. } => {}
            }
        }
        let closers = mem::take(&mut self.closers);
        actions.extend(closers.into_iter().map(|(_, waker)| Action::DropWaker(waker)));
    }
}
