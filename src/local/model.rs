//! Models of the sleep of `block_on` that loom runs through every order of the threads' steps.
//!
//! The [`Sleep`] is the driver's own; the kernel is a small one. A lost wake-up is a deadlock,
//! which loom reports.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --lib local::model
//! ```

use super::sleep::{How, Sleep};
use alloc::vec::Vec;
use loom::model::Builder;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// Ends a sleep, and lasts until there is one: a readable eventfd, or the token of a thread
/// that is parked.
#[derive(Default)]
struct End {
    has_come: Mutex<bool>,
    changed: Condvar,
}

impl End {
    fn comes(&self) {
        *self.has_come.lock().expect("no panic") = true;
        self.changed.notify_one();
    }

    /// Waits, and takes it. The sleep of the driver has no bound here, and nothing else ends it.
    fn wait(&self) {
        let mut has_come = self.has_come.lock().expect("no panic");
        while !*has_come {
            has_come = self.changed.wait(has_come).expect("no panic");
        }
        *has_come = false;
    }
}

struct Model {
    sleep: Sleep,
    in_kernel: End,
    parked: End,
    /// The number of things that have been done for the future.
    done: AtomicUsize,
}

impl Model {
    fn end(&self, how: How) -> &End {
        match how {
            How::InKernel => &self.in_kernel,
            How::Parked => &self.parked,
        }
    }

    /// Does something that the future waits for, and wakes it.
    fn wake(&self) {
        // The waker alone has to make it seen.
        self.done.fetch_add(1, Ordering::Relaxed);
        if let Some(how) = self.sleep.wake() {
            self.end(how).comes();
        }
    }

    /// Does what `block_on` does: polls, and sleeps unless it has been woken. It sleeps in turn in
    /// the ways that are given.
    fn block_on(&self, all: usize, ways: &[How]) {
        let mut ways = ways.iter().cycle();
        while self.done.load(Ordering::Relaxed) < all {
            while !self.sleep.take_woken() {
                let how = *ways.next().expect("a way to sleep");
                self.sleep.sleeping(how, || self.end(how).wait());
            }
        }
    }
}

/// Runs `block_on` beside threads each of which wakes it so many times.
fn model(wakes: &'static [usize], ways: &'static [How]) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(move || {
        let model = Arc::new(Model {
            sleep: Sleep::new(),
            in_kernel: End::default(),
            parked: End::default(),
            done: AtomicUsize::new(0),
        });
        let wakers: Vec<_> = wakes
            .iter()
            .map(|&count| {
                let model = Arc::clone(&model);
                thread::spawn(move || (0..count).for_each(|_| model.wake()))
            })
            .collect();
        model.block_on(wakes.iter().sum(), ways);
        for waker in wakers {
            waker.join().expect("no panic");
        }
    });
}

/// A thread that is about to sleep, in either way, is woken.
#[test]
fn one_wake_against_going_to_sleep() {
    model(&[1], &[How::InKernel]);
    model(&[1], &[How::Parked]);
}

/// Wakes that come while the thread has not noticed one before are noticed with it.
#[test]
fn two_wakes_of_one_thread() {
    model(&[2], &[How::InKernel]);
    model(&[2], &[How::Parked]);
}

/// Wakes of two threads, one of which ends a sleep late: when the thread sleeps again, in another
/// way.
#[test]
fn wakes_of_two_threads() {
    model(&[1, 1], &[How::InKernel]);
    model(&[1, 1], &[How::InKernel, How::Parked]);
    model(&[2, 1], &[How::Parked, How::InKernel]);
}
