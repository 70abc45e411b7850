//! The kernel: io_getevents and io_pgetevents.

use crate::common;

use common::files::Pages;
use common::raw::{Context, check, data_of, poll_of, read_of};
use common::signal::{Pester, block, handled, ignore_politely, is_blocked, raise_here};
use common::{Watchdog, skip};
use core::ptr;
use linux_aio::abi::{SIGSET_SIZE, aio_context_t, iocb};
use linux_aio::{Errno, EventFd, PollEvents, SigSet, sys};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::thread;

fn zero() -> File {
    File::open("/dev/zero").expect("/dev/zero")
}

fn complete(context: &Context, first: u64, count: u64) {
    let (zero, mut byte) = (zero(), [0u8]);
    let mut iocbs: Vec<iocb> =
        (first..first + count).map(|i| read_of(zero.as_raw_fd(), &mut byte, i)).collect();
    assert_eq!(context.submit(&mut iocbs), Ok(count as usize));
}

/// A POLL that ends when the counter is added to, in a place that does not move.
fn poll(context: &Context, counter: &EventFd, data: u64) {
    let poll = Box::leak(Box::new(poll_of(counter.fd().as_raw(), PollEvents::IN, data)));
    assert_eq!(context.submit(core::slice::from_mut(poll)), Ok(1));
}

/// Goal: EINVAL for a min above nr, for negative numbers and for a dead context.
#[test]
fn numbers_that_do_not_fit_are_einval() {
    let context = Context::new(4);
    complete(&context, 0, 2);
    for (min, nr) in [(2, 1), (1, 0), (-1, 1), (-1, -1), (0, -1)] {
        let refused = context.getevents(min, nr, Some((0, 0)));
        assert_eq!(refused, Err(Errno::EINVAL), "min {min}, nr {nr}");
    }
    assert_eq!(data_of(&context.wait(2, 2)), [0, 1]);
    let mut context = context;
    assert_eq!(context.destroy(), Ok(0));
    assert_eq!(context.getevents(0, 1, Some((0, 0))), Err(Errno::EINVAL));
}

/// `io_getevents` of no events.
fn ask_for_no_events(id: aio_context_t) -> Result<usize, Errno> {
    // SAFETY: No event is asked for, and nobody reads the ring meanwhile.
    check(unsafe { sys::io_getevents(id, 0, 0, ptr::null_mut(), ptr::null_mut()) })
}

/// `io_pgetevents` of no events.
fn ask_for_no_events_with_a_mask(id: aio_context_t) -> Result<usize, Errno> {
    let (nowhere, no_time, no_mask) = (ptr::null_mut(), ptr::null_mut(), ptr::null());
    // SAFETY: As above; the mask is null.
    check(unsafe { sys::io_pgetevents(id, 0, 0, nowhere, no_time, no_mask) })
}

/// `io_submit` of no iocbs.
fn submit_nothing(id: aio_context_t) -> Result<usize, Errno> {
    // SAFETY: An array of no pointers is valid, and names no memory.
    check(unsafe { sys::io_submit(id, 0, ptr::null()) })
}

/// Goal: io_getevents stores `head` even if it is asked for no events, so that beside a reader of
/// the ring it is no harmless question; io_submit of no iocbs leaves `head` alone, and tells a live
/// context from any other. Method: a `head` with the ring's length added is the same place, and is
/// less than that length once the kernel has stored it.
#[test]
fn asking_for_no_events_stores_head_and_submitting_nothing_does_not() {
    let mut context = Context::new(4);
    complete(&context, 7, 1);
    let ring = context.ring();
    for ask in [ask_for_no_events, ask_for_no_events_with_a_mask] {
        context.set_head(ring.head + ring.nr);
        assert_eq!(submit_nothing(context.id), Ok(0));
        assert_eq!(context.ring().head, ring.head + ring.nr);
        match ask(context.id) {
            Err(Errno::ENOSYS | Errno::EPERM) => continue,
            asked => assert_eq!(asked, Ok(0)),
        }
        assert_eq!(context.ring(), ring);
    }
    assert_eq!(data_of(&context.wait(1, 1)), [7]);
    assert_eq!(context.destroy(), Ok(0));
    for dead in [context.id, 0, 4096, !0] {
        assert_eq!(submit_nothing(dead), Err(Errno::EINVAL));
        assert_eq!(ask_for_no_events(dead), Err(Errno::EINVAL));
    }
}

/// Goal: with fewer than min when the time is up, it returns those.
#[test]
fn a_timeout_returns_what_there_is() {
    let _watchdog = Watchdog::new();
    let context = Context::new(8);
    assert_eq!(context.getevents(1, 8, Some((0, 1_000_000))), Ok(vec![]));
    complete(&context, 0, 3);
    let taken = context.getevents(5, 8, Some((0, 1_000_000))).expect("io_getevents");
    assert_eq!(data_of(&taken), [0, 1, 2]);
}

