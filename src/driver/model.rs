//! Models of the driver that loom runs through every order of their threads' steps.
//!
//! The [`State`], [`RunLock`] and [`ReactorPolling`] are the driver's own; the kernel, the reactor
//! and the event loop are small ones. A lost wake-up is a deadlock, which loom reports; two threads
//! in one step are an access to the event loop that it reports, too.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --lib driver::model
//! ```

use super::alarm_clock::{Alarms, Key};
use super::announced::{Announcing, Kind, PAUSE};
use super::batching::Decision;
use super::deferred::Deferred;
use super::entry::{EntryRef, Held};
use super::run_lock::{ReactorPolling, RunLock};
use super::state::{GivenUp, State};
use crate::{Operation, Prepared};
use alloc::vec::Vec;
use core::future::poll_fn;
use core::mem;
use core::task::{Poll, Waker};
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::model::Builder;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
use loom::thread;
use std::time::Instant;

/// An operation that says when it is dropped. The kernel of the model never prepares it.
struct Op(Arc<AtomicUsize>);

impl Operation for Op {
    fn prepare(&mut self) -> Prepared<'_> {
        unreachable!("the model has a kernel of its own")
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The part outside of the driver: the kernel's operations, and the eventfd with its reactor.
#[derive(Default)]
struct Outside {
    in_flight: Vec<(EntryRef, Kind)>,
    completed: Vec<EntryRef>,
    readable: bool,
    /// The helper thread is to look for operations that nobody announces.
    look: bool,
    /// The number of times that it has looked.
    looks: u32,
    registered: bool,
    /// Every future has ended.
    ended: bool,
}

#[derive(Default)]
struct EventLoop {
    /// The operations in the kernel.
    ops: Vec<(EntryRef, Kind)>,
    announcing: Announcing,
    submitted: bool,
}

struct Model {
    state: Mutex<State>,
    run_lock: RunLock,
    woken: ReactorPolling,
    event_loop: UnsafeCell<EventLoop>,
    outside: Mutex<Outside>,
    changed: Condvar,
    dropped: Arc<AtomicUsize>,
    /// The deadline of all, and whether the model's clock has come to it.
    deadline: Instant,
    late: AtomicBool,
    alarms: Mutex<Alarms>,
    /// The kernel completes nothing before every future has ended.
    hangs: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics under it")
}

impl Model {
    fn new(capacity: usize, hangs: bool, announcing: Announcing) -> Arc<Self> {
        let model = Arc::new(Self {
            state: Mutex::new(State::new(capacity)),
            run_lock: RunLock::new(),
            woken: ReactorPolling::new(),
            event_loop: UnsafeCell::new(EventLoop { announcing, ..EventLoop::default() }),
            outside: Mutex::default(),
            changed: Condvar::new(),
            dropped: Arc::new(AtomicUsize::new(0)),
            deadline: Instant::now(),
            late: AtomicBool::new(false),
            alarms: Mutex::default(),
            hangs,
        });
        model.run_event_loop();
        model
    }

    fn with_state<R>(&self, step: impl FnOnce(&mut State, &mut Deferred) -> R) -> R {
        let mut deferred = Deferred::default();
        let result = step(&mut lock(&self.state), &mut deferred);
        if deferred.run_on_helper {
            self.change(|outside| outside.readable = true);
        }
        let run_now = deferred.run_now;
        deferred.run_users_code(|| true);
        if run_now {
            self.run_event_loop();
        }
        result
    }

    fn run_event_loop(&self) {
        self.run_lock.take(|| {
            self.woken.poll_until_pending(|| self.poll_reactor());
            self.step()
        });
    }

    /// Ready and taken, or registered.
    fn poll_reactor(&self) -> bool {
        self.change(|outside| {
            outside.registered = true;
            mem::take(&mut outside.readable)
        })
    }

    fn step(&self) -> bool {
        let event_loop = self.event_loop.get_mut();
        // SAFETY: Only in a step, which loom checks: it notices every other access during this one.
        let event_loop = unsafe { event_loop.deref() };
        let mut completed = mem::take(&mut lock(&self.outside).completed);
        let has_completed = !completed.is_empty();
        let mut admitted = Vec::new();
        self.with_state(|state, deferred| {
            for &entry in &completed {
                let at =
                    event_loop.ops.iter().position(|op| op.0 == entry).expect("it was submitted");
                let (_, kind) = event_loop.ops.swap_remove(at);
                event_loop.announcing.ended(kind);
                entry.set_result(Ok(0));
            }
            state.complete_all(&mut completed, deferred);
            // Reads cannot be cancelled.
            state.take_cancels();
            state.admit(&mut admitted);
        });
        if mem::take(&mut event_loop.submitted) {
            event_loop.announcing.submitted();
        }
        if event_loop.announcing.overlooks() {
            // The model's clock goes on with each look.
            let announcing = &mut event_loop.announcing;
            self.change(|outside| {
                let now = self.deadline + PAUSE * outside.looks;
                outside.look |= announcing.next_look(now).is_some();
            });
        }
        let names = event_loop.announcing.names();
        event_loop.submitted = !admitted.is_empty();
        for entry in admitted {
            let kind = if names { Kind::Transfer } else { Kind::SilentTransfer };
            event_loop.announcing.pushed(kind);
            event_loop.ops.push((entry, kind));
            self.change(|outside| outside.in_flight.push((entry, kind)));
        }
        // What was submitted silently may have completed inside, and must be looked for.
        has_completed || event_loop.submitted && !names
    }

