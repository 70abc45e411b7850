//! The kernel: the ring as user space may read it, and what must not be done to it.

use crate::common;

use common::Watchdog;
use common::files::pipe;
use common::raw::{Context, data_of, poll_of, read_of};
use linux_aio::PollEvents;
use linux_aio::abi::{aio_ring, io_event};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

/// `count` reads that complete at once, numbered from `first`.
fn complete(context: &Context, zero: &File, first: u64, count: u64) {
    let mut byte = [0u8];
    let mut iocbs: Vec<_> =
        (first..first + count).map(|i| read_of(zero.as_raw_fd(), &mut byte, i)).collect();
    assert_eq!(context.submit(&mut iocbs), Ok(count as usize));
}

fn zero() -> File {
    File::open("/dev/zero").expect("/dev/zero")
}

fn event_at(context: &Context, index: u32) -> io_event {
    // SAFETY: The events follow the header.
    let events = unsafe { context.ring_address().add(1) }.cast::<io_event>();
    // SAFETY: The callers give an index below `nr`.
    let event = unsafe { events.add(index as usize) };
    // SAFETY: Mapped and aligned; the kernel has written it.
    unsafe { event.read_volatile() }
}

/// Goal: an event stands where the header's tail was, and io_getevents gives the same. Method: read
/// it in place before the call does, through several turns of the ring.
#[test]
fn events_stand_on_the_ring_as_io_getevents_gives_them() {
    let (context, zero) = (Context::new(4), zero());
    let nr = context.ring().nr;
    assert_eq!(size_of::<aio_ring>(), 32);
    for turn in 0..u64::from(nr) * 2 {
        let before = context.ring();
        assert_eq!(before.head, before.tail);
        complete(&context, &zero, turn * 3, 3);
        let after = context.ring();
        assert_eq!((after.head, after.tail), (before.head, (before.tail + 3) % nr));
        let on_the_ring: Vec<_> =
            (0..3).map(|i| event_at(&context, (before.head + i) % nr)).collect();
        assert_eq!(context.getevents(3, 3, None), Ok(on_the_ring));
    }
}

/// Goal: a head that is advanced by hand gives the slots back. Method: 20000 operations without an
/// io_getevents, in a context that holds far fewer.
#[test]
fn advancing_head_by_hand_gives_the_slots_back() {
    let (context, zero) = (Context::new(32), zero());
    let nr = context.ring().nr;
    for number in 0..20_000 / 8 {
        complete(&context, &zero, number * 8, 8);
        let ring = context.ring();
        let events: Vec<_> = (0..8).map(|i| event_at(&context, (ring.head + i) % nr)).collect();
        assert!(data_of(&events).into_iter().eq(number * 8..number * 8 + 8));
        context.set_head((ring.head + 8) % nr);
    }
    assert_eq!(context.getevents(0, 8, Some((0, 0))), Ok(vec![]));
}

/// Goal: moving head past tail makes io_getevents hand out events that were handed out before, so
/// it must never be done. Method: on a context that nothing else is done with.
#[test]
fn a_head_past_the_tail_hands_out_stale_events() {
    let (context, zero) = (Context::new(4), zero());
    complete(&context, &zero, 100, 5);
    assert_eq!(data_of(&context.wait(5, 5)), [100, 101, 102, 103, 104]);
    let ring = context.ring();
    context.set_head(ring.tail + 1);
    let stale = context.getevents(0, 1_000, Some((0, 0))).expect("io_getevents");
    println!("{} events that nobody is owed, of a ring of {}", stale.len(), ring.nr);
    assert!(!stale.is_empty());
}

/// Goal: the kernel keeps nr, and the tail of its completions, for itself. Method: overwrite both
/// in the header; the next completions stand where they would have, and store the right tail.
#[test]
fn the_kernel_keeps_its_own_tail_and_nr() {
    let (context, zero) = (Context::new(4), zero());
    complete(&context, &zero, 0, 3);
    let before = context.ring();
    // SAFETY: In bounds of the header.
    let nr = unsafe { &raw mut (*context.ring_address()).nr };
    // SAFETY: The context is live, and nobody else is writing.
    unsafe { nr.write_volatile(2) };
    // SAFETY: In bounds of the header.
    let tail = unsafe { &raw mut (*context.ring_address()).tail };
    // SAFETY: The context is live, and nobody else is writing.
    unsafe { tail.write_volatile(before.head) };
    complete(&context, &zero, 3, 1);
    assert_eq!(context.ring().tail, before.tail + 1);
    assert_eq!(data_of(&context.wait(4, 8)), [0, 1, 2, 3]);
}

/// Goal: io_getevents itself goes by the tail in the header, unlike completions. Method: a tail
/// that is set back hides events from it, until the next completion stores the right one.
#[test]
fn io_getevents_goes_by_the_tail_in_the_header() {
    let (context, zero) = (Context::new(4), zero());
    complete(&context, &zero, 0, 3);
    // SAFETY: In bounds of the header.
    let tail = unsafe { &raw mut (*context.ring_address()).tail };
    // SAFETY: The context is live, and nobody else is writing.
    unsafe { tail.write_volatile(1) };
    assert_eq!(context.getevents(0, 8, Some((0, 0))).map(|events| data_of(&events)), Ok(vec![0]));
    complete(&context, &zero, 3, 1);
    assert_eq!(data_of(&context.wait(3, 8)), [1, 2, 3]);
}

