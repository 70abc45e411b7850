//! What a driver knows, behind its lock.

use super::deferred::Deferred;
use super::queued_operation::{Ended, Erased};
use super::stats::DriverStats;
use crate::Errno;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::mem;
use core::task::Waker;
use core::time::Duration;

/// How many operations come together at most before they are submitted without waiting for more.
const BATCH: usize = 32;

/// How many at least, so that a disk that has nothing to do gets the first ones early.
const FIRST: usize = 4;

/// Of so many operations that come alone, one waits for others.
const PROBE: u64 = 64;

/// See [`Driver::retry_submits_for`](super::Driver::retry_submits_for). What ends within this time is a
/// shortage that passes; afterwards somebody must be told.
const RETRY_LIMIT: Duration = Duration::from_secs(30);

/// The operation of one future, from its first poll until the future has its result or the kernel
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
    /// As `Admitted`, but the future has been dropped.
    Abandoned,
    /// Not taken by its future yet.
    Ended(Ended),
}

pub(super) struct State {
    entries: Vec<Entry>,
    vacant: Vec<usize>,
    /// Tickets and entries that wait for a slot, oldest first.
    waiting: VecDeque<(u64, usize)>,
    next_ticket: u64,
    /// How many entries are admitted or abandoned; at most `capacity`.
    admitted: usize,
    capacity: usize,
    /// Entries that have been abandoned and are to be cancelled.
    cancels: Vec<usize>,
    /// A turn has been asked for, for what waits.
    awaits_turn: bool,
    /// More than one had come by the last turn that was asked for.
    crowded: bool,
    /// What was submitted last did not all end inside of `io_submit`: the kernel has something to do while tasks
    /// start more.
    overlaps: bool,
    /// Why no more operations are taken.
    refusal: Option<Errno>,
    /// The context has ended.
    destroyed: bool,
    /// Who waits for that, by ticket.
    closers: BTreeMap<u64, Waker>,
    pub(super) stats: DriverStats,
    /// How long the kernel may take none of the operations that are queued, before they end.
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
            awaits_turn: false,
            crowded: false,
            overlaps: false,
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

    /// Whether every operation has ended and no more will come.
    pub(super) fn is_drained(&self) -> bool {
        self.refusal.is_some() && self.outstanding() == 0
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    // ---- a future's side ----

    /// Takes over the operation of a future and says where; or gives it back, with the reason.
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
        self.turn_now_or_later(deferred);
        Ok(entry)
    }

    /// Has what waits submitted: at once if there is enough for a batch, or if the kernel has nothing to do and no
    /// others are expected; else later, with what has come by then. Without a free slot, the next completion
    /// sees to it.
    ///
    /// As many are enough as the kernel has: when a disk has ended all at once, it works on the first few while
    /// tasks start the others, which go to it by more and more.
    fn turn_now_or_later(&mut self, deferred: &mut Deferred) {
        if self.admitted == self.capacity {
            return;
        }
        // Now and then it is tried whether others come, which one that ends inside of `io_submit` would not let run.
        let alone = self.admitted == 0 && !self.crowded && self.next_ticket % PROBE != 0;
        let enough = if self.overlaps { self.admitted.clamp(FIRST, BATCH) } else { BATCH };
        if alone || self.waiting.len() >= enough {
            deferred.turn = true;
        } else if !self.awaits_turn {
            self.awaits_turn = true;
            deferred.later = true;
        }
    }