    /// The kernel and the reactor, on their thread, until all has ended and nothing is left to do.
    fn complete(&self) {
        let mut outside = lock(&self.outside);
        loop {
            let completed =
                if self.hangs && !outside.ended { None } else { outside.in_flight.pop() };
            if let Some((entry, kind)) = completed {
                outside.completed.push(entry);
                outside.readable |= kind != Kind::SilentTransfer;
            } else if outside.readable && outside.registered {
                outside.registered = false;
                drop(outside);
                self.woken.set();
                self.run_event_loop();
                outside = lock(&self.outside);
            } else if mem::take(&mut outside.look) {
                outside.looks += 1;
                drop(outside);
                self.run_event_loop();
                outside = lock(&self.outside);
            } else if outside.ended {
                return;
            } else {
                outside = self.changed.wait(outside).expect("nothing panics under it");
            }
        }
    }

    /// Changes what is outside, and tells the kernel and the reactor.
    fn change<R>(&self, change: impl FnOnce(&mut Outside) -> R) -> R {
        let result = change(&mut lock(&self.outside));
        self.changed.notify_one();
        result
    }

    fn start(&self, waker: Waker) -> EntryRef {
        let op = Held::new(Op(Arc::clone(&self.dropped)));
        let entry = op.share();
        mem::forget(op);
        let decision = lock(&self.state).start(entry, waker);
        self.submit(decision);
        entry
    }

    /// Looks whether the operation has ended, without the lock, and takes it then.
    fn take_end(&self, entry: EntryRef) -> bool {
        let has_ended = entry.has_ended();
        if has_ended {
            assert_eq!(entry.result(), Ok(0));
            // SAFETY: It has ended, and the caller, its future, asks no more.
            drop(unsafe { entry.hold::<Op>() });
        }
        has_ended
    }

    fn submit(&self, decision: Decision) {
        match decision {
            Decision::Now => self.run_event_loop(),
            Decision::AfterReadyTasks => self.change(|outside| outside.readable = true),
            Decision::WithNextStep => {}
        }
    }

    /// A future as it is: started, and polled until it ends.
    fn run(&self) {
        let mut started = None;
        block_on(poll_fn(|cx| {
            let entry = self.poll(&mut started, cx.waker());
            if self.take_end(entry) { Poll::Ready(()) } else { Poll::Pending }
        }));
    }

    /// Starts an operation, or sets the waker of one that has started.
    fn poll(&self, started: &mut Option<EntryRef>, waker: &Waker) -> EntryRef {
        match *started {
            None => *started.insert(self.start(waker.clone())),
            Some(entry) => {
                self.with_state(|state, deferred| {
                    state.set_waker(entry, waker.clone(), deferred);
                });
                entry
            }
        }
    }

    /// A future with a deadline, as it is: it ends with its operation, or when the clock has come
    /// to the deadline.
    fn run_until_deadline(&self) {
        let mut started = None;
        let mut key = None;
        block_on(poll_fn(|cx| {
            let entry = self.poll(&mut started, cx.waker());
            if self.take_end(entry) {
                return Poll::Ready(());
            }
            self.set_alarm(&mut key, cx.waker());
            if !self.late.load(Ordering::SeqCst) {
                return Poll::Pending;
            }
            let given_up = self.with_state(|state, deferred| state.give_up(entry, deferred));
            // It may have ended since, or never been admitted: it is dropped here then.
            if given_up != GivenUp::Left {
                // SAFETY: It is its future's, which asks no more.
                drop(unsafe { entry.hold::<Op>() });
            }
            Poll::Ready(())
        }));
        key.map(|key| lock(&self.alarms).clear(key));
    }