/// Goal: events of operations that end in the call come in the order of submission.
#[test]
fn events_of_one_call_come_in_order() {
    let _watchdog = Watchdog::new();
    let (context, zero) = (Context::new(64), zero());
    for turn in 0..100 {
        complete(&context, &zero, turn * 60, 60);
        assert!(data_of(&context.wait(60, 60)).into_iter().eq(turn * 60..turn * 60 + 60));
    }
}

/// The head at `place`, some rings further on: what the C drop-in (`capi/src/reap.rs`) stores while
/// it takes events. From 1 ring to as many as 32 bits hold.
fn marked(nr: u32, place: u32, number: u64) -> u32 {
    let most = u32::MAX / nr - 1;
    let rings = [1, 2, 3, 1 << 8, 1 << 15, most - 1, most];
    place + nr * rings[(number % rings.len() as u64) as usize].min(most)
}

/// Goal: `head` is the same place to io_getevents with any multiple of `nr` added, and is less than
/// `nr` afterwards; and to completions. Method: 20000 times, add one before and one after the
/// completion of 0 to 7 operations.
#[test]
fn a_head_that_is_rings_further_on_is_the_same_place() {
    let (context, zero) = (Context::new(8), zero());
    let nr = context.ring().nr;
    let mut number = 0;
    for round in 0..20_000 {
        let (place, count) = (context.ring().head, round % 8);
        context.set_head(marked(nr, place, round));
        complete(&context, &zero, number, count);
        let due: Vec<_> = (number..number + count).collect();
        let end = (place + count as u32) % nr;
        let now = context.ring();
        assert_eq!((now.head, now.tail), (marked(nr, place, round), end));
        context.set_head(marked(nr, place, round / 8));
        // All of them, also where the ring is empty, or one, and then the rest.
        let first =
            context.getevents(0, 1 + (round % 3) as isize * 4, Some((0, 0))).expect("io_getevents");
        assert_eq!(context.ring().head, (place + first.len() as u32) % nr);
        context.set_head(marked(nr, context.ring().head, round / 3));
        let rest = context.getevents(0, 8, Some((0, 0))).expect("io_getevents");
        assert_eq!([data_of(&first), data_of(&rest)].concat(), due);
        assert_eq!((context.ring().head, context.ring().tail), (end, end));
        number += count;
    }
}

/// Goal: slots come back by such a head as by any other. Method: as
/// `advancing_head_by_hand_gives_the_slots_back`, in a context with nothing else, and in one with
/// POLLs in flight.
#[test]
fn a_head_that_is_rings_further_on_gives_the_slots_back() {
    for in_flight in [0, 16] {
        let (context, zero) = (Context::new(32), zero());
        let mut idle = pipe(libc::O_NONBLOCK);
        let fd = idle.reader.as_raw_fd();
        let mut polls: Vec<_> = (0..in_flight).map(|i| poll_of(fd, PollEvents::IN, i)).collect();
        assert_eq!(context.submit(&mut polls), Ok(in_flight as usize));
        let nr = context.ring().nr;
        for number in 0..20_000 / 8 {
            complete(&context, &zero, number * 8, 8);
            let place = context.ring().head % nr;
            let events: Vec<_> = (0..8).map(|i| event_at(&context, (place + i) % nr)).collect();
            assert!(data_of(&events).into_iter().eq(number * 8..number * 8 + 8));
            context.set_head(marked(nr, (place + 8) % nr, number));
        }
        idle.put(1);
        let mut ended = data_of(&context.wait(in_flight as usize, 32));
        ended.sort_unstable();
        assert!(ended.into_iter().eq(0..in_flight));
    }
}

/// Goal: who waits for several events in io_getevents is woken for them, and gets them, if `head`
/// is rings further on when they come; and gets no fewer. Method: add the rings, time and again,
/// while a thread is in the call and operations end; by compare-and-swap, since the call moves
/// `head`, too.
#[test]
fn a_head_that_is_rings_further_on_wakes_who_waits() {
    let _watchdog = Watchdog::new();
    let (context, zero) = (Context::new(8), zero());
    let nr = context.ring().nr;
    // SAFETY: In bounds of the header.
    let head = unsafe { &raw mut (*context.ring_address()).head };
    // SAFETY: The context lives as long; nobody here writes to it meanwhile but the kernel, and
    // this.
    let head = unsafe { AtomicU32::from_ptr(head) };
    let mut added = 0;
    for round in 0..2_000 {
        thread::scope(|scope| {
            let waits = scope.spawn(|| data_of(&context.wait(3, 8)));
            for number in 0..3 {
                let now = head.load(Relaxed);
                let further = marked(nr, now % nr, round + number);
                added += u32::from(head.compare_exchange(now, further, Relaxed, Relaxed).is_ok());
                complete(&context, &zero, number, 1);
                thread::yield_now();
            }
            assert_eq!(waits.join().expect("no panic"), [0, 1, 2]);
        });
    }
    assert!(added > 2_000, "rings were added {added} times of 6000");
}
