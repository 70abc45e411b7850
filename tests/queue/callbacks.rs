//! Callbacks: a function and a value per operation, which may push, cancel and submit; one that
//! panics costs no other its completion.

use crate::common;

use common::files::pipe;
use common::{Watchdog, queue};
use core::panic::AssertUnwindSafe;
use linux_aio::op::{Any, Callback, Poll, Read};
use linux_aio::{Completion, PollEvents, Queue, Token};
use std::cell::RefCell;
use std::fs::File;
use std::panic::catch_unwind;
use std::rc::Rc;
use std::sync::Arc;

type Op = Any<Arc<File>, Vec<u8>>;
type Log = Rc<RefCell<Vec<u32>>>;

/// The user's own: which operation it is, and where to write that down.
struct Note {
    number: u32,
    log: Log,
}

type Called = Callback<Op, Note>;

fn zero() -> Arc<File> {
    Arc::new(File::open("/dev/zero").expect("/dev/zero"))
}

fn read(number: u32, log: &Log, then: fn(&mut Queue<Called>, Completion<Called>)) -> Called {
    let op = Read::new(zero(), vec![1; 16], 0).into();
    Callback { op, value: Note { number, log: Rc::clone(log) }, then }
}

fn note(_: &mut Queue<Called>, done: Completion<Called>) {
    let Any::Read(read) = &done.op.op else { panic!("not a read") };
    assert_eq!((done.result, &read.buf), (Ok(16), &vec![0; 16]));
    done.op.value.log.borrow_mut().push(done.op.value.number);
}

fn push(queue: &mut Queue<Called>, op: Called) -> Token {
    queue.push(op).map_err(|error| error.errno()).expect("a slot")
}

fn sorted(log: &Log) -> Vec<u32> {
    let mut log = log.borrow().clone();
    log.sort_unstable();
    log
}

/// Goal: each operation's own function is called once, with its value and its buffer. Method: a
/// full queue, by `run` and by `dispatch`.
#[test]
fn each_callback_runs_once_with_its_value_and_its_buffer() {
    let _watchdog = Watchdog::new();
    let log = Log::default();
    let mut queue = queue(8);
    for number in 0..8 {
        push(&mut queue, read(number, &log, note));
    }
    queue.run().expect("a run");
    assert_eq!(sorted(&log), (0..8).collect::<Vec<_>>());

    for number in 8..16 {
        push(&mut queue, read(number, &log, note));
    }
    assert_eq!(queue.dispatch().expect("a poll"), 0);
    assert_eq!(queue.submit(), Ok(8));
    assert_eq!(queue.dispatch().expect("a poll"), 8);
    assert_eq!(queue.dispatch().expect("a poll"), 0);
    assert_eq!(sorted(&log), (0..16).collect::<Vec<_>>());
}

/// Goal: the slot is free when the callback runs, so that a full queue can be pushed to from it,
/// and what is pushed there completes in the same run. Method: each of four operations, in a queue
/// of four, pushes another until ten rounds are done.
#[test]
fn a_callback_pushes_into_the_slot_that_it_came_from() {
    let _watchdog = Watchdog::new();
    fn again(queue: &mut Queue<Called>, done: Completion<Called>) {
        let number = done.op.value.number;
        done.op.value.log.borrow_mut().push(number);
        if number < 40 {
            let value = Note { number: number + 4, log: Rc::clone(&done.op.value.log) };
            push(queue, Callback { value, ..done.op });
        }
    }
    let log = Log::default();
    let mut queue = queue(4);
    for number in 0..4 {
        push(&mut queue, read(number, &log, again));
    }
    queue.run().expect("a run");
    assert_eq!(sorted(&log), (0..44).collect::<Vec<_>>());
}

