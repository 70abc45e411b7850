//! [`Sides`], which keeps writes around the page cache and writes through it apart in time.
//!
//! When a direct write has ended, the kernel drops its range from the page cache. The page cache
//! may hold that range and its neighbourhood in one large piece, which another program's read has
//! brought in. If a write through the page cache has made that piece dirty meanwhile, it cannot be
//! dropped. The kernel then has the file's next sync, and its next direct read, fail with `EIO`.
//!
//! # Futures that are not polled
//!
//! A program may poll a write once, and await another write of the file before it polls the first
//! again. A [`FileWriter`](super::FileWriter) between two calls is in the same place. Neither may
//! hold up the other write. So a write leaves its side when its operation has ended, and not when
//! its future is polled. A write that waits and is not polled is overtaken by others, once no write
//! is in flight and they have let it go first some times.

#[cfg(all(test, loom))]
mod model;

use crate::driver::users_code::catch_and_forget;
use crate::primitive::{Mutex, MutexGuard};
use crate::raw::ForkGuard;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::sync::PoisonError;

/// The side of the page cache that a write is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Around,
    Through,
}

/// Admits any number of writes of one side at a time, first come, first served.
#[derive(Debug)]
pub(super) struct Sides {
    state: Mutex<State>,
    process: ForkGuard,
}

#[derive(Debug, Default)]
struct State {
    /// The number of writes of each side that are in flight.
    active: [usize; 2],
    waiting: VecDeque<Waiting>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    side: Side,
    /// `None` once it was called.
    waker: Option<Waker>,
}

/// The number of times that a write lets others run before it overtakes the first that waits.
const PATIENCE: u32 = if cfg!(loom) { 1 } else { 8 };

impl State {
    fn admits(&self, side: Side) -> bool {
        match side {
            Side::Around => self.active[Side::Through as usize] == 0,
            Side::Through => self.active[Side::Around as usize] == 0,
        }
    }

    fn take(&mut self, ticket: u64) -> Option<Waiting> {
        let at = self.waiting.iter().position(|waiting| waiting.ticket == ticket)?;
        self.waiting.remove(at)
    }

    /// Returns whether no write is in flight.
    fn is_idle(&self) -> bool {
        self.active == [0, 0]
    }

    /// Returns the wakers of those that can go on: of the first, or, if no write is in flight, of
    /// all. The first may not be polled for long, and nobody is left then who would wake others.
    fn next(&mut self) -> Vec<Waker> {
        let count = match self.waiting.front() {
            Some(_) if self.is_idle() => self.waiting.len(),
            Some(first) if self.admits(first.side) => 1,
            _ => 0,
        };
        self.waiting.iter_mut().take(count).filter_map(|waiting| waiting.waker.take()).collect()
    }
}

impl Sides {
    pub(super) fn new() -> Arc<Self> {
        let process = ForkGuard::of_this_process();
        Arc::new(Self { state: Mutex::default(), process })
    }

    /// Enters if there is no write of the other side, and nobody waits.
    pub(super) fn try_enter(self: &Arc<Self>, side: Side) -> Option<Entered> {
        // The child's request will be refused by the driver.
        if let Some(mut state) = self.lock() {
            if !(state.waiting.is_empty() && state.admits(side)) {
                return None;
            }
            state.active[side as usize] += 1;
        }
        Some(Entered { sides: Arc::clone(self), side })
    }

    /// Waits for a time in which there is no write of the other side.
    pub(super) fn enter(self: &Arc<Self>, side: Side) -> Enter {
        Enter { sides: Arc::clone(self), side, ticket: None, waited: 0 }
    }

    /// `None` in a forked child: a thread that it does not have may hold the lock.
    fn lock(&self) -> Option<MutexGuard<'_, State>> {
        self.process.check_strictly().ok()?;
        Some(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        catch_and_forget(|| waker.wake());
    }
}

/// From [`Sides::enter`].
pub(super) struct Enter {
    sides: Arc<Sides>,
    side: Side,
    ticket: Option<u64>,
    /// The number of times that it has let the first go first.
    waited: u32,
}

impl Future for Enter {
    type Output = Entered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Entered> {
        // The clone is a user's code, which must not run under the lock.
        let mut waker = Some(cx.waker().clone());
        let (sides, side) = (Arc::clone(&self.sides), self.side);
        let entered = || Entered { sides: Arc::clone(&sides), side };
        // The child's request will be refused by the driver.
        let Some(mut state) = sides.lock() else { return Poll::Ready(entered()) };
        let is_first = match (self.ticket, state.waiting.front()) {
            (Some(ticket), Some(first)) => first.ticket == ticket,
            (_, first) => first.is_none(),
        };
        let overtakes = state.is_idle() && self.waited >= PATIENCE;
        if (is_first || overtakes) && state.admits(side) {
            state.active[side as usize] += 1;
            let own = self.ticket.take().and_then(|ticket| state.take(ticket));
            let next = state.next();
            drop(state);
            catch_and_forget(|| drop((own, waker)));
            wake(next);
            return Poll::Ready(entered());
        }
        match self.ticket {
            Some(ticket) => {
                let mut waiting = state.waiting.iter_mut();
                if let Some(own) = waiting.find(|waiting| waiting.ticket == ticket) {
                    core::mem::swap(&mut own.waker, &mut waker);
                }
            }
            None => {
                state.next_ticket += 1;
                let ticket = state.next_ticket;
                state.waiting.push_back(Waiting { ticket, side, waker: waker.take() });
                self.ticket = Some(ticket);
            }
        }
        let is_idle = state.is_idle();
        drop(state);
        catch_and_forget(|| drop(waker));
        if is_idle {
            // Nobody who is in flight would wake it.
            self.waited += 1;
            catch_and_forget(|| cx.waker().wake_by_ref());
        }
        Poll::Pending
    }
}

impl Drop for Enter {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let Some(mut state) = self.sides.lock() else { return };
        let own = state.take(ticket);
        let next = state.next();
        drop(state);
        catch_and_forget(|| drop(own));
        wake(next);
    }
}

/// A write of a side is under way. It is part of the operation, so that it lasts as long as that:
/// longer than its future, if that is dropped.
pub(super) struct Entered {
    sides: Arc<Sides>,
    side: Side,
}

impl Entered {
    pub(super) fn side(&self) -> Side {
        self.side
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let Some(mut state) = self.sides.lock() else { return };
        state.active[self.side as usize] -= 1;
        let next = state.next();
        drop(state);
        wake(next);
    }
}
