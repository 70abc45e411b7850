//! Models of the pool that loom runs through every order of their threads' steps.
//!
//! The [`Places`] are the pool's own. A lost wake-up is a deadlock, which loom reports; two threads
//! in one place are an access that it reports, too.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --lib pool::model
//! ```

use super::places::Places;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::task::{Poll, Waker};
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;

struct Model {
    places: Places,
    /// The content of each place.
    memory: Vec<UnsafeCell<usize>>,
}

impl Model {
    fn use_and_give(&self, place: usize) {
        self.memory[place].with_mut(|memory| {
            // SAFETY: Only who has the place does this, which loom checks.
            unsafe { *memory += 1 };
        });
        self.places.give(place, || false);
    }

    /// A future as it is: polled until it has a place.
    fn take(&self) {
        let mut ticket = None;
        let place = block_on(poll_fn(|cx| {
            let place = match ticket {
                Some(ticket) => self.places.collect(ticket, Some(cx.waker().clone())),
                None if !self.places.is_awaited() => self.places.claim(),
                None => None,
            };
            let place = place.or_else(|| {
                let enqueued = ticket.is_none();
                let ticket = *ticket.get_or_insert_with(|| self.places.enqueue(cx.waker().clone()));
                enqueued.then(|| self.places.collect(ticket, None)).flatten()
            });
            place.map_or(Poll::Pending, Poll::Ready)
        }));
        self.use_and_give(place);
    }

    /// A future that is polled once, and dropped.
    fn take_and_drop(&self) {
        let ticket = self.places.enqueue(Waker::noop().clone());
        self.places.give_up(ticket);
    }

    fn try_take(&self) {
        if self.places.is_awaited() {
            return;
        }
        if let Some(place) = self.places.claim() {
            self.use_and_give(place);
        }
    }
}

/// Runs these, each on a thread, in every order with few preemptions.
fn model(count: usize, users: &'static [fn(&Model)]) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let memory = (0..count).map(|_| UnsafeCell::new(0)).collect();
        let model = Arc::new(Model { places: Places::new(count), memory });
        let (last, others) = users.split_last().expect("at least one");
        let others: Vec<_> = others
            .iter()
            .map(|user| {
                let model = Arc::clone(&model);
                thread::spawn(move || user(&model))
            })
            .collect();
        last(&model);
        for thread in others {
            thread.join().expect("no panic");
        }
        assert_eq!((model.places.free(), model.places.is_awaited()), (count, false));
    });
}

/// A future that begins to wait while the buffer is given back gets it.
#[test]
fn waiting_against_giving_back() {
    model(1, &[Model::take, Model::take]);
}

/// A future that is dropped with its buffer, or before it, loses none.
#[test]
fn a_dropped_future_and_one_that_waits() {
    model(1, &[Model::take_and_drop, Model::take]);
}

/// Nobody has the buffer of another, however it was taken.
#[test]
fn futures_beside_a_thread_that_does_not_wait() {
    model(1, &[Model::try_take, Model::take, Model::take_and_drop]);
}

/// Two buffers and three users.
#[test]
fn two_buffers_and_three_futures() {
    model(2, &[Model::take, Model::take, Model::take]);
}
