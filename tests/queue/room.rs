//! Room: what a queue does when its slots, or the kernel's, are used up. Nothing is lost, nothing
//! spins, and one bad operation fails alone.

use crate::common;

use common::files::pipe;
use common::hogs::Hogs;
use common::{Watchdog, context, queue};
use linux_aio::op::{Any, Poll, Read};
use linux_aio::{Errno, PollEvents, Queue};
use std::fs::File;
use std::sync::Arc;

fn zero() -> Arc<File> {
    Arc::new(File::open("/dev/zero").expect("/dev/zero"))
}

fn null() -> Arc<File> {
    Arc::new(File::options().write(true).open("/dev/null").expect("/dev/null"))
}

/// Goal: without a free slot an operation comes back whole, and there is room again as soon as a
/// completion has been taken. Method: a queue of three.
#[test]
fn without_a_free_slot_the_operation_comes_back_with_its_buffer() {
    let _watchdog = Watchdog::new();
    let mut queue = queue(3);
    let file = zero();
    for i in 0..3 {
        assert!(!queue.is_full());
        queue.push(Read::new(Arc::clone(&file), vec![1; 16], i)).expect("a slot");
    }
    assert!(queue.is_full());
    for _ in 0..2 {
        let refused = queue.push(Read::new(Arc::clone(&file), vec![7; 99], 42)).unwrap_err();
        assert_eq!((refused.errno(), refused.op.offset), (Errno::EAGAIN, 42));
        assert_eq!(refused.op.buf, [7; 99]);
        assert!(refused.to_string().contains("slot"), "{refused}");
        queue.submit().expect("a submit");
    }
    // The kernel has finished, and yet each slot is in use until its completion is taken.
    assert!(queue.is_full());
    let done = queue.wait().expect("a wait").expect("a completion");
    assert!(!queue.is_full());
    queue.push(done.op).expect("the slot that became free");
    assert!(queue.is_full());
    assert!(queue.push(Read::new(file, vec![], 0)).is_err());
}

/// Goal: an operation that the kernel refused keeps its slot until its completion is taken, though
/// it is neither queued nor in flight.
#[test]
fn a_refused_operation_fills_its_slot() {
    let _watchdog = Watchdog::new();
    let mut queue = queue(1);
    queue.push(Read::new(null(), vec![1; 16], 0)).expect("a slot");
    queue.submit().expect("a submit");
    assert_eq!((queue.queued(), queue.in_flight(), queue.is_full()), (0, 0, true));
    let done = queue.wait().expect("a wait").expect("a completion");
    assert_eq!((done.result, queue.is_full()), (Err(Errno::EBADF), false));
}

/// Goal: a queue without a slot refuses everything and does not fall over.
#[test]
fn a_queue_over_a_context_but_without_slots_refuses_everything() {
    let _watchdog = Watchdog::new();
    let mut queue = Queue::new(context(1), 0).expect("a fresh context");
    assert_eq!((queue.capacity(), queue.is_full()), (0, true));
    assert!(queue.push(Read::new(zero(), vec![1; 16], 0)).is_err());
    assert_eq!(queue.submit(), Ok(0));
    assert!(queue.wait().expect("a wait").is_none());
    assert!(queue.try_next().expect("a poll").is_none());
}

