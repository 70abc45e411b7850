//! Models of [`Sides`] that loom runs through every order of their threads' steps. A lost wake-up
//! is a deadlock, which loom reports.

use super::{Side, Sides};
use crate::primitive::{AtomicUsize, Ordering};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use loom::future::block_on;
use loom::model::Builder;
use loom::thread;

/// The writes of each side that are in flight.
#[derive(Default)]
struct Writes([AtomicUsize; 2]);

impl Writes {
    /// Does a write of a side, in which there must be none of the other.
    fn write(&self, side: Side) {
        self.0[side as usize].fetch_add(1, Ordering::SeqCst);
        let other = 1 - side as usize;
        assert_eq!(self.0[other].load(Ordering::SeqCst), 0, "a write of each side at once");
        self.0[side as usize].fetch_sub(1, Ordering::SeqCst);
    }
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(model);
}

/// Goal: there are never writes of both sides, and each gets its turn. Method: a thread for each
/// side and one more, whichever enters first.
#[test]
fn writes_of_two_sides_exclude_one_another() {
    check(|| {
        let shared = Arc::new((Sides::new(), Writes::default()));
        let writer = |side| {
            let shared = Arc::clone(&shared);
            move || {
                let (sides, writes) = &*shared;
                let entered = match sides.try_enter(side) {
                    Some(entered) => entered,
                    None => block_on(sides.enter(side)),
                };
                writes.write(side);
                drop(entered);
            }
        };
        let threads = [Side::Around, Side::Through].map(|side| thread::spawn(writer(side)));
        writer(Side::Around)();
        for thread in threads {
            thread.join().expect("no panic");
        }
    });
}

/// Goal: a write whose future is dropped while it waits holds up nobody. Method: it waits before
/// one of its own side and one of the other, and is dropped at any time.
#[test]
fn a_write_that_is_given_up_passes_its_turn_on() {
    check(|| {
        let shared = Arc::new((Sides::new(), Writes::default()));
        let first = shared.0.try_enter(Side::Around).expect("nobody is there");
        let gives_up = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let mut enter = pin!(shared.0.enter(Side::Through));
                block_on(poll_fn(|cx| {
                    let _entered = enter.as_mut().poll(cx);
                    Poll::Ready(())
                }));
            }
        });
        let goes_on = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let entered = block_on(shared.0.enter(Side::Around));
                shared.1.write(Side::Around);
                drop(entered);
            }
        });
        shared.1.write(Side::Around);
        drop(first);
        for thread in [gives_up, goes_on] {
            thread.join().expect("no panic");
        }
    });
}

/// Goal: a write that waits and is not polled again holds up nobody. Method: it waits for its side,
/// and is kept; writes of both sides come after it, on two threads.
#[test]
fn a_write_that_is_not_polled_is_overtaken() {
    check(|| {
        let shared = Arc::new((Sides::new(), Writes::default()));
        let first = shared.0.try_enter(Side::Around).expect("nobody is there");
        let kept = shared.0.enter(Side::Through);
        let mut kept = Box::pin(kept);
        let polled = kept.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        let other = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let entered = block_on(shared.0.enter(Side::Around));
                shared.1.write(Side::Around);
                drop(entered);
            }
        });
        drop(first);
        let entered = block_on(shared.0.enter(Side::Through));
        shared.1.write(Side::Through);
        drop(entered);
        other.join().expect("no panic");
        drop(kept);
    });
}