    /// The end of an entry's operation, which leaves the entry; `None` where it has not come.
    pub(super) fn take_end(&mut self, entry: usize) -> Option<Ended> {
        if !matches!(self.entries[entry], Entry::Ended(_)) {
            return None;
        }
        match self.vacate(entry) {
            Entry::Ended(ended) => Some(ended),
            _ => unreachable!("it has just been looked at"),
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

    /// The future of an entry has been dropped. What the kernel can cancel, it does; the rest keeps
    /// its slot and its buffer to its end.
    pub(super) fn abandon(&mut self, entry: usize, deferred: &mut Deferred) {
        match mem::replace(&mut self.entries[entry], Entry::Abandoned) {
            Entry::Waiting { op, waker, ticket } => {
                let at = self.waiting.binary_search_by_key(&ticket, |&(ticket, _)| ticket);
                self.waiting.remove(at.expect("every entry that waits is on the list"));
                self.vacate(entry);
                self.stats.completed += 1;
                deferred.drop_op(op);
                deferred.drop_waker(waker);
                // Perhaps it was the last.
                deferred.turn = self.is_drained();
            }
            Entry::Admitted { waker } => {
                self.cancels.push(entry);
                deferred.drop_waker(waker);
                deferred.turn = true;
            }
            Entry::Ended(ended) => {
                self.vacate(entry);
                discard(ended, deferred);
            }
            Entry::Vacant | Entry::Abandoned => unreachable!("a future is dropped once"),
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

    fn vacate(&mut self, entry: usize) -> Entry {
        self.vacant.push(entry);
        mem::replace(&mut self.entries[entry], Entry::Vacant)
    }

    // ---- the event loop's side ----

    /// Moves operations that wait to `admitted`, oldest first, while there are free slots.
    pub(super) fn admit(&mut self, admitted: &mut Vec<(usize, Box<dyn Erased>)>) {
        if mem::take(&mut self.awaits_turn) {
            self.crowded = self.waiting.len() > 1;
        }
        while self.admitted < self.capacity {
            let Some((entry, op, waker)) = self.next_waiting() else { return };
            self.fill(entry, Entry::Admitted { waker });
            admitted.push((entry, op));
            self.admitted += 1;
        }
    }

    /// Some have been submitted, and what ended inside of `io_submit` has been completed.
    pub(super) fn note_submitted(&mut self) {
        self.overlaps = self.admitted > 0;
    }

    /// What has waited for a slot the longest, and does so no longer. Its entry is to be filled.
    #[inline(always)]
    fn next_waiting(&mut self) -> Option<(usize, Box<dyn Erased>, Waker)> {
        let (_, entry) = self.waiting.pop_front()?;
        match mem::replace(&mut self.entries[entry], Entry::Vacant) {
            Entry::Waiting { op, waker, .. } => Some((entry, op, waker)),
            _ => unreachable!("every entry on the list waits"),
        }
    }

    /// The entries that have been abandoned since the last time.
    pub(super) fn take_cancels(&mut self) -> Vec<usize> {
        mem::take(&mut self.cancels)
    }

    /// An operation that was admitted has ended.
    pub(super) fn complete(&mut self, entry: usize, ended: Ended, deferred: &mut Deferred) {
        self.admitted -= 1;
        self.stats.completed += 1;
        match mem::replace(&mut self.entries[entry], Entry::Vacant) {
            Entry::Admitted { waker } => self.end(entry, ended, waker, deferred),
            _ => {
                self.vacant.push(entry);
                discard(ended, deferred);
            }
        }
    }

    #[inline(always)]
    fn end(&mut self, entry: usize, ended: Ended, waker: Waker, deferred: &mut Deferred) {
        self.fill(entry, Entry::Ended(ended));
        deferred.wake(waker);
    }

    // ---- the end ----

    /// Takes no more operations, and gives the ticket of one who waits for the end.
    pub(super) fn close(&mut self, deferred: &mut Deferred) -> u64 {
        self.refusal.get_or_insert(Errno::ECANCELED);
        deferred.turn = self.is_drained();
        self.ticket()
    }

    /// Events can be had no longer, and that is why: takes no more operations, and ends those that wait
    /// for a slot. Those that are admitted end with the context.
    pub(super) fn fail(&mut self, errno: Errno, deferred: &mut Deferred) {
        self.refusal = Some(errno);
        while let Some((entry, op, waker)) = self.next_waiting() {
            self.end(entry, Ended::Done { result: Err(errno), op }, waker, deferred);
            self.stats.completed += 1;
        }
    }

    /// Whether the context has ended; if not, `waker` will be called then.
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

    /// One who waited for the end does so no longer.
    pub(super) fn forget_closer(&mut self, closer: u64, deferred: &mut Deferred) {
        if let Some(waker) = self.closers.remove(&closer) {
            deferred.drop_waker(waker);
        }
    }

    /// The context has ended.
    pub(super) fn set_destroyed(&mut self, deferred: &mut Deferred) {
        self.destroyed = true;
        mem::take(&mut self.closers).into_values().for_each(|waker| deferred.wake(waker));
    }
}

/// Nobody takes this end.
fn discard(ended: Ended, deferred: &mut Deferred) {
    match ended {
        Ended::Done { op, .. } => deferred.drop_op(op),
        Ended::Panicked { payload, op } => {
            deferred.drop_op(op);
            deferred.drop_payload(payload);
        }
    }
}
