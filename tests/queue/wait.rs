//! Waiting: the time, signals, and nothing to wait for. No wait loses a completion.

use crate::common;

use common::files::{Pipe, pipe};
use common::signal::{Pester, handled};
use common::{Watchdog, holds, queue};
use core::time::Duration;
use linux_aio::op::{Any, Poll, Read};
use linux_aio::{Errno, PollEvents, Queue};
use std::fs::File;
use std::sync::Arc;
use std::thread;

type Op = Any<Arc<File>, Vec<u8>>;

const LONG: Duration = Duration::from_secs(3_600);

fn queue_with_poll(pipe: &Pipe) -> Queue<Op> {
    let mut queue = queue(4);
    let reader = Arc::new(pipe.reader.try_clone().expect("a descriptor"));
    queue.push(Poll::new(reader, PollEvents::IN).into()).map_err(drop).expect("a slot");
    queue
}

fn read() -> Op {
    let file = Arc::new(File::open("/dev/zero").expect("/dev/zero"));
    Read::new(file, vec![1; 16], 0).into()
}

/// Goal: with nothing queued and nothing in flight there is nothing to wait for, and no wait.
#[test]
fn an_empty_queue_is_not_waited_for() {
    let _watchdog = Watchdog::new();
    let mut queue: Queue<Op> = queue(4);
    for _ in 0..2 {
        assert!(queue.wait().expect("a wait").is_none());
        assert!(queue.wait_timeout(LONG).expect("a wait").is_none());
        assert!(queue.wait_ready().expect("a wait").is_none());
        assert_eq!(queue.stats().getevents_calls, 0);
        queue.push(read()).expect("a slot");
        assert!(queue.wait().expect("a wait").is_some());
    }
}

/// Goal: when the time is up, `wait_timeout` says so, as often as it is asked, and the operation
/// is still there. Method: a POLL on a silent pipe, no and little time, then data.
#[test]
fn a_wait_that_times_out_says_etimedout_and_loses_nothing() {
    let _watchdog = Watchdog::new();
    let mut pipe = pipe(libc::O_NONBLOCK);
    let mut queue = queue_with_poll(&pipe);
    for time in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(20)] {
        assert_eq!(queue.wait_timeout(time).map_err(Errno::from).err(), Some(Errno::ETIMEDOUT));
        assert_eq!((queue.queued(), queue.in_flight()), (0, 1));
    }
    pipe.put(1);
    let done = queue.wait_timeout(LONG).expect("a wait").expect("a completion");
    assert!(holds(done.result, PollEvents::IN));
}

/// Goal: `next_timeout` submits nothing, so that no slow submission comes before its wait. It gives
/// what has ended, says when the time is up, and waits for nothing where nothing is in flight.
///
/// Method: an operation is queued all the time, which the calls of `io_submit` show.
#[test]
fn a_wait_for_what_is_in_flight_submits_nothing() {
    let _watchdog = Watchdog::new();
    let mut pipe = pipe(libc::O_NONBLOCK);
    let mut queue = queue_with_poll(&pipe);
    assert!(queue.next_timeout(LONG).expect("a wait").is_none());
    assert_eq!((queue.queued(), queue.stats().submit_calls), (1, 0));
    assert_eq!(queue.stats().getevents_calls, 0);
    assert_eq!(queue.submit(), Ok(1));
    queue.push(read()).expect("a slot");
    for time in [Duration::ZERO, Duration::from_millis(1)] {
        let waited = queue.next_timeout(time);
        assert_eq!(waited.map_err(Errno::from).err(), Some(Errno::ETIMEDOUT));
    }
    let pester = Pester::this_thread(libc::SIGUSR1);
    assert_eq!(queue.next_timeout(LONG).map_err(Errno::from).err(), Some(Errno::EINTR));
    drop(pester);
    pipe.put(1);
    let done = queue.next_timeout(Duration::MAX).expect("a wait").expect("a completion");
    assert!(holds(done.result, PollEvents::IN));
    assert_eq!((queue.queued(), queue.in_flight(), queue.stats().submit_calls), (1, 0, 1));
}

