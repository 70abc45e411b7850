//! Signals and the reaper: a wait is interrupted, nothing is lost, and a mask is swapped in for
//! exactly the time of the wait.

use crate::common;

use common::signal::{Pester, block, handled, ignore_politely, is_blocked, raise_here};
use common::{Watchdog, context, room};
use core::time::Duration;
use linux_aio::{Errno, EventFd, IoContext, IoEvent, Iocb, PollEvents, SigSet};
use std::fs::File;
use std::os::fd::AsRawFd;

const LONG: Duration = Duration::from_secs(3_600);

/// A POLL of the counter, in flight, from a place that does not move.
fn submit_poll(context: &mut IoContext, counter: &EventFd) -> Box<Iocb> {
    let poll = Iocb::poll(counter.fd().as_raw(), PollEvents::IN).user_data(7);
    let mut poll = Box::new(poll);
    // SAFETY: The iocb stays in its box until its event, and there is no buffer.
    assert_eq!(unsafe { context.split().0.submit(&[&raw mut *poll]) }, Ok(1));
    poll
}

/// Goal: `Reaper::wait` is interrupted by a signal, with and without a timeout, by ring or call,
/// and the event is still there afterwards.
#[test]
fn a_signal_interrupts_the_reapers_wait() {
    let _watchdog = Watchdog::new();
    for ring in [true, false] {
        let mut context = context(4);
        context.use_ring(ring);
        let counter = EventFd::new().expect("a counter");
        let _poll = submit_poll(&mut context, &counter);
        let (_, mut reaper) = context.split();
        let mut events = room::<4>();
        let pester = Pester::this_thread(libc::SIGUSR1);
        for timeout in [None, Some(LONG), Some(Duration::MAX)] {
            let interrupted = reaper.wait(1, timeout, &mut events);
            assert_eq!(interrupted.err(), Some(Errno::EINTR), "{timeout:?}");
        }
        drop(pester);
        counter.add(1).expect("room in the counter");
        let taken = reaper.wait(1, None, &mut events).expect("a wait");
        assert_eq!(taken.iter().map(IoEvent::user_data).collect::<Vec<_>>(), [7]);
    }
}

/// Goal: a signal while some events are there, but fewer than asked for, gives those. Method: two
/// reads that have ended, a wait for three.
#[test]
fn a_signal_ends_a_wait_with_the_events_that_are_there() {
    let _watchdog = Watchdog::new();
    for ring in [true, false] {
        let mut context = context(4);
        context.use_ring(ring);
        let file = File::open("/dev/zero").expect("/dev/zero");
        let mut byte = [1u8; 1];
        let mut iocbs =
            [0, 1].map(|i| Iocb::pread(file.as_raw_fd(), byte.as_mut_ptr(), 1, 0).user_data(i));
        let pointers = iocbs.each_mut().map(core::ptr::from_mut);
        let counter = EventFd::new().expect("a counter");
        let _poll = submit_poll(&mut context, &counter);
        let (submitter, mut reaper) = context.split();
        // SAFETY: The buffer and the file outlive the wait below.
        assert_eq!(unsafe { submitter.submit(&pointers) }, Ok(2));
        let mut events = room::<4>();
        let pester = Pester::this_thread(libc::SIGUSR1);
        let taken = reaper.wait(3, Some(LONG), &mut events).expect("a wait");
        assert_eq!(taken.iter().map(IoEvent::user_data).collect::<Vec<_>>(), [0, 1]);
        drop(pester);
    }
}

/// Goal: the mask of `wait_masked` is in force during the wait and not after. Method: a signal is
/// blocked and pending; a wait whose mask lets it in is interrupted by it at once, before anything
/// else could be; afterwards it is blocked again.
#[test]
fn a_blocked_signal_is_let_in_by_the_mask_of_the_wait_alone() {
    let _watchdog = Watchdog::new();
    let signal = libc::SIGURG;
    ignore_politely(signal);
    block(signal, true);
    let mut context = context(4);
    let counter = EventFd::new().expect("a counter");
    let _poll = submit_poll(&mut context, &counter);
    let (_, mut reaper) = context.split();
    let mut events = room::<4>();

    raise_here(signal);
    let before = handled(signal);
    let kept_out = reaper.wait_masked(1, Some(Duration::ZERO), &SigSet::full(), &mut events);
    match kept_out {
        Err(errno @ (Errno::ENOSYS | Errno::EPERM)) => {
            block(signal, false);
            common::say_skipped(&format!("no io_pgetevents here: {errno}"));
            return;
        }
        other => assert_eq!(other.map(<[_]>::len), Ok(0)),
    }
    assert_eq!(handled(signal), before);
    assert!(is_blocked(signal));

    let let_in = reaper.wait_masked(1, Some(LONG), &SigSet::empty(), &mut events);
    assert_eq!(let_in.err(), Some(Errno::EINTR));
    assert_eq!(handled(signal), before + 1);
    assert!(is_blocked(signal));

    // One signal of all is let in.
    raise_here(signal);
    let mask = SigSet::full().without(signal as u32);
    let let_in = reaper.wait_masked(1, Some(LONG), &mask, &mut events);
    assert_eq!(let_in.err(), Some(Errno::EINTR));
    assert_eq!(handled(signal), before + 2);

    counter.add(1).expect("room in the counter");
    let taken = reaper.wait_masked(1, None, &SigSet::full(), &mut events).expect("a wait");
    assert_eq!(taken.iter().map(IoEvent::user_data).collect::<Vec<_>>(), [7]);
    block(signal, false);
}
