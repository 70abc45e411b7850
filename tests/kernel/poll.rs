//! The kernel: POLL, and io_cancel, which ends little else.

use crate::common;

use common::files::{Pages, file_with, open, pipe};
use common::held::HeldFile;
use common::raw::{Context, check, data_of, poll_of, read_of};
use common::{Watchdog, skip};
use linux_aio::abi::{io_event, iocb};
use linux_aio::{Errno, EventFd, PollEvents, sys};
use std::os::fd::AsRawFd;

fn events_of(result: i64) -> PollEvents {
    PollEvents::from_bits_retain(u32::try_from(result).expect("events, not an error"))
}

/// Goal: the result is what holds: at once, or when it comes; ERR and HUP are reported unasked.
#[test]
fn the_result_is_the_events_that_hold() {
    let _watchdog = Watchdog::new();
    let context = Context::new(4);
    let mut ours = pipe(libc::O_NONBLOCK);
    let poll = |fd, events| {
        let mut poll = poll_of(fd, events, 0);
        assert_eq!(context.submit(core::slice::from_mut(&mut poll)), Ok(1));
        events_of(context.wait(1, 1)[0].res)
    };
    let (reader, writer) = (ours.reader.as_raw_fd(), ours.writer.as_raw_fd());
    assert!(poll(writer, PollEvents::OUT).contains(PollEvents::OUT));
    ours.put(1);
    // What holds at once is only what was asked for.
    assert_eq!(poll(reader, PollEvents::IN), PollEvents::IN);
    assert_eq!(ours.get(), 1);

    let hung_up = pipe(libc::O_NONBLOCK);
    drop(hung_up.writer);
    let nothing = PollEvents::from_bits_retain(0);
    assert!(poll(hung_up.reader.as_raw_fd(), nothing).contains(PollEvents::HUP));
    let broken = pipe(libc::O_NONBLOCK);
    drop(broken.reader);
    assert!(poll(broken.writer.as_raw_fd(), nothing).contains(PollEvents::ERR));

    let (_dir, _path, file) = file_with(b"");
    let always = poll(file.as_raw_fd(), PollEvents::IN | PollEvents::OUT);
    assert!(always.contains(PollEvents::IN | PollEvents::OUT), "a regular file is ready at once");
}

/// Goal: a wake-up may report more than was asked for. Method: POLLs for IN alone that are woken;
/// the result holds IN, and is printed.
#[test]
fn a_wake_up_reports_at_least_what_was_asked_for() {
    let _watchdog = Watchdog::new();
    let context = Context::new(4);
    let mut pipe = pipe(libc::O_NONBLOCK);
    let mut poll = poll_of(pipe.reader.as_raw_fd(), PollEvents::IN, 0);
    assert_eq!(context.submit(core::slice::from_mut(&mut poll)), Ok(1));
    assert_eq!(context.getevents(0, 1, Some((0, 0))), Ok(vec![]));
    pipe.put(1);
    let woken = events_of(context.wait(1, 1)[0].res);
    println!("asked for {:?}, woken with {woken:?}", PollEvents::IN);
    assert!(woken.contains(PollEvents::IN));
}

/// Goal: one-shot: what comes after the event gives no other.
#[test]
fn a_poll_ends_with_its_first_event() {
    let _watchdog = Watchdog::new();
    let context = Context::new(4);
    let mut pipe = pipe(libc::O_NONBLOCK);
    let mut poll = poll_of(pipe.reader.as_raw_fd(), PollEvents::IN, 7);
    assert_eq!(context.submit(core::slice::from_mut(&mut poll)), Ok(1));
    for byte in 0..5 {
        pipe.put(byte);
    }
    assert_eq!(data_of(&context.wait(1, 4)), [7]);
    pipe.put(9);
    assert_eq!(context.getevents(1, 4, Some((0, 20_000_000))), Ok(vec![]));
}

/// Goal: other fields must be zero, and the events are 16 bits.
#[test]
fn the_other_fields_must_be_zero() {
    let context = Context::new(4);
    let pipe = pipe(libc::O_NONBLOCK);
    let good = poll_of(pipe.reader.as_raw_fd(), PollEvents::IN, 0);
    let bad = [
        iocb { aio_nbytes: 1, ..good },
        iocb { aio_offset: 1, ..good },
        iocb { aio_rw_flags: 1, ..good },
        iocb { aio_buf: 1 << 16, ..good },
        iocb { aio_buf: 1 << 63, ..good },
    ];
    for mut iocb in bad {
        let refused = context.submit(core::slice::from_mut(&mut iocb));
        assert_eq!(refused, Err(Errno::EINVAL));
    }
}

