//! The completion ring: it wraps around again and again without losing or repeating an event,
//! needs no system call where events are there, and gives what the system call gives.

use crate::common;

use common::child::{Ended, in_child};
use common::filter::{KILL, filters_work, install, waiting_calls};
use common::{Watchdog, context, queue, room, skip};
use core::time::Duration;
use linux_aio::op::Read;
use linux_aio::{IoContext, Iocb, Queue};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;

fn zero() -> File {
    File::open("/dev/zero").expect("/dev/zero")
}

/// Goal: the ring wraps around thousands of times and every operation comes out once, its own
/// buffer written. Method: more than a million reads, numbered, through a queue of 61.
#[test]
fn a_million_operations_come_out_exactly_once() {
    const COUNT: u64 = 1_100_000;
    let _watchdog = Watchdog::new();
    let file: &'static File = Box::leak(Box::new(zero()));
    let mut queue = queue(61);
    let mut seen = vec![false; COUNT as usize];
    let mut next = 0;
    while next < 61 {
        queue.push(Read::new(file, [1u8; 8], next)).expect("a slot");
        next += 1;
    }
    let mut completed = 0;
    while let Some(mut done) = queue.wait().expect("a wait") {
        let number = &mut seen[done.op.offset as usize];
        assert!(done.result == Ok(8) && done.op.buf == [0; 8] && !*number, "{done:?}");
        *number = true;
        completed += 1;
        if next < COUNT {
            // What is left of the last read must not do for the next.
            done.op.buf = [1; 8];
            done.op.offset = next;
            queue.push(done.op).expect("the slot that became free");
            next += 1;
        }
    }
    let stats = queue.stats();
    assert_eq!((completed, stats.stray_events, stats.events_by_call), (COUNT, 0, 0));
}

/// Submits `count` numbered reads in batches of every size, reaps in pieces of every size, and
/// returns the numbers in the order in which they came.
fn numbers_through(context: &mut IoContext, count: u64) -> Vec<u64> {
    let file = zero();
    let mut byte = [1u8; 1];
    let (submitter, mut reaper) = context.split();
    let (mut next, mut batch, mut piece) = (0, 1, 1);
    let mut numbers = Vec::new();
    while numbers.len() < count as usize {
        let end = (next + batch).min(count);
        let mut iocbs: Vec<Iocb> = (next..end)
            .map(|i| Iocb::pread(file.as_raw_fd(), byte.as_mut_ptr(), 1, 0).user_data(i))
            .collect();
        let mut pointers: Vec<*mut Iocb> = iocbs.iter_mut().map(core::ptr::from_mut).collect();
        while !pointers.is_empty() {
            // SAFETY: The buffer and the file outlive the loop, which reaps every operation;
            // several write the same zero to the byte, which nobody looks at.
            let accepted = unsafe { submitter.submit(&pointers) }.expect("room");
            pointers.drain(..accepted);
        }
        (next, batch) = (end, batch % 17 + 1);
        loop {
            let mut events = room::<16>();
            let taken = reaper.reap(&mut events[..piece]).expect("a reap");
            piece = piece % 16 + 1;
            if taken.is_empty() {
                break;
            }
            assert!(taken.iter().all(|event| event.result() == Ok(1) && event.res2() == 0));
            numbers.extend(taken.iter().map(linux_aio::IoEvent::user_data));
        }
    }
    numbers
}

/// Goal: with the ring switched off everything is the same, and switching in the middle loses
/// nothing. Method: the same numbered reads both ways, in the same order.
#[test]
fn with_the_ring_off_the_same_events_come_in_the_same_order() {
    let _watchdog = Watchdog::new();
    let mut context = context(32);
    assert!(context.uses_ring());
    for ring in [true, false, true] {
        context.use_ring(ring);
        assert_eq!(context.uses_ring(), ring);
        let numbers = numbers_through(&mut context, 20_000);
        assert!(numbers.iter().copied().eq(0..20_000), "ring: {ring}");
        assert_eq!(context.in_flight(), 0);
    }
}

/// Goal: events that are on the ring when the way is changed come out by the other, once.
#[test]
fn events_that_wait_come_out_by_whichever_way_is_chosen() {
    let _watchdog = Watchdog::new();
    let mut context = context(32);
    let file = zero();
    let mut byte = [1u8; 1];
    let mut iocbs: Vec<Iocb> = (0..20)
        .map(|i| Iocb::pread(file.as_raw_fd(), byte.as_mut_ptr(), 1, 0).user_data(i))
        .collect();
    let pointers: Vec<*mut Iocb> = iocbs.iter_mut().map(core::ptr::from_mut).collect();
    // SAFETY: The buffer and the file outlive the loop below, which reaps every operation.
    assert_eq!(unsafe { context.split().0.submit(&pointers) }, Ok(20));
    let mut numbers = Vec::new();
    for round in 0..10 {
        context.use_ring(round % 2 == 0);
        let mut events = room::<2>();
        let taken = context.split().1.wait(2, None, &mut events).expect("a wait");
        numbers.extend(taken.iter().map(linux_aio::IoEvent::user_data));
    }
    assert!(numbers.iter().copied().eq(0..20));
}