    /// Does what `Alarm::set` does.
    fn set_alarm(&self, key: &mut Option<Key>, waker: &Waker) {
        let mut alarms = lock(&self.alarms);
        let key = *key.get_or_insert_with(|| alarms.key(self.deadline));
        if !alarms.wakes(key, waker) {
            let before = alarms.set(key, waker.clone());
            drop(alarms);
            drop(before);
        }
    }

    /// The clock comes to the deadline, and calls the alarms that are set. One that is set later
    /// finds the clock there.
    fn pass_deadline(&self) {
        self.late.store(true, Ordering::SeqCst);
        loop {
            let waker = lock(&self.alarms).take_due(self.deadline);
            match waker {
                Some(waker) => waker.wake(),
                None => return,
            }
        }
    }

    /// A future that is polled once, and dropped.
    fn run_and_drop(&self) {
        let entry = self.start(Waker::noop().clone());
        self.with_state(|state, deferred| {
            // SAFETY: The caller is its future, which has started it and forgets it.
            unsafe { state.abandon(entry, deferred) }
        });
    }

    fn check(&self, operations: usize) {
        assert_eq!(lock(&self.state).outstanding(), 0);
        assert_eq!(self.dropped.load(Ordering::SeqCst), operations);
    }
}

/// Runs the kernel with these futures, each on a thread, in every order with few preemptions.
fn model(capacity: usize, futures: &'static [fn(&Model)]) {
    run(capacity, futures, futures.len(), false, Announcing::default);
}

/// Does the same with a kernel that hangs. The last of these is the timer.
fn model_of_deadlines(capacity: usize, futures: &'static [fn(&Model)], hangs: bool) {
    run(capacity, futures, futures.len() - 1, hangs, Announcing::default);
}

/// Does the same with operations that do not name the eventfd.
fn model_of_silence(capacity: usize, futures: &'static [fn(&Model)]) {
    run(capacity, futures, futures.len(), false, Announcing::after_a_streak);
}

fn run(
    capacity: usize,
    futures: &'static [fn(&Model)],
    operations: usize,
    hangs: bool,
    announcing: fn() -> Announcing,
) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(move || {
        let model = Model::new(capacity, hangs, announcing());
        let kernel = thread::spawn({
            let model = Arc::clone(&model);
            move || model.complete()
        });
        let (last, others) = futures.split_last().expect("at least one");
        let others: Vec<_> = others
            .iter()
            .map(|future| {
                let model = Arc::clone(&model);
                thread::spawn(move || future(&model))
            })
            .collect();
        last(&model);
        for thread in others {
            thread.join().expect("no panic");
        }
        model.change(|outside| outside.ended = true);
        kernel.join().expect("no panic");
        model.check(operations);
    });
}

/// A future that registers its waker while its operation completes is woken, or finds the end.
#[test]
fn registration_against_completion() {
    model(1, &[Model::run]);
}

/// A future that is dropped while its operation completes leaves nothing, and drops it once.
#[test]
fn drop_against_completion() {
    model(1, &[Model::run_and_drop]);
}

/// One that waits for the slot of another gets it, whichever thread runs the event loop.
#[test]
fn two_futures_and_one_slot() {
    model(1, &[Model::run, Model::run]);
}

/// One that is submitted by the reactor, beside another, is.
#[test]
fn two_futures_and_two_slots() {
    model(2, &[Model::run, Model::run]);
}

/// One that waits for the slot of another that is dropped gets it.
#[test]
fn a_dropped_future_and_one_that_waits() {
    model(1, &[Model::run_and_drop, Model::run]);
}

/// A future whose deadline passes while it registers its waker ends, even if its operation hangs.
#[test]
fn deadline_against_registration() {
    model_of_deadlines(1, &[Model::run_until_deadline, Model::pass_deadline], true);
}

/// A deadline that passes while the operation completes leaves nothing, and drops it once.
#[test]
fn deadline_against_completion() {
    model_of_deadlines(1, &[Model::run_until_deadline, Model::pass_deadline], false);
}

/// One that waits for the slot of another whose deadline passes ends, too.
#[test]
fn two_deadlines_and_one_slot() {
    const TIMED: fn(&Model) = Model::run_until_deadline;
    model_of_deadlines(1, &[TIMED, TIMED, Model::pass_deadline], true);
}

/// An operation that does not name the eventfd is found, whether it completes before the step after
/// its submit or later.
#[test]
fn an_operation_that_nobody_announces() {
    model_of_silence(1, &[Model::run]);
}

/// The same for two, of which the second may name the eventfd.
#[test]
fn two_operations_that_nobody_announces() {
    model_of_silence(2, &[Model::run, Model::run]);
}

/// The same for one that is dropped, and another that waits for its slot.
#[test]
fn one_that_nobody_announces_is_dropped() {
    model_of_silence(1, &[Model::run_and_drop, Model::run]);
}
