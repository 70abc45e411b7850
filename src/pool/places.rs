//! [`Places`], which buffers of a pool are free, and who waits for one.
//!
//! The free buffers are the bits of atomic words, so to take one and to give it back takes no lock.
//! Bits have no ABA problem, which a list of free buffers would have.
//!
//! # Why nobody waits beside a free buffer
//!
//! A thread that gives a buffer back sets the bit, and then looks whether anybody waits. A thread
//! that waits counts itself, and then looks for a bit. A fence lies between the two steps of each,
//! so at least one of the two sees what the other has done.
//!
//! # Why it is fair
//!
//! While a future waits, buffers are taken by [`Places::hand_over`] alone, which serves the first
//! future. A thread that had looked before may still take one. The others then wait for the next.

use crate::driver::users_code::catch_and_forget;
use crate::primitive::{AtomicUsize, Mutex, MutexGuard, Ordering, fence};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::task::Waker;
use std::sync::PoisonError;

const BITS: usize = usize::BITS as usize;

/// See the [module](self).
pub(super) struct Places {
    free: Box<[AtomicUsize]>,
    /// Counts the waiters that have no place yet. Changed under the lock alone.
    waiting: AtomicUsize,
    waiters: Mutex<Waiters>,
}

/// The futures that wait, in the order in which they came. Those that have a place and were not
/// polled since are the first ones.
#[derive(Default)]
struct Waiters {
    entries: VecDeque<Entry>,
    last_ticket: u64,
}

struct Entry {
    ticket: u64,
    /// The index of a place, which is the future's.
    place: Option<usize>,
    waker: Option<Waker>,
}

impl Waiters {
    fn find(&self, ticket: u64) -> Option<usize> {
        self.entries.binary_search_by_key(&ticket, |entry| entry.ticket).ok()
    }
}

impl Places {
    /// Makes `count` places, all free.
    pub(super) fn new(count: usize) -> Self {
        let words = (0..count).step_by(BITS).map(|first| {
            let bits = (count - first).min(BITS);
            AtomicUsize::new(usize::MAX >> (BITS - bits))
        });
        Self { free: words.collect(), waiting: AtomicUsize::new(0), waiters: Mutex::default() }
    }

    /// Returns how many places are free, as far as this thread sees.
    pub(super) fn free(&self) -> usize {
        let count = |word: &AtomicUsize| word.load(Ordering::Relaxed).count_ones() as usize;
        self.free.iter().map(count).sum()
    }

    /// Returns whether a future waits.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Takes a free place, whoever waits: the lowest, so that the same few stay warm.
    pub(super) fn claim(&self) -> Option<usize> {
        for (at, word) in self.free.iter().enumerate() {
            let mut bits = word.load(Ordering::Relaxed);
            while bits != 0 {
                let bit = bits & bits.wrapping_neg();
                // What was done with the place before it was given back happens before this.
                let before = word.fetch_and(!bit, Ordering::Acquire);
                if before & bit != 0 {
                    return Some(at * BITS + bit.trailing_zeros() as usize);
                }
                bits = before;
            }
        }
        None
    }

    /// Sets a place free, which the caller had, and tells nobody.
    pub(super) fn set_free(&self, place: usize) {
        let before = self.free[place / BITS].fetch_or(1 << (place % BITS), Ordering::Release);
        debug_assert_eq!(before & 1 << (place % BITS), 0, "a place was given back twice");
    }

    /// Gives a place back, which the caller had: to the first that waits, if any does.
    ///
    /// `is_forked` is asked only if anybody waits. In a forked child nobody does, and the lock may
    /// be held by a thread that is not there.
    pub(super) fn give(&self, place: usize, is_forked: impl FnOnce() -> bool) {
        self.set_free(place);
        // See the module.
        fence(Ordering::SeqCst);
        if self.is_awaited() && !is_forked() {
            self.hand_over();
        }
    }

    /// Begins to wait, and returns the ticket by which the place is had.
    pub(super) fn enqueue(&self, waker: Waker) -> u64 {
        let mut waiters = self.lock();
        waiters.last_ticket += 1;
        let ticket = waiters.last_ticket;
        waiters.entries.push_back(Entry { ticket, place: None, waker: Some(waker) });
        self.set_waiting(&waiters, 1);
        drop(waiters);
        // See the module.
        fence(Ordering::SeqCst);
        self.hand_over();
        ticket
    }

    /// Returns the place of a ticket, which is used up then. If it has none yet, `waker` is woken
    /// when it has.
    pub(super) fn collect(&self, ticket: u64, mut waker: Option<Waker>) -> Option<usize> {
        let mut waiters = self.lock();
        let at = waiters.find(ticket)?;
        let place = waiters.entries[at].place;
        if place.is_some() {
            waiters.entries.remove(at);
        } else if waker.is_some() {
            core::mem::swap(&mut waiters.entries[at].waker, &mut waker);
        }
        drop(waiters);
        catch_and_forget(|| drop(waker));
        place
    }

    /// Gives a ticket up, and the place that it may have.
    pub(super) fn give_up(&self, ticket: u64) {
        let mut waiters = self.lock();
        let Some(at) = waiters.find(ticket) else { return };
        let Some(Entry { place, waker, .. }) = waiters.entries.remove(at) else { return };
        if place.is_none() {
            self.set_waiting(&waiters, -1);
        }
        drop(waiters);
        catch_and_forget(|| drop(waker));
        if let Some(place) = place {
            self.give(place, || false);
        }
    }

    /// Gives free places to those that wait, in their order, and wakes them.
    fn hand_over(&self) {
        while let Some(waker) = self.grant() {
            catch_and_forget(|| waker.map(Waker::wake));
        }
    }

    /// Gives one free place to the first that waits.
    fn grant(&self) -> Option<Option<Waker>> {
        let mut waiters = self.lock();
        let waiting = self.waiting.load(Ordering::Relaxed);
        let first = waiters.entries.len().checked_sub(waiting).filter(|_| waiting > 0)?;
        let place = self.claim()?;
        let entry = &mut waiters.entries[first];
        entry.place = Some(place);
        let waker = entry.waker.take();
        self.set_waiting(&waiters, -1);
        Some(waker)
    }

    fn set_waiting(&self, _locked: &MutexGuard<'_, Waiters>, change: isize) {
        let waiting = self.waiting.load(Ordering::Relaxed);
        self.waiting.store(waiting.wrapping_add_signed(change), Ordering::Relaxed);
    }

    /// No users' code runs under the lock, so nothing panics under it.
    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