/// Goal: a file with two wait queues is refused. Method: a terminal.
#[test]
fn a_file_with_two_wait_queues_is_refused() {
    let context = Context::new(4);
    if !std::path::Path::new("/dev/ptmx").exists() {
        skip!("there is no /dev/ptmx");
    }
    let terminal = open("/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY);
    let mut poll = poll_of(terminal.as_raw_fd(), PollEvents::IN, 0);
    assert_eq!(context.submit(core::slice::from_mut(&mut poll)), Err(Errno::EINVAL));
}

/// Goal: success of io_cancel is EINPROGRESS; the event still arrives, once; a second cancel is
/// EINVAL; the result argument is never written. Method: two thousand POLLs.
#[test]
fn cancelling_is_in_progress_and_the_event_still_arrives() {
    let _watchdog = Watchdog::new();
    let context = Context::new(4);
    let counter = EventFd::new().expect("a counter");
    let mut later = 0;
    for round in 0..2_000 {
        let mut poll = poll_of(counter.fd().as_raw(), PollEvents::IN, round);
        assert_eq!(context.submit(core::slice::from_mut(&mut poll)), Ok(1));
        let untouched = io_event { data: 1, obj: 2, res: 3, res2: 4 };
        let mut result = untouched;
        // SAFETY: Both live during the call.
        let cancelled =
            check(unsafe { sys::io_cancel(context.id, &raw const poll, &raw mut result) });
        assert_eq!(cancelled, Err(Errno::EINPROGRESS));
        assert_eq!(result, untouched);
        assert_eq!(context.cancel(&raw const poll), Err(Errno::EINVAL));
        let at_once = context.getevents(0, 4, Some((0, 0))).expect("io_getevents");
        later += u32::from(at_once.is_empty());
        let events = if at_once.is_empty() { context.wait(1, 4) } else { at_once };
        assert_eq!((data_of(&events), events[0].res), (vec![round], 0));
    }
    println!("{later} of 2000 events came a little later");
    assert_eq!(context.getevents(0, 4, Some((0, 0))), Ok(vec![]));
}

/// Goal: what is not there cannot be cancelled: EINVAL; nor by an address that cannot be read:
/// EFAULT; nor with a wrong key: EINVAL.
#[test]
fn what_was_not_submitted_cannot_be_cancelled() {
    let context = Context::new(4);
    let counter = EventFd::new().expect("a counter");
    let mut poll = poll_of(counter.fd().as_raw(), PollEvents::IN, 0);
    assert_eq!(context.cancel(&raw const poll), Err(Errno::EINVAL));
    assert_eq!(context.submit(core::slice::from_mut(&mut poll)), Ok(1));
    let elsewhere = poll;
    assert_eq!(context.cancel(&raw const elsewhere), Err(Errno::EINVAL));
    let none = Pages::new(4096, libc::PROT_NONE);
    assert_eq!(context.cancel(none.start.cast()), Err(Errno::EFAULT));
    poll.aio_key = 1;
    assert_eq!(context.cancel(&raw const poll), Err(Errno::EINVAL));
    poll.aio_key = 0;
    assert_eq!(context.cancel(&raw const poll), Err(Errno::EINPROGRESS));
    assert_eq!(context.wait(1, 1).len(), 1);
    let other = Context::new(4);
    assert_eq!(context.submit(core::slice::from_mut(&mut poll)), Ok(1));
    assert_eq!(other.cancel(&raw const poll), Err(Errno::EINVAL), "it is another context's");
}

/// Goal: io_cancel goes by the address alone: a new iocb at the address of one in flight stands for
/// the old one, which is why a POLL's must stay where it is. Method: two from one place.
#[test]
fn a_new_iocb_at_the_old_address_cancels_the_old_operation() {
    let _watchdog = Watchdog::new();
    let context = Context::new(4);
    let counter = EventFd::new().expect("a counter");
    let mut place = poll_of(counter.fd().as_raw(), PollEvents::IN, 1);
    assert_eq!(context.submit(core::slice::from_mut(&mut place)), Ok(1));
    place.aio_data = 2;
    assert_eq!(context.submit(core::slice::from_mut(&mut place)), Ok(1));
    assert_eq!(context.cancel(&raw const place), Err(Errno::EINPROGRESS));
    assert_eq!(data_of(&context.wait(1, 1)), [1]);
    assert_eq!(context.cancel(&raw const place), Err(Errno::EINPROGRESS));
    assert_eq!(data_of(&context.wait(1, 1)), [2]);
}

/// Goal: a read in flight cannot be cancelled. Method: a held read.
#[test]
fn a_read_in_flight_cannot_be_cancelled() {
    let _watchdog = Watchdog::new();
    let mut held = match HeldFile::new() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    let context = Context::new(4);
    let mut buf = [0u8; 512];
    let mut read = read_of(held.file().as_raw_fd(), &mut buf, 5);
    assert_eq!(context.submit(core::slice::from_mut(&mut read)), Ok(1));
    held.wait_for_arrival(1);
    assert_eq!(context.cancel(&raw const read), Err(Errno::EINVAL));
    held.release();
    let event = context.wait(1, 1)[0];
    assert_eq!((event.data, event.res), (5, 512));
}