/// Goal: the queue holds back what the kernel has no room for, and loses none of it. Method: 3000
/// slots over the smallest context; each operation completes once.
#[test]
fn what_finds_no_room_in_the_kernel_waits_in_the_queue() {
    const COUNT: u32 = 3_000;
    let _watchdog = Watchdog::new();
    let mut queue = Queue::new(context(1), COUNT).expect("a fresh context");
    let file = zero();
    for i in 0..COUNT {
        queue.push(Read::new(Arc::clone(&file), [1; 8], i.into())).expect("a slot");
    }
    let accepted = queue.submit().expect("room for some");
    assert!(accepted >= 1, "one is guaranteed");
    assert_eq!(queue.in_flight(), accepted);
    assert_eq!(queue.queued(), COUNT as usize - accepted);
    // A second attempt neither fails nor moves what the kernel has no room for.
    let more = queue.submit().expect("something is in flight");
    assert_eq!(queue.queued(), COUNT as usize - accepted - more);
    let mut seen = vec![0; COUNT as usize];
    while let Some(done) = queue.wait().expect("a wait") {
        assert_eq!((done.result, done.op.buf), (Ok(8), [0; 8]));
        seen[done.op.offset as usize] += 1;
    }
    assert!(seen.iter().all(|&times| times == 1));
}

/// Goal: `EAGAIN` with nothing in flight comes back to the caller, with the operations still
/// queued; one of them can be given up; when there is room, they complete; and events of what
/// others submitted are counted and ignored. Method: the context's slots are all taken by POLLs
/// that were submitted past the queue.
#[test]
fn eagain_with_nothing_in_flight_is_returned_and_nothing_is_lost() {
    let _watchdog = Watchdog::new();
    let (hogs, hogged) = Hogs::fill(context(1));
    // A queue is refused while they are in flight, and the context comes back.
    let Err(refused) = Queue::<Read<Arc<File>, Vec<u8>>>::new(hogged, 4) else {
        panic!("a queue over a context with operations in flight")
    };
    let text = format!("{} operations", hogs.count());
    assert!(refused.to_string().contains(&text), "{refused}");
    assert_eq!(refused.errno(), Errno::EBUSY);
    let mut queue = hogs.queue(refused.context, 4);
    let file = zero();
    let push = |queue: &mut Queue<_>, offset| {
        queue.push(Read::new(Arc::clone(&file), vec![1; 16], offset)).expect("a slot")
    };
    let tokens: Vec<_> = (0..4).map(|offset| push(&mut queue, offset)).collect();
    for _ in 0..3 {
        assert_eq!(queue.submit().map_err(Errno::from), Err(Errno::EAGAIN));
        assert_eq!(queue.wait().map_err(Errno::from).err(), Some(Errno::EAGAIN));
        let waited = queue.wait_timeout(core::time::Duration::from_secs(60));
        assert_eq!(waited.map_err(Errno::from).err(), Some(Errno::EAGAIN));
        assert_eq!((queue.queued(), queue.in_flight()), (4, 0));
    }
    // One is given up, and another takes its place.
    assert_eq!(queue.cancel(tokens[2]), Ok(()));
    let given_up = queue.wait().expect("a wait").expect("a completion");
    assert_eq!((given_up.token, given_up.result), (tokens[2], Err(Errno::ECANCELED)));
    assert_eq!((given_up.op.offset, &given_up.op.buf[..]), (2, &[1; 16][..]));
    push(&mut queue, 4);
    // All the POLLs end at once.
    hogs.end();
    let mut completed = 0;
    loop {
        match queue.wait() {
            Ok(Some(done)) => {
                assert_eq!(done.result, Ok(16));
                completed += 1;
            }
            Ok(None) => break,
            // The kernel takes the slots of ended POLLs back only when it next looks.
            Err(error) => assert_eq!(error.errno(), Errno::EAGAIN),
        }
    }
    assert_eq!(completed, 4);
    assert_eq!(queue.stats().stray_events, hogs.count() as u64);
}

