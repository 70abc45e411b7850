//! [`State`], the table of a driver's operations. Plain data behind the driver's lock.

use super::batching::{Batching, Decision};
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

/// See [`Driver::retry_submits_for`](super::Driver::retry_submits_for). What ends within this time
/// is a shortage that passes; afterwards somebody must be told.
const RETRY_LIMIT: Duration = Duration::from_secs(30);

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
        match mem::replace(&mut self.entries[entry], Entry::Abandoned) {
            Entry::Waiting { op, waker, ticket } => {
                let at = self.waiting.binary_search_by_key(&ticket, |&(ticket, _)| ticket);
                self.waiting.remove(at.expect("every entry that waits is on the list"));
                self.vacate(entry);
                self.stats.completed += 1;
                deferred.drop_op(op);
                deferred.drop_waker(waker);
                // Perhaps it was the last.
                deferred.run_now = self.is_drained();
            }
            Entry::Admitted { waker } => {
                self.cancels.push(entry);
                deferred.drop_waker(waker);
                deferred.run_now = true;
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
        self.batching.note_step(self.waiting.len());
        while self.admitted < self.capacity {
            let Some((entry, op, waker)) = self.next_waiting() else { return };
            self.fill(entry, Entry::Admitted { waker });
            admitted.push((entry, op));
            self.admitted += 1;
        }
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

/// Drops an outcome that no future takes.
fn discard(ended: Ended, deferred: &mut Deferred) {
    match ended {
        Ended::Done { op, .. } => deferred.drop_op(op),
        Ended::Panicked { payload, op } => {
            deferred.drop_op(op);
            deferred.drop_payload(payload);
        }
    }
}