/// Everything that takes events which are there, or finds that there are none.
fn reap_without_waiting(context: IoContext) {
    let mut context = context;
    assert_eq!(numbers_through(&mut context, 1_000).len(), 1_000);
    let (_, mut reaper) = context.split();
    let mut events = room::<4>();
    assert_eq!(reaper.reap(&mut events).map(<[_]>::len), Ok(0));
    assert_eq!(reaper.wait(0, None, &mut events).map(<[_]>::len), Ok(0));
    let nothing = reaper.wait(4, Some(Duration::ZERO), &mut events).map(<[_]>::len);
    assert_eq!(nothing, Ok(0));
    let file = Arc::new(zero());
    let mut queue = Queue::new(context, 8).expect("nothing is in flight");
    assert!(queue.try_next().expect("a poll").is_none());
    for i in 0..8 {
        queue.push(Read::new(Arc::clone(&file), [1; 8], i)).expect("a slot");
    }
    for _ in 0..1_000 {
        let done = queue.wait().expect("a wait").expect("a completion");
        queue.push(done.op).expect("the slot that became free");
    }
}

/// Goal: reaping makes no system call where events are there, nor to see that there are none. The
/// kernel itself is the judge. Method: in a child, a filter kills at the first waiting call. The
/// same with the ring off is killed, so the filter does see the calls.
#[test]
fn reaping_what_is_there_makes_no_system_call() {
    let _watchdog = Watchdog::new();
    if !filters_work() {
        skip!("this kernel has no seccomp filters");
    }
    for ring in [true, false] {
        let ended = in_child(|| {
            let mut context = context(64);
            context.use_ring(ring);
            install(&waiting_calls(), KILL);
            reap_without_waiting(context);
        });
        let expected = if ring { Ended::WELL } else { Ended::Killed(libc::SIGSYS) };
        assert_eq!(ended, expected, "ring: {ring}");
    }
}

/// Goal: the count of calls that a queue keeps is the truth: none with the ring, some without.
#[test]
fn the_statistics_count_the_waiting_calls() {
    let _watchdog = Watchdog::new();
    for ring in [true, false] {
        let mut context = context(8);
        context.use_ring(ring);
        let mut queue = Queue::new(context, 8).expect("a fresh context");
        let file = Arc::new(zero());
        for i in 0..8 {
            queue.push(Read::new(Arc::clone(&file), [1; 8], i)).expect("a slot");
        }
        let mut completed = 0;
        while let Some(done) = queue.wait().expect("a wait") {
            assert_eq!(done.result, Ok(8));
            completed += 1;
        }
        let stats = queue.stats();
        assert_eq!((completed, stats.submit_calls), (8, 1));
        assert_eq!(stats.events_by_call, if ring { 0 } else { 8 });
        assert_eq!(stats.getevents_calls == 0, ring);
    }
}

/// Goal: a caller who asks for more than is there gets what is there and the rest by waiting, in
/// order. Method: five events on the ring, room for eight, then a sixth after a wait for six.
#[test]
fn a_wait_takes_what_is_there_before_it_waits_for_more() {
    let _watchdog = Watchdog::new();
    let mut context = context(16);
    let file = zero();
    let counter = linux_aio::EventFd::new().expect("a counter");
    let mut byte = [1u8; 1];
    let mut iocbs: Vec<Iocb> = (0..5)
        .map(|i| Iocb::pread(file.as_raw_fd(), byte.as_mut_ptr(), 1, 0).user_data(i))
        .collect();
    let poll = Iocb::poll(counter.fd().as_raw(), linux_aio::PollEvents::IN);
    iocbs.push(poll.user_data(5));
    let pointers: Vec<*mut Iocb> = iocbs.iter_mut().map(core::ptr::from_mut).collect();
    let (submitter, mut reaper) = context.split();
    // SAFETY: The buffer, the files and the iocbs outlive the wait below.
    assert_eq!(unsafe { submitter.submit(&pointers) }, Ok(6));
    let mut events = room::<8>();
    let refused = reaper.wait(9, None, &mut events).err();
    assert_eq!(refused, Some(linux_aio::Errno::EINVAL));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            counter.add(1).expect("room in the counter");
        });
        let taken = reaper.wait(6, None, &mut events).expect("a wait");
        assert!(taken.iter().map(linux_aio::IoEvent::user_data).eq(0..6));
    });
}
