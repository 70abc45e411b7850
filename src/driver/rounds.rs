//! [`Rounds`], by which tasks that never wait get equally many turns, on whatever thread they are.
//!
//! A task that gives way goes to the end of the queue of its thread. A runtime brings tasks to a
//! thread that has none, and leaves the others where they are. So while the tasks of two threads
//! find everything in the page cache, those of the longer queue get fewer turns, for good.
//!
//! A library cannot choose a queue. But a waker puts its task in the queue of the thread that calls
//! it, on every runtime that has such queues. So now and then, a task of the thread with the longer
//! *rounds* does not wake itself. It is *offered*, and the next thread with shorter rounds that has
//! a turn wakes it. A round is the number of turns from one turn of a task to its next.
//!
//! # Who wakes a task that is offered
//!
//! Another thread at its next turn; the thread that has offered it, before its next offer; or the
//! driver's clock after a millisecond, if there is no such turn. The alarm is set before the task
//! returns. So no task relies on another one's being polled.

use super::users_code::catch_and_forget;
use crate::raw::ForkGuard;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Waker;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread_local;

thread_local! {
    static HERE: u8 = const { 0 };
}

/// Returns a number that no other thread has meanwhile.
fn this_thread() -> usize {
    HERE.with(|here| core::ptr::from_ref(here).addr())
}

/// The rounds of the threads that poll the futures of one driver.
pub(crate) struct Rounds {
    state: Mutex<State>,
    /// There is an offer. Changed under the lock.
    has_offer: AtomicBool,
    process: ForkGuard,
}

#[derive(Default)]
struct State {
    /// The thread that has told its round last.
    told: Option<(usize, u32)>,
    offer: Option<Offer>,
    last_ticket: u64,
}

struct Offer {
    ticket: u64,
    from: usize,
    round: u32,
    waker: Waker,
}

impl Rounds {
    pub(super) fn new(process: ForkGuard) -> Self {
        Self { state: Mutex::default(), has_offer: AtomicBool::new(false), process }
    }

    /// `None` in a forked child: a thread that it does not have may hold the lock.
    fn lock(&self) -> Option<MutexGuard<'_, State>> {
        self.process.check_strictly().ok()?;
        Some(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts an offer in the place of the one that is there, which is returned.
    fn replace(&self, state: &mut State, offer: Option<Offer>) -> Option<Offer> {
        self.has_offer.store(offer.is_some(), Ordering::Relaxed);
        core::mem::replace(&mut state.offer, offer)
    }

    /// Wakes the task that a thread with longer rounds has offered.
    pub(crate) fn accept(&self, round: u32) {
        if !self.has_offer.load(Ordering::Relaxed) {
            return;
        }
        let Some(mut state) = self.lock() else { return };
        let this = this_thread();
        let accepts = |offer: &Offer| offer.from != this && offer.round > round;
        if !state.offer.as_ref().is_some_and(accepts) {
            return;
        }
        let offer = self.replace(&mut state, None);
        drop(state);
        wake(offer);
    }

    /// Notes the round of this thread. Returns whether that of another thread was shorter.
    pub(crate) fn is_longer(&self, round: u32) -> bool {
        let Some(mut state) = self.lock() else { return false };
        let this = this_thread();
        let before = state.told.replace((this, round));
        before.is_some_and(|(other, shorter)| other != this && shorter < round)
    }

    /// Offers a task of this thread. Returns the ticket of the offer.
    pub(crate) fn offer(&self, round: u32, waker: Waker) -> Option<u64> {
        let Some(mut state) = self.lock() else {
            // The clone of the waker has forked: it may belong to a runtime of the parent's.
            core::mem::forget(waker);
            return None;
        };
        state.last_ticket += 1;
        let (ticket, from) = (state.last_ticket, this_thread());
        let before = self.replace(&mut state, Some(Offer { ticket, from, round, waker }));
        drop(state);
        wake(before);
        Some(ticket)
    }

    /// Takes an offer back, if it is still there.
    pub(crate) fn withdraw(&self, ticket: u64) {
        let Some(mut state) = self.lock() else { return };
        if state.offer.as_ref().is_none_or(|offer| offer.ticket != ticket) {
            return;
        }
        let offer = self.replace(&mut state, None);
        drop(state);
        catch_and_forget(|| drop(offer));
    }
}

fn wake(offer: Option<Offer>) {
    if let Some(Offer { waker, .. }) = offer {
        catch_and_forget(|| waker.wake());
    }
}