/// Goal: a callback may submit and cancel. Method: a read's callback pushes and submits another
/// read and cancels a POLL that nothing else would end.
#[test]
fn a_callback_submits_and_cancels() {
    let _watchdog = Watchdog::new();
    thread_local! {
        static POLL: RefCell<Option<Token>> = const { RefCell::new(None) };
    }
    fn end_poll(queue: &mut Queue<Called>, done: Completion<Called>) {
        let value = Note { number: 1, log: Rc::clone(&done.op.value.log) };
        done.op.value.log.borrow_mut().push(done.op.value.number);
        push(queue, Callback { value, op: done.op.op, then: note });
        assert_eq!(queue.submit(), Ok(1));
        let poll = POLL.take().expect("the token of the poll");
        assert_eq!(queue.cancel(poll), Ok(()));
    }
    fn cancelled(_: &mut Queue<Called>, done: Completion<Called>) {
        assert_eq!(done.result, Ok(0));
        done.op.value.log.borrow_mut().push(done.op.value.number);
    }
    let log = Log::default();
    let silent = pipe(libc::O_NONBLOCK);
    let mut queue = queue(4);
    let op = Poll::new(Arc::new(silent.reader), PollEvents::IN).into();
    let value = Note { number: 2, log: Rc::clone(&log) };
    let poll = push(&mut queue, Callback { op, value, then: cancelled });
    POLL.set(Some(poll));
    push(&mut queue, read(0, &log, end_poll));
    queue.run().expect("a run");
    assert_eq!(sorted(&log), [0, 1, 2]);
}

/// Goal: a callback that panics ends the call with its panic, and the rest of the batch comes out
/// of the next. Method: the n-th of eight panics, for each n; then both ways go on to the end.
#[test]
fn a_panic_in_the_nth_callback_leaves_the_rest_for_the_next_call() {
    let _watchdog = Watchdog::new();
    fn explode(_: &mut Queue<Called>, done: Completion<Called>) {
        done.op.value.log.borrow_mut().push(done.op.value.number);
        std::panic::resume_unwind(Box::new("a callback's panic"));
    }
    for by_run in [true, false] {
        for nth in 0..8 {
            let log = Log::default();
            let mut queue = queue(8);
            for number in 0..8 {
                let then = if number == nth { explode } else { note };
                push(&mut queue, read(number, &log, then));
            }
            assert_eq!(queue.submit(), Ok(8));
            let mut go = || {
                if by_run {
                    queue.run().expect("a run");
                } else {
                    queue.dispatch().expect("a poll");
                }
            };
            assert!(catch_unwind(AssertUnwindSafe(&mut go)).is_err());
            let before = log.borrow().len();
            assert!(before <= 8 && log.borrow().contains(&nth));
            go();
            assert_eq!(sorted(&log), (0..8).collect::<Vec<_>>(), "panic in callback {nth}");
            assert_eq!((queue.in_flight(), queue.queued()), (0, 0));
            // Every slot is free again.
            for number in 8..16 {
                push(&mut queue, read(number, &log, note));
            }
            queue.run().expect("a run");
            assert_eq!(log.borrow().len(), 16);
        }
    }
}

/// Goal: a refused operation's callback is called with its error, like any other. Method: a read
/// of a file that is open for writing only.
#[test]
fn the_callback_of_a_refused_operation_gets_its_error() {
    let _watchdog = Watchdog::new();
    fn refused(_: &mut Queue<Called>, done: Completion<Called>) {
        assert_eq!(done.result, Err(linux_aio::Errno::EBADF));
        done.op.value.log.borrow_mut().push(done.op.value.number);
    }
    let log = Log::default();
    let mut queue = queue(2);
    let null = Arc::new(File::options().write(true).open("/dev/null").expect("/dev/null"));
    let op = Read::new(null, vec![1; 16], 0).into();
    let value = Note { number: 5, log: Rc::clone(&log) };
    push(&mut queue, Callback { op, value, then: refused });
    queue.run().expect("a run");
    assert_eq!(*log.borrow(), [5]);
}