/// Goal: a signal gives EINTR where there is nothing, else what there is. Method: a signal that
/// comes again and again.
#[test]
fn a_signal_returns_what_there_is_or_eintr() {
    let _watchdog = Watchdog::new();
    let context = Context::new(8);
    let pester = Pester::this_thread(libc::SIGUSR1);
    assert_eq!(context.getevents(1, 8, None), Err(Errno::EINTR));
    assert_eq!(context.getevents(1, 8, Some((3_600, 0))), Err(Errno::EINTR));
    complete(&context, 0, 3);
    let taken = context.getevents(5, 8, Some((3_600, 0))).expect("io_getevents");
    assert_eq!(data_of(&taken), [0, 1, 2]);
    drop(pester);
}

/// Goal: a negative timeout is no time at all that ends: it blocks until a signal.
#[test]
fn a_negative_timeout_blocks_until_a_signal() {
    let _watchdog = Watchdog::new();
    let context = Context::new(8);
    let pester = Pester::this_thread(libc::SIGUSR1);
    for time in [(-1, 0), (0, -1), (-1_000, 0)] {
        assert_eq!(context.getevents(1, 8, Some(time)), Err(Errno::EINTR), "{time:?}");
    }
    drop(pester);
}

/// Goal: an event that could not be written to the caller's memory is not lost.
#[test]
fn an_event_that_cannot_be_delivered_stays() {
    let context = Context::new(8);
    complete(&context, 7, 1);
    let none = Pages::new(4096, libc::PROT_NONE);
    // SAFETY: The kernel checks the address.
    let refused =
        check(unsafe { sys::io_getevents(context.id, 1, 1, none.start.cast(), ptr::null_mut()) });
    assert_eq!(refused, Err(Errno::EFAULT));
    assert_eq!(data_of(&context.wait(1, 1)), [7]);
}

/// Goal: a thread inside of io_getevents takes what comes, also what another waits for, so that who
/// waits for particular events must be the only reaper. Method: a thread waits for one event; this
/// one submits an operation and finds the ring empty when the other has returned.
#[test]
fn a_thread_inside_takes_anothers_event() {
    let _watchdog = Watchdog::new();
    let context = Context::new(8);
    let counter = EventFd::new().expect("a counter");
    poll(&context, &counter, 1);
    thread::scope(|threads| {
        let inside = threads.spawn(|| data_of(&context.wait(1, 1)));
        complete(&context, 2, 1);
        assert_eq!(inside.join().expect("the other thread"), [2]);
    });
    assert_eq!(context.getevents(0, 8, Some((0, 0))), Ok(vec![]));
    counter.add(1).expect("room in the counter");
    assert_eq!(data_of(&context.wait(1, 1)), [1]);
}

/// Goal: a waiter for several wakes when there are that many. Method: events come one by one, each
/// after the last has been seen; the waiter returns all three.
#[test]
fn a_waiter_for_three_gets_three() {
    let _watchdog = Watchdog::new();
    let context = Context::new(8);
    thread::scope(|threads| {
        let waiter = threads.spawn(|| data_of(&context.wait(3, 8)));
        for number in 0..3 {
            thread::sleep(core::time::Duration::from_millis(5));
            assert!(!waiter.is_finished());
            complete(&context, number, 1);
        }
        assert_eq!(waiter.join().expect("the waiter"), [0, 1, 2]);
    });
}

/// Goal: the mask of io_pgetevents is in force exactly during the call, whose size must be the
/// kernel's. Method: a pending signal that only the mask lets in interrupts the call at once,
/// although nothing sends another; it is blocked again after.
#[test]
fn the_mask_is_swapped_in_for_the_call_alone() {
    let _watchdog = Watchdog::new();
    let context = Context::new(8);
    let signal = libc::SIGURG;
    let (empty, full) = (SigSet::empty(), SigSet::full());
    let there = context.pgetevents(Some((0, 0)), &full, SIGSET_SIZE);
    if matches!(there, Err(Errno::ENOSYS | Errno::EPERM)) {
        skip!("no io_pgetevents here: {there:?}");
    }
    for size in [0, SIGSET_SIZE - 1, SIGSET_SIZE + 1, 128] {
        let refused = context.pgetevents(Some((0, 0)), &full, size);
        assert_eq!(refused, Err(Errno::EINVAL), "size {size}");
    }
    ignore_politely(signal);
    block(signal, true);
    raise_here(signal);
    let before = handled(signal);
    assert_eq!(context.pgetevents(Some((0, 1_000)), &full, SIGSET_SIZE), Ok(vec![]));
    assert_eq!(handled(signal), before);
    for round in 1..=3 {
        let let_in = context.pgetevents(None, &empty, SIGSET_SIZE);
        assert_eq!(let_in, Err(Errno::EINTR));
        assert_eq!(handled(signal), before + round);
        assert!(is_blocked(signal));
        raise_here(signal);
    }
    complete(&context, 5, 1);
    // An event does not keep a signal out; and the signal does not lose the event.
    let taken = context.pgetevents(None, &full, SIGSET_SIZE).expect("the event");
    assert_eq!(data_of(&taken), [5]);
    block(signal, false);
}