/// Goal: one bad operation fails alone, at every place of a batch, and its completion carries the
/// kernel's error. Method: reads of a file that is open for writing only among good ones.
#[test]
fn one_bad_operation_fails_alone_wherever_it_stands() {
    let _watchdog = Watchdog::new();
    let (good, bad) = (zero(), null());
    for bad_places in [vec![0], vec![3], vec![7], vec![0, 1, 2], vec![2, 5], (0..8).collect()] {
        let mut queue = queue(8);
        for i in 0..8 {
            let file = if bad_places.contains(&i) { &bad } else { &good };
            queue.push(Read::new(Arc::clone(file), vec![1; 16], i)).expect("a slot");
        }
        assert_eq!(queue.submit(), Ok(8 - bad_places.len()));
        let mut completed = 0;
        while let Some(done) = queue.wait().expect("a wait") {
            let is_bad = bad_places.contains(&done.op.offset);
            assert_eq!(done.result, if is_bad { Err(Errno::EBADF) } else { Ok(16) });
            assert_eq!(done.op.buf, vec![u8::from(is_bad); 16]);
            completed += 1;
        }
        assert_eq!(completed, 8, "bad: {bad_places:?}");
    }
}

/// Goal: more operations than one call takes are submitted by one `submit`, bad ones among them
/// included. Method: 1000 in a row, each tenth bad, in a context with room for all.
#[test]
fn one_submit_gives_the_kernel_everything_that_it_has_room_for() {
    let _watchdog = Watchdog::new();
    let mut queue = queue(1_000);
    let (good, bad) = (zero(), null());
    for i in 0..1_000 {
        let file = if i % 10 == 3 { &bad } else { &good };
        queue.push(Read::new(Arc::clone(file), [1; 8], i)).expect("a slot");
    }
    let mut accepted = 0;
    while queue.queued() > 0 {
        accepted += queue.submit().expect("a submit");
    }
    assert_eq!((accepted, queue.in_flight()), (900, 900));
    let mut refused = 0;
    while let Some(done) = queue.wait().expect("a wait") {
        refused += u32::from(done.result == Err(Errno::EBADF));
        assert_eq!(done.result.is_err(), done.op.offset % 10 == 3);
    }
    assert_eq!(refused, 100);
}

/// Goal: a queue that is always full neither loses an operation nor starves one. Method: keep
/// every slot in use through ten times the capacity, POLLs that stay in flight among them.
#[test]
fn a_queue_that_is_kept_full_completes_everything() {
    let _watchdog = Watchdog::new();
    let mut pipe = pipe(libc::O_NONBLOCK);
    let reader = Arc::new(pipe.reader.try_clone().expect("a descriptor"));
    let mut queue: Queue<Any<Arc<File>, [u8; 8]>> = queue(64);
    for _ in 0..16 {
        let poll = Poll::new(Arc::clone(&reader), PollEvents::IN);
        queue.push(poll.into()).map_err(drop).expect("a slot");
    }
    let file = zero();
    let (mut next, mut reads, mut polls) = (0, 0, 0);
    loop {
        while next < 640 {
            let read = Read::new(Arc::clone(&file), [1; 8], next);
            if queue.push(read.into()).is_err() {
                break;
            }
            next += 1;
        }
        if reads == 640 && polls == 0 {
            pipe.put(1);
        }
        match queue.wait().expect("a wait") {
            Some(done) if matches!(done.op, Any::Poll(_)) => polls += 1,
            Some(_) => reads += 1,
            None => break,
        }
    }
    assert_eq!((reads, polls), (640, 16));
}

/// Goal: a refused operation comes out in time, also where the others never leave the ring empty.
/// Method: 127 good operations that complete in the submit and are pushed again at once, and a bad
/// one; it must be among the first ten thousand completions.
#[test]
fn a_refused_operation_is_not_starved_by_others_that_complete_at_once() {
    let _watchdog = Watchdog::new();
    let mut queue = queue(128);
    let good = zero();
    for _ in 0..127 {
        queue.push(Read::new(Arc::clone(&good), [1; 8], 0)).expect("a slot");
    }
    queue.push(Read::new(null(), [1; 8], 1)).expect("a slot");
    for _ in 0..10_000 {
        let done = queue.wait().expect("a wait").expect("a completion");
        if done.result == Err(Errno::EBADF) {
            return;
        }
        queue.push(done.op).expect("the slot that became free");
    }
    panic!("the refused operation has not come out");
}
