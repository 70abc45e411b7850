//! The kernel: an eventfd is signalled when the event is on the ring.

use crate::common;

use common::Watchdog;
use common::raw::{Context, data_of, poll_of, read_of};
use linux_aio::abi::{IOCB_FLAG_RESFD, iocb};
use linux_aio::{EventFd, PollEvents};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::thread;

fn with_eventfd(iocb: iocb, eventfd: &EventFd) -> iocb {
    iocb { aio_flags: IOCB_FLAG_RESFD, aio_resfd: eventfd.fd().as_raw() as u32, ..iocb }
}

/// Goal: each event adds one to the counter that its iocb names, and only that.
#[test]
fn each_event_adds_one_to_its_eventfd() {
    let context = Context::new(16);
    let zero = File::open("/dev/zero").expect("/dev/zero");
    let (one, other) = (EventFd::new().expect("a counter"), EventFd::new().expect("a counter"));
    let mut byte = [0u8];
    let read = read_of(zero.as_raw_fd(), &mut byte, 0);
    let mut iocbs = [
        with_eventfd(read, &one),
        with_eventfd(read, &one),
        read,
        with_eventfd(read, &other),
        with_eventfd(read, &one),
    ];
    assert_eq!(context.submit(&mut iocbs), Ok(5));
    assert_eq!(context.wait(5, 5).len(), 5);
    assert_eq!((one.take(), other.take()), (Ok(Some(3)), Ok(Some(1))));
    assert_eq!((one.take(), other.take()), (Ok(None), Ok(None)));
}

/// Goal: who sees the signal sees the event on the ring, without a system call. Method: another
/// thread ends POLLs; this one waits for the eventfd and then looks at head and tail.
#[test]
fn the_event_is_on_the_ring_before_the_eventfd_is_signalled() {
    let _watchdog = Watchdog::new();
    let context = Context::new(4);
    let signalled = EventFd::new().expect("a counter");
    for round in 0..500 {
        let trigger = EventFd::new().expect("a counter");
        let poll = poll_of(trigger.fd().as_raw(), PollEvents::IN, round);
        let poll = Box::leak(Box::new(with_eventfd(poll, &signalled)));
        assert_eq!(context.submit(core::slice::from_mut(poll)), Ok(1));
        thread::scope(|threads| {
            threads.spawn(|| trigger.add(1).expect("room in the counter"));
            while signalled.take() == Ok(None) {
                thread::yield_now();
            }
            let ring = context.ring();
            assert_ne!(ring.head, ring.tail, "round {round}");
        });
        assert_eq!(data_of(&context.wait(1, 1)), [round]);
    }
}

/// Goal: the eventfd may be closed once the operation is submitted.
#[test]
fn an_eventfd_that_was_closed_breaks_nothing() {
    let _watchdog = Watchdog::new();
    let context = Context::new(4);
    let trigger = EventFd::new().expect("a counter");
    let signalled = EventFd::new().expect("a counter");
    let poll = poll_of(trigger.fd().as_raw(), PollEvents::IN, 3);
    let mut poll = with_eventfd(poll, &signalled);
    assert_eq!(context.submit(core::slice::from_mut(&mut poll)), Ok(1));
    drop(signalled);
    trigger.add(1).expect("room in the counter");
    assert_eq!(data_of(&context.wait(1, 1)), [3]);
}