/// Goal: the longest time is long, not negative, which would be no time at all or all time.
/// Method: with `Duration::MAX`, a completion that is there comes, and one that comes later too.
#[test]
fn the_longest_timeout_waits_for_what_comes() {
    let _watchdog = Watchdog::new();
    let mut pipe = pipe(libc::O_NONBLOCK);
    let mut queue = queue_with_poll(&pipe);
    queue.push(read()).expect("a slot");
    let done = queue.wait_timeout(Duration::MAX).expect("a wait").expect("a completion");
    assert_eq!(done.result, Ok(16));
    thread::scope(|threads| {
        threads.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            pipe.put(1);
        });
        let done = queue.wait_timeout(Duration::MAX).expect("a wait").expect("a completion");
        assert!(holds(done.result, PollEvents::IN));
    });
}

/// Goal: signals end `wait_timeout` with `EINTR`, so that a program can look at what the handler
/// told it; nothing is lost. Method: a thread signals this one until it has said so three times.
#[test]
fn a_signal_ends_a_wait_with_a_timeout_and_loses_nothing() {
    let _watchdog = Watchdog::new();
    let mut pipe = pipe(libc::O_NONBLOCK);
    let mut queue = queue_with_poll(&pipe);
    let pester = Pester::this_thread(libc::SIGUSR1);
    for _ in 0..3 {
        assert_eq!(queue.wait_timeout(LONG).map_err(Errno::from).err(), Some(Errno::EINTR));
    }
    drop(pester);
    pipe.put(1);
    let done = queue.wait().expect("a wait").expect("a completion");
    assert!(holds(done.result, PollEvents::IN));
}

/// Goal: signals do not end `wait`. Method: it is interrupted at least twenty times, then there is
/// data, and the first thing that it returns is the completion.
#[test]
fn signals_do_not_end_a_wait_without_a_timeout() {
    let _watchdog = Watchdog::new();
    let mut pipe = pipe(libc::O_NONBLOCK);
    let mut queue = queue_with_poll(&pipe);
    let before = handled(libc::SIGUSR2);
    let pester = Pester::this_thread(libc::SIGUSR2);
    thread::scope(|threads| {
        threads.spawn(|| {
            while handled(libc::SIGUSR2) < before + 20 {
                thread::sleep(Duration::from_millis(1));
            }
            pipe.put(1);
        });
        let done = queue.wait().expect("a wait").expect("a completion");
        assert!(holds(done.result, PollEvents::IN));
    });
    drop(pester);
}

/// Goal: `try_next` never waits, and a completion that is there needs no `wait`.
#[test]
fn try_next_takes_what_is_there_and_no_more() {
    let _watchdog = Watchdog::new();
    let pipe = pipe(libc::O_NONBLOCK);
    let mut queue = queue_with_poll(&pipe);
    assert!(queue.try_next().expect("a poll").is_none());
    assert_eq!(queue.queued(), 1, "it does not submit");
    queue.push(read()).expect("a slot");
    assert_eq!(queue.submit(), Ok(2));
    assert_eq!(queue.try_next().expect("a poll").map(|done| done.result), Some(Ok(16)));
    assert!(queue.try_next().expect("a poll").is_none());
    assert_eq!(queue.in_flight(), 1);
}

/// Goal: a loop of `wait` submits what its body pushed together, not one by one. Method: eight
/// operations that push their successor each, sixteen rounds: far fewer submits than operations.
#[test]
fn a_loop_of_wait_submits_what_it_pushed_together() {
    let _watchdog = Watchdog::new();
    let mut queue: Queue<Op> = queue(8);
    for _ in 0..8 {
        queue.push(read()).expect("a slot");
    }
    let mut completed = 0;
    while let Some(done) = queue.wait().expect("a wait") {
        completed += 1;
        if completed <= 8 * 15 {
            queue.push(done.op).expect("a slot");
        }
    }
    let stats = queue.stats();
    assert_eq!(completed, 8 * 16);
    assert!(stats.submit_calls <= 16 + 1, "{stats:?}");
    assert_eq!((stats.getevents_calls, stats.events_by_call), (0, 0));
}
