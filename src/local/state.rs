//! [`State`], what a local driver has beside its entries and its queue. Plain data, borrowed for
//! moments in which no code of a user runs.

use super::entries::EntryRef;
use super::stage::Phase;
use crate::Errno;
use crate::driver::batching::Batching;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;
use core::task::Waker;

#[derive(Default)]
pub(super) struct State {
    /// Tickets and entries that wait for a slot, oldest first.
    waiting: VecDeque<(u64, EntryRef)>,
    next_ticket: u64,
    /// Entries that have been abandoned and are to be cancelled.
    cancels: Vec<EntryRef>,
    pub(super) batching: Batching,
    /// The reason if no more operations are taken.
    refusal: Option<Errno>,
    /// The context has ended.
    pub(super) destroyed: bool,
    /// The callers that wait for that, by ticket.
    closers: Vec<(u64, Waker)>,
}

impl State {
    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    // ---- operations that wait for a slot ----

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Has an operation wait, behind the others.
    pub(super) fn wait(&mut self, entry: EntryRef) {
        let ticket = self.ticket();
        entry.ticket.set(ticket);
        entry.set_phase(Phase::WAITING);
        self.waiting.push_back((ticket, entry));
    }

    /// Takes the entry whose operation has waited the longest.
    pub(super) fn next_waiting(&mut self) -> Option<EntryRef> {
        let (_, entry) = self.waiting.pop_front()?;
        entry.set_phase(Phase::FLYING);
        Some(entry)
    }

    /// Takes an entry whose future is gone off the list.
    pub(super) fn wait_no_longer(&mut self, entry: EntryRef) {
        let ticket = entry.ticket.get();
        let at = self.waiting.binary_search_by_key(&ticket, |&(ticket, _)| ticket);
        self.waiting.remove(at.expect("every entry that waits is on the list"));
    }

    /// Returns whether a step has more to do than to take completions and to submit.
    pub(super) fn is_busy(&self) -> bool {
        !self.waiting.is_empty() || !self.cancels.is_empty() || self.refusal.is_some()
    }

    // ---- operations that are to be cancelled ----

    /// Has the operation of an abandoned entry cancelled.
    pub(super) fn cancel(&mut self, entry: EntryRef) {
        self.cancels.push(entry);
    }

    /// Takes an entry that has been abandoned, and whose operation has not ended since.
    pub(super) fn next_cancel(&mut self) -> Option<EntryRef> {
        while let Some(entry) = self.cancels.pop() {
            if entry.phase() == Phase::ABANDONED {
                return Some(entry);
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

    /// Takes no more operations, since events cannot be had any more, for this reason.
    pub(super) fn fail(&mut self, errno: Errno) {
        self.refusal = Some(errno);
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

    /// Takes the wakers of the callers that wait for the end.
    pub(super) fn take_closers(&mut self) -> Vec<Waker> {
        mem::take(&mut self.closers).into_iter().map(|(_, waker)| waker).collect()
    }
}
