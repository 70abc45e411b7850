//! Users' code that panics in the middle of the queue's work: nothing is lost, nothing is dropped
//! twice, and the queue goes on.

use crate::common;

use common::{Watchdog, queue};
use core::cell::Cell;
use core::panic::AssertUnwindSafe;
use linux_aio::op::Read;
use linux_aio::{Operation, Prepared, Queue};
use std::fs::File;
use std::panic::{catch_unwind, resume_unwind};
use std::rc::Rc;

/// Panics where it is told to, and counts its drops.
struct Fragile {
    read: Read<File, Vec<u8>>,
    panics_in_prepare: bool,
    panics_in_drop: bool,
    drops: Rc<Cell<u32>>,
}

impl Operation for Fragile {
    fn prepare(&mut self) -> Prepared<'_> {
        if self.panics_in_prepare {
            resume_unwind(Box::new("in prepare"));
        }
        self.read.prepare()
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        self.drops.set(self.drops.get() + 1);
        if self.panics_in_drop {
            resume_unwind(Box::new("in drop"));
        }
    }
}

fn fragile(drops: &Rc<Cell<u32>>) -> Fragile {
    let read = Read::new(File::open("/dev/zero").expect("/dev/zero"), vec![1; 16], 0);
    Fragile { read, panics_in_prepare: false, panics_in_drop: false, drops: Rc::clone(drops) }
}

fn push(queue: &mut Queue<Fragile>, op: Fragile) {
    queue.push(op).map_err(|error| error.errno()).expect("a slot");
}

/// Everything comes out, then the queue takes and completes as many as it has slots.
fn assert_whole(queue: &mut Queue<Fragile>, capacity: u32) {
    while queue.wait().expect("a wait").is_some() {}
    let drops = Rc::new(Cell::new(0));
    for _ in 0..capacity {
        push(queue, fragile(&drops));
    }
    assert!(queue.push(fragile(&drops)).is_err());
    let mut completed = 0;
    while let Some(done) = queue.wait().expect("a wait") {
        assert_eq!(done.result, Ok(16));
        completed += 1;
    }
    assert_eq!((completed, queue.stats().stray_events), (capacity, 0));
}

/// Goal: a panic in `prepare` leaves the queue as it was, and drops the operation once. Method: in
/// a new push, between others that are queued.
#[test]
fn a_panic_in_prepare_costs_only_its_own_operation() {
    let _watchdog = Watchdog::new();
    let (drops, others) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let mut queue = queue(4);
    push(&mut queue, fragile(&others));
    for round in 1..=6 {
        let mut op = fragile(&drops);
        op.panics_in_prepare = true;
        assert!(catch_unwind(AssertUnwindSafe(|| queue.push(op).is_ok())).is_err());
        assert_eq!((drops.get(), queue.queued()), (round, 1));
    }
    push(&mut queue, fragile(&others));
    assert_eq!(queue.submit(), Ok(2));
    assert_whole(&mut queue, 4);
    assert_eq!(others.get(), 2);
}

/// Goal: the same for an operation that is pushed again from its place. Method: it panics in its
/// second `prepare`.
#[test]
fn a_panic_in_prepare_of_push_again_frees_the_slot() {
    let _watchdog = Watchdog::new();
    let drops = Rc::new(Cell::new(0));
    let mut queue = queue(1);
    push(&mut queue, fragile(&drops));
    let mut ready = queue.wait_ready().expect("a wait").expect("a completion");
    ready.op_mut().panics_in_prepare = true;
    assert!(catch_unwind(AssertUnwindSafe(|| ready.push_again())).is_err());
    assert_eq!((drops.get(), queue.in_flight(), queue.queued()), (1, 0, 0));
    assert_whole(&mut queue, 1);
}

/// Goal: a completion used in place whose drop panics still frees its slot.
#[test]
fn a_panicking_drop_of_ready_frees_the_slot() {
    let _watchdog = Watchdog::new();
    let drops = Rc::new(Cell::new(0));
    let mut queue = queue(1);
    push(&mut queue, fragile(&drops));
    let mut ready = queue.wait_ready().expect("a wait").expect("a completion");
    ready.op_mut().panics_in_drop = true;
    assert!(catch_unwind(AssertUnwindSafe(|| drop(ready))).is_err());
    assert_eq!(drops.get(), 1);
    assert_whole(&mut queue, 1);
}

/// Goal: one operation whose drop panics does not keep the others from being dropped with the
/// queue. Method: the panicking one first, in the middle and last; in flight, done or only pushed.
#[test]
fn a_panicking_drop_in_the_queues_drop_keeps_no_other() {
    let _watchdog = Watchdog::new();
    for at in 0..5 {
        for submit in [true, false] {
            let drops = Rc::new(Cell::new(0));
            let mut queue = queue(5);
            for i in 0..5 {
                let mut op = fragile(&drops);
                op.panics_in_drop = i == at;
                push(&mut queue, op);
            }
            if submit {
                assert_eq!(queue.submit(), Ok(5));
            }
            assert!(catch_unwind(AssertUnwindSafe(|| drop(queue))).is_err());
            assert_eq!(drops.get(), 5, "panic in drop {at}");
        }
    }
}

/// Goal: a panic of the user's between two completions loses none. Method: `for_each` panics at
/// each of eight; the next call brings the others.
#[test]
fn a_panic_in_for_each_leaves_the_rest_for_the_next_call() {
    let _watchdog = Watchdog::new();
    for nth in 1..=8 {
        let drops = Rc::new(Cell::new(0));
        let mut queue = queue(8);
        for _ in 0..8 {
            push(&mut queue, fragile(&drops));
        }
        let seen = Cell::new(0);
        let mut each = |_: &mut Queue<Fragile>, _done| {
            seen.set(seen.get() + 1);
            if seen.get() == nth {
                resume_unwind(Box::new("in for_each"));
            }
        };
        let panicked = catch_unwind(AssertUnwindSafe(|| queue.for_each(&mut each)));
        assert!(panicked.is_err());
        assert_eq!(seen.get(), nth);
        queue.for_each(each).expect("the rest");
        assert_eq!((seen.get(), drops.get()), (8, 8));
    }
}
