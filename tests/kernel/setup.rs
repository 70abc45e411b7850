//! The kernel: io_setup, and what a context has room for.

use crate::common;

use common::Watchdog;
use common::files::Pages;
use common::raw::{Context, check, poll_of, read_of, setup};
use linux_aio::abi::{AIO_RING_COMPAT_FEATURES, AIO_RING_INCOMPAT_FEATURES, AIO_RING_MAGIC, iocb};
use linux_aio::{Errno, EventFd, PollEvents, sys};
use std::fs::File;
use std::os::fd::AsRawFd;

fn number(name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/sys/fs/{name}")).expect("a file of /proc");
    text.trim().parse().expect("a number")
}

/// Goal: EINVAL for no events, for a place that is not zero, and for more than 4194304 events;
/// EFAULT for an address that cannot be used. Nothing is made.
#[test]
fn io_setup_refuses_zero_too_many_and_a_place_that_is_not_zero() {
    let mut id = 0;
    assert_eq!(setup(0, &mut id), Err(Errno::EINVAL));
    for too_many in [4_194_305, u32::MAX / 2, u32::MAX] {
        assert_eq!(setup(too_many, &mut id), Err(Errno::EINVAL), "{too_many}");
    }
    assert_eq!(id, 0);
    let mut taken = 7;
    assert_eq!(setup(1, &mut taken), Err(Errno::EINVAL));
    assert_eq!(taken, 7);
    let none = Pages::new(4096, libc::PROT_NONE);
    // SAFETY: The kernel checks the address and answers EFAULT.
    let unreadable = check(unsafe { sys::io_setup(1, none.start.cast()) });
    assert_eq!(unreadable, Err(Errno::EFAULT));
    if number("aio-max-nr") < 4_194_304 {
        assert_eq!(setup(4_194_304, &mut id), Err(Errno::EAGAIN), "the number is in order");
    }
}

/// Goal: the context is the page-aligned address of the ring, whose header is as `struct aio_ring`
/// says. Method: read it.
#[test]
fn the_context_is_the_address_of_its_ring() {
    let _watchdog = Watchdog::new();
    for asked in [1, 8, 32, 64, 128, 1_000] {
        let context = Context::new(asked);
        let ring = context.ring();
        assert_eq!(context.id % 4096, 0);
        assert_eq!(ring.magic, AIO_RING_MAGIC);
        assert_eq!(ring.compat_features, AIO_RING_COMPAT_FEATURES);
        assert_eq!(ring.incompat_features, AIO_RING_INCOMPAT_FEATURES);
        assert_eq!((ring.header_length, ring.head, ring.tail), (32, 0, 0));
        assert!(ring.nr > asked, "{} for {asked}", ring.nr);
    }
}

fn fill(context: &Context, mut next: impl FnMut() -> iocb) -> usize {
    let mut filled = 0;
    loop {
        // Each in a place of its own, as POLLs must be.
        let iocb = Box::leak(Box::new(next()));
        match context.submit(core::slice::from_mut(iocb)) {
            Ok(1) => filled += 1,
            Err(Errno::EAGAIN) => return filled,
            other => panic!("{other:?}"),
        }
    }
}

/// Goal: at least as many operations as were asked for are in flight at once; in fact more. Method:
/// POLLs that do not end, until EAGAIN.
#[test]
fn there_is_room_for_at_least_what_was_asked_for() {
    let _watchdog = Watchdog::new();
    let counter = EventFd::new().expect("a counter");
    for asked in [1, 8, 32, 64, 128] {
        let context = Context::new(asked);
        let fd = counter.fd().as_raw();
        let filled = fill(&context, || poll_of(fd, PollEvents::IN, 0));
        println!("asked for {asked}: room for {filled}, a ring of {}", context.ring().nr);
        assert!(filled >= asked as usize && filled < context.ring().nr as usize);
    }
}

/// Goal: events that have not been reaped hold their room. Method: reads that complete at once,
/// until EAGAIN; one event taken makes room again, though perhaps not at once for one.
#[test]
fn events_that_are_not_reaped_hold_their_room() {
    let _watchdog = Watchdog::new();
    let zero = File::open("/dev/zero").expect("/dev/zero");
    let context = Context::new(8);
    let mut byte = [0u8];
    let filled = fill(&context, || read_of(zero.as_raw_fd(), &mut byte, 0));
    assert!(filled >= 8);
    assert_eq!(context.getevents(0, 1_000, Some((0, 0))).map(|events| events.len()), Ok(filled));
    assert_eq!(fill(&context, || read_of(zero.as_raw_fd(), &mut byte, 0)), filled);
}

/// Goal: fs.aio-nr is charged exactly what was asked, and gets it back. Method: look before and
/// after, again and again, since others make contexts too.
#[test]
fn aio_nr_is_charged_what_was_asked_for() {
    const ASKED: u32 = 77;
    let _watchdog = Watchdog::new();
    let seen = (0..200).any(|_| {
        let before = number("aio-nr");
        let context = Context::new(ASKED);
        let during = number("aio-nr");
        drop(context);
        let after = number("aio-nr");
        (during.wrapping_sub(before), after) == (ASKED.into(), before)
    });
    assert!(seen, "never were exactly {ASKED} charged and given back");
}
