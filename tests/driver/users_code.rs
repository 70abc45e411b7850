//! Each place where the driver runs users' code: a panic there ends there or is its caller's, also
//! one whose payload panics when it is dropped, and the driver goes on. `ARCHITECTURE.md` lists the
//! places.

use crate::common;

use super::hooks::{Code, ErrorCode, Op, ReactorCode, Unshowable, WakerCode};
use common::panics::{PAYLOADS, Payload, panics};
use common::{Watchdog, poll_once};
use core::mem;
use core::pin::Pin;
use core::task::{Poll, Waker};
use linux_aio::OpFuture;
use linux_aio::op::{self, Read};
use linux_aio::{Driver, Errno, EventFd, PollEvents};
use smol::future::block_on;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

// ---- the driver ----

fn wait_until(what: impl Fn() -> bool) {
    while !what() {
        thread::yield_now();
    }
}

pub(super) fn zero() -> Arc<File> {
    Arc::new(File::open("/dev/zero").expect("/dev/zero"))
}

fn counter() -> Arc<EventFd> {
    Arc::new(EventFd::new().expect("an eventfd"))
}

/// A driver with a reactor, and one on a thread of its own.
fn drivers(capacity: u32) -> [Driver; 2] {
    let (on_reactor, _) = Arc::<ReactorCode>::default().working_driver(capacity);
    [on_reactor, Driver::on_thread(capacity).expect("a driver")]
}

fn read(driver: &Driver) -> OpFuture<Read<Arc<File>, [u8; 8]>> {
    driver.perform(Read::new(zero(), [1; 8], 0))
}

/// Started, and pending: a POLL that nothing ends.
fn silent(driver: &Driver) -> OpFuture<op::Poll<Arc<EventFd>>> {
    let mut poll = driver.perform(op::Poll::new(counter(), PollEvents::IN));
    assert!(poll_once(&mut poll, Waker::noop()).is_pending());
    poll
}

/// The driver does what it did before: reads, more at a time than there are slots, all complete,
/// and so does its end.
fn assert_serves(driver: Driver, capacity: u32) {
    let executor = smol::LocalExecutor::new();
    let reads: Vec<_> = (0..3 * capacity).map(|_| executor.spawn(read(&driver))).collect();
    block_on(executor.run(async {
        for read in reads {
            let (result, op) = read.await;
            assert_eq!((result, op.buf), (Ok(8), [0; 8]));
        }
    }));
    wait_until(|| driver.outstanding() == 0);
    block_on(driver.close());
}

/// Uses the driver from inside of itself: starts an operation, drops one in flight, and one
/// unpolled.
fn come_back(driver: &Driver) {
    drop(read(driver));
    drop(silent(driver));
    let mut started = read(driver);
    let _ = poll_once(&mut started, Waker::noop());
    let _ = (driver.outstanding(), driver.stats());
}

// ---- wakers ----

/// Goal: a waker whose clone panics leaves the future as it was before the poll, with its
/// operation. Method: in the first poll, in one while the operation is in flight, and in one of
/// `close`; then each is polled with another waker.
#[test]
fn a_waker_whose_clone_panics_costs_no_operation() {
    let _watchdog = Watchdog::new();
    for payload in PAYLOADS {
        for driver in drivers(2) {
            let code = Arc::<WakerCode>::default();
            let waker = code.waker();
            let arm = || code.clone.arm(move || payload.throw());
            let (ops, on_drop) = (Arc::default(), Arc::<Code>::default());

            let mut first = driver.perform(Op::read(&ops, &on_drop));
            arm();
            assert!(panics(|| poll_once(&mut first, &waker)));
            assert_eq!((on_drop.calls(), driver.outstanding()), (0, 0), "it has not started");
            assert!(format!("{first:?}").contains("new"), "{first:?}");
            assert_eq!(block_on(first).0, Ok(8));

            let counter = counter();
            let mut later = driver.perform(Op::poll(&counter, &on_drop));
            assert!(poll_once(&mut later, Waker::noop()).is_pending());
            arm();
            assert!(panics(|| poll_once(&mut later, &waker)));
            counter.add(1).expect("room in an eventfd");
            assert!(common::holds(block_on(later).0, PollEvents::IN));

            let poll = silent(&driver);
            let mut close = driver.clone().close();
            arm();
            assert!(panics(|| poll_once(&mut close, &waker)));
            assert!(poll_once(&mut close, Waker::noop()).is_pending());
            drop(poll);
            block_on(close);
            assert_eq!((code.clone.calls(), on_drop.calls()), (3, 2));
        }
    }
}

/// Goal: a clone of a waker may come back into the driver, in the first poll and in a later one.
#[test]
fn the_clone_of_a_waker_may_come_back_in() {
    let _watchdog = Watchdog::new();
    for driver in drivers(4) {
        let mut poll = driver.perform(op::Poll::new(counter(), PollEvents::IN));
        for _ in 0..2 {
            // Another one each time: the one that the driver has is not cloned again.
            let code = Arc::<WakerCode>::default();
            let again = driver.clone();
            code.clone.arm(move || come_back(&again));
            assert!(poll_once(&mut poll, &code.waker()).is_pending());
            assert_eq!(code.clone.calls(), 1);
        }
        drop(poll);
        assert_serves(driver, 4);
    }
}

/// Goal: a waker that panics when it is called hurts nobody else, whatever it panics with. Method:
/// three POLLs of one counter end together, and so do three that wait for the driver's end; the
/// second has such a waker.
#[test]
fn a_call_of_a_waker_that_panics_ends_in_the_driver() {
    let _watchdog = Watchdog::new();
    for payload in PAYLOADS {
        for driver in drivers(8) {
            let code = Arc::<WakerCode>::default();
            let wait = |futures: &mut [Pin<Box<dyn Future<Output = ()>>>]| {
                for (i, future) in futures.iter_mut().enumerate() {
                    if i == 1 {
                        code.wake.arm(move || payload.throw());
                    }
                    assert!(poll_once(future, &code.waker()).is_pending());
                }
            };
            let counter = counter();
            let mut polls: [Pin<Box<dyn Future<Output = ()>>>; 3] = core::array::from_fn(|_| {
                let poll = driver.perform(op::Poll::new(Arc::clone(&counter), PollEvents::IN));
                let ended = async { assert!(common::holds(poll.await.0, PollEvents::IN)) };
                Box::pin(ended) as _
            });
            wait(&mut polls);
            counter.add(1).expect("room in an eventfd");
            wait_until(|| code.wake.calls() == 3);
            polls.into_iter().for_each(block_on);

            let last = silent(&driver);
            let mut closes: [Pin<Box<dyn Future<Output = ()>>>; 3] =
                core::array::from_fn(|_| Box::pin(driver.clone().close()) as _);
            wait(&mut closes);
            drop(last);
            wait_until(|| code.wake.calls() == 6);
            closes.into_iter().for_each(block_on);
        }
    }
}

/// Goal: a waker that panics when it is dropped hurts nobody, neither the poll nor the drop that
/// replaces it. Method: at each place where the driver drops one: when another replaces it, when
/// the operation is refused, when a future in flight, one that waits for a slot or one of `close`
/// is dropped, and when `close` is polled after the end.
#[test]
fn a_drop_of_a_waker_that_panics_ends_in_the_driver() {
    let _watchdog = Watchdog::new();
    for payload in PAYLOADS {
        for driver in drivers(1) {
            let code = Arc::<WakerCode>::default();
            let waker = mem::ManuallyDrop::new(code.waker());
            let dropped = |times: usize| {
                assert_eq!(code.drop.calls(), times);
                code.drop.arm(move || payload.throw());
            };
            dropped(0);
            let mut in_flight = driver.perform(op::Poll::new(counter(), PollEvents::IN));
            assert!(poll_once(&mut in_flight, &waker).is_pending());
            assert!(poll_once(&mut in_flight, Waker::noop()).is_pending());
            dropped(1);
            assert!(poll_once(&mut in_flight, &waker).is_pending());
            let mut waits = read(&driver);
            assert!(poll_once(&mut waits, &waker).is_pending());
            drop(waits);
            dropped(2);
            let mut close = driver.clone().close();
            assert!(poll_once(&mut close, &waker).is_pending());
            assert!(poll_once(&mut close, &waker).is_pending());
            dropped(3);
            drop(close);
            dropped(4);
            let Poll::Ready((result, _)) = poll_once(&mut read(&driver), &waker) else {
                panic!("a closed driver takes an operation");
            };
            assert_eq!(result, Err(Errno::ECANCELED));
            dropped(5);
            drop(in_flight);
            dropped(6);
            let mut close = driver.clone().close();
            block_on(&mut close);
            assert!(poll_once(&mut close, &waker).is_ready());
            assert_eq!(code.drop.calls(), 7);
            block_on(driver.close());
        }
    }
}

/// Goal: a future may be dropped while its thread unwinds, and what it drops may panic then: the
/// process goes on, with the first panic. Method: a future whose waker and operation panic when
/// they are dropped.
#[test]
fn a_future_may_be_dropped_by_a_panic() {
    let _watchdog = Watchdog::new();
    for payload in PAYLOADS {
        for driver in drivers(1) {
            let (code, on_drop) = (Arc::<WakerCode>::default(), Arc::<Code>::default());
            let waker = mem::ManuallyDrop::new(code.waker());
            // One is in flight, one waits.
            for _ in 0..2 {
                code.drop.arm(move || payload.throw());
                on_drop.arm(move || payload.throw());
            }
            let left = catch_unwind(AssertUnwindSafe(|| {
                let start = |_| {
                    let mut poll = driver.perform(Op::poll(&counter(), &on_drop));
                    assert!(poll_once(&mut poll, &waker).is_pending());
                    poll
                };
                let _polls = [0, 1].map(start);
                resume_unwind(Box::new("the first panic"));
            }));
            assert_eq!(left.expect_err("a panic").downcast_ref(), Some(&"the first panic"));
            wait_until(|| on_drop.calls() == 2);
            assert_eq!(code.drop.calls(), 2);
            assert_serves(driver, 1);
        }
    }
}

// ---- operations ----

/// Goal: a panic in `prepare` is its future's, whatever it panics with; without a future, it ends
/// in the driver. Method: awaited, dropped while it waits, and dropped before its end is taken; the
/// operation panics when it is dropped, too.
#[test]
fn a_panic_in_prepare_is_its_futures_or_ends_in_the_driver() {
    let _watchdog = Watchdog::new();
    for payload in PAYLOADS {
        for driver in drivers(1) {
            let (prepare, on_drop) = (Arc::<Code>::default(), Arc::<Code>::default());
            let bad = || {
                prepare.arm(move || payload.throw());
                on_drop.arm(move || payload.throw());
                driver.perform(Op::read(&prepare, &on_drop))
            };
            let future = bad();
            let thrown = catch_unwind(AssertUnwindSafe(|| block_on(future))).map(drop);
            assert!(payload.is(thrown.expect_err("it panics")));
            assert_eq!((prepare.calls(), on_drop.calls()), (1, 1));

            let blocker = silent(&driver);
            let woken = Arc::<WakerCode>::default();
            let (mut ends, mut abandoned) = (bad(), bad());
            assert!(poll_once(&mut ends, &woken.waker()).is_pending());
            assert!(poll_once(&mut abandoned, Waker::noop()).is_pending());
            drop(blocker);
            wait_until(|| woken.wake.calls() == 1);
            drop(ends);
            drop(abandoned);
            wait_until(|| on_drop.calls() == 3);
            assert_serves(driver, 1);
        }
    }
}

/// Goal: a drop that panics, of an operation whose future is gone, ends in the driver. Method: one
/// that waits for a slot, two that end together, one that has ended, and two that end with the
/// driver.
#[test]
fn a_drop_of_an_operation_that_panics_ends_in_the_driver() {
    let _watchdog = Watchdog::new();
    for payload in PAYLOADS {
        for driver in drivers(2) {
            let (counter, on_drop) = (counter(), Arc::<Code>::default());
            let start = || {
                on_drop.arm(move || payload.throw());
                let mut poll = driver.perform(Op::poll(&counter, &on_drop));
                assert!(poll_once(&mut poll, Waker::noop()).is_pending());
                poll
            };
            let (first, second, waits) = (start(), start(), start());
            drop(waits);
            assert_eq!(on_drop.calls(), 1);
            drop((first, second));
            wait_until(|| on_drop.calls() == 3 && driver.outstanding() == 0);

            let (mut ended, woken) = (start(), Arc::<WakerCode>::default());
            assert!(poll_once(&mut ended, &woken.waker()).is_pending());
            counter.add(1).expect("room in an eventfd");
            wait_until(|| woken.wake.calls() == 1);
            drop(ended);
            assert_eq!(on_drop.calls(), 4);
            counter.take().expect("it was signalled");

            let left = (start(), start());
            drop(driver);
            drop(left);
            wait_until(|| on_drop.calls() == 6);
        }
    }
}

// ---- the reactor ----

/// Goal: a panic in making the reactor is the caller's, and leaves no driver behind.
#[test]
fn a_panic_in_making_the_reactor_is_the_callers() {
    let _watchdog = Watchdog::new();
    for payload in PAYLOADS {
        let mut eventfd = Weak::new();
        let make = |fd: Arc<EventFd>| {
            eventfd = Arc::downgrade(&fd);
            if eventfd.strong_count() > 0 {
                payload.throw();
            }
            Arc::<ReactorCode>::default().reactor(fd)
        };
        assert!(panics(|| Driver::new(2, make).map(drop)));
        assert_eq!(eventfd.strong_count(), 0);
    }
}

/// Goal: a reactor that panics when it is asked what it is, or to wake later, is one that says no.
#[test]
fn a_panic_of_the_reactor_where_it_is_asked_counts_as_no() {
    let _watchdog = Watchdog::new();
    for payload in PAYLOADS {
        let code = Arc::<ReactorCode>::default();
        code.edge.arm(move || payload.throw());
        let (driver, eventfd) = code.working_driver(4);
        // Beside a POLL the others wait for more, which the reactor is asked for.
        let poll = silent(&driver);
        for asked in 1..=3 {
            code.later.arm(move || payload.throw());
            let woken = Arc::<WakerCode>::default();
            let mut read = read(&driver);
            assert!(poll_once(&mut read, &woken.waker()).is_pending());
            assert_eq!(code.later.calls(), asked);
            assert_eq!(block_on(read).0, Ok(8));
        }
        drop(poll);
        assert_eq!(code.edge.calls(), 1);
        assert_serves(driver, 4);
        wait_until(|| eventfd.strong_count() == 0);
    }
}

/// How a reactor fails in its next poll.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Panics,
    /// With an error whose drop panics.
    Errs,
    /// With an error that panics when it is shown.
    CannotSay,
}

impl Failure {
    fn arm(self, code: &ReactorCode, payload: Payload) {
        match self {
            Self::Panics => code.poll.arm(move || payload.throw()),
            Self::Errs => {
                let on_drop = Arc::<Code>::default();
                on_drop.arm(move || payload.throw());
                code.fail_with(ErrorCode(on_drop));
            }
            Self::CannotSay => code.fail_with(Unshowable(payload)),
        }
    }
}

/// Goal: a reactor that panics when it is polled, or whose error does when it is shown or dropped,
/// has failed: the helper thread does its work, and nobody notices. Method: in the poll by which
/// the driver is made, in a call of the driver's waker from another thread, and in a turn that a
/// future takes.
#[test]
fn a_panic_of_the_reactor_where_it_is_polled_counts_as_its_failure() {
    let _watchdog = Watchdog::new();
    for payload in PAYLOADS {
        for failure in [Failure::Panics, Failure::Errs, Failure::CannotSay] {
            let code = Arc::<ReactorCode>::default();
            failure.arm(&code, payload);
            let (driver, eventfd) = code.working_driver(2);
            assert_serves(driver, 2);
            assert_eq!(code.poll.calls(), 1, "it is not polled again");
            wait_until(|| eventfd.strong_count() == 0);

            let code = Arc::<ReactorCode>::default();
            let (driver, eventfd) = code.working_driver(2);
            let poll = silent(&driver);
            failure.arm(&code, payload);
            let waker = code.waker();
            thread::spawn(move || waker.wake()).join().expect("no panic");
            drop(poll);
            assert_serves(driver, 2);
            wait_until(|| eventfd.strong_count() == 0);

            let code = Arc::<ReactorCode>::default();
            let (driver, eventfd) = code.working_driver(2);
            let prepare = Arc::<Code>::default();
            let reactor = Arc::clone(&code);
            prepare.arm(move || {
                // While one turns, another calls the waker: the one polls the reactor for it.
                let waker = reactor.waker();
                failure.arm(&reactor, payload);
                thread::spawn(move || waker.wake()).join().expect("no panic");
            });
            let read = driver.perform(Op::read(&prepare, &Arc::default()));
            assert_eq!(block_on(read).0, Ok(8));
            assert_serves(driver, 2);
            wait_until(|| eventfd.strong_count() == 0);
        }
    }
}

/// Goal: the error that a reactor fails with is there to be seen, the first of all, and so is its
/// panic; a driver without a reactor has none. The error itself is dropped: it may own a handle.
/// Method: it comes in the poll by which the driver is made, and in one of the driver's waker.
#[test]
fn the_error_of_the_reactor_is_kept_for_the_user() {
    let _watchdog = Watchdog::new();
    let on_drop = Arc::<Code>::default();
    let code = Arc::<ReactorCode>::default();
    code.fail_with(ErrorCode(Arc::clone(&on_drop)));
    let (driver, _) = code.working_driver(2);
    let error = driver.reactor_error().expect("it has failed");
    assert_eq!(error.to_string(), "the reactor has gone");
    assert_eq!((error.kind(), on_drop.calls()), (io::ErrorKind::Other, 1));
    assert!(format!("{driver:?}").contains("the reactor has gone"), "{driver:?}");
    assert_serves(driver, 2);

    let code = Arc::<ReactorCode>::default();
    let (driver, _) = code.working_driver(2);
    let poll = silent(&driver);
    assert!(driver.reactor_error().is_none());
    code.poll.arm(|| Payload::Bomb.throw());
    code.waker().wake();
    // Later errors are not asked for.
    code.fail_with(ErrorCode(Arc::clone(&on_drop)));
    code.waker().wake();
    let error = driver.reactor_error().expect("it has failed");
    assert_eq!(error.to_string(), "the reactor panicked");
    drop(poll);
    assert_serves(driver, 2);

    let driver = Driver::on_thread(2).expect("a driver");
    assert!(driver.reactor_error().is_none());
    assert_serves(driver, 2);
}

/// Goal: a reactor that panics when it is dropped hurts nobody who drops the last of the driver,
/// and the context ends. Method: the last is a handle, a future in flight, one of `close`, an
/// operation in the driver itself, or the reactor of a driver that could not be made; and a reactor
/// that has failed before.
#[test]
fn a_panic_in_dropping_the_reactor_ends_in_the_driver() {
    let _watchdog = Watchdog::new();
    let ways: [fn(Driver); 4] = [
        drop,
        |driver| {
            let poll = silent(&driver);
            drop(driver);
            drop(poll);
        },
        |driver| drop(driver.close()),
        |driver| {
            let (owner, on_drop) = (Mutex::new(Some(driver.clone())), Arc::<Code>::default());
            on_drop.arm(move || drop(owner.lock().expect("nothing panics under it").take()));
            let mut poll = driver.perform(Op::poll(&counter(), &on_drop));
            assert!(poll_once(&mut poll, Waker::noop()).is_pending());
            drop(driver);
            drop(poll);
            wait_until(|| on_drop.calls() == 1);
        },
    ];
    for payload in PAYLOADS {
        for (fails, way) in ways.iter().flat_map(|way| [(false, way), (true, way)]) {
            let code = Arc::<ReactorCode>::default();
            code.drop.arm(move || payload.throw());
            if fails {
                Failure::Errs.arm(&code, payload);
            }
            let (driver, eventfd) = code.working_driver(2);
            way(driver);
            // The context has ended, and with it the helper thread.
            wait_until(|| eventfd.strong_count() == 0);
            wait_until(|| code.drop.calls() == 1);
        }
        let code = Arc::<ReactorCode>::default();
        code.drop.arm(move || payload.throw());
        let (driver, eventfd) = code.driver(0);
        assert_eq!(driver.map(drop).expect_err("no context").kind(), io::ErrorKind::InvalidInput);
        assert_eq!((code.drop.calls(), eventfd.strong_count()), (1, 0));
    }
}

/// Goal: the reactor may come back into the driver from each of its methods, and so may the drops
/// of its error and of a panic's payload.
#[test]
fn the_reactor_may_come_back_in() {
    struct Payload(Arc<Code>);
    impl Drop for Payload {
        fn drop(&mut self) {
            self.0.run();
        }
    }
    let _watchdog = Watchdog::new();
    let ways: [fn(&ReactorCode, Arc<Code>); 4] = [
        |code, came| code.later.arm(move || came.run()),
        |code, came| code.later.arm(move || resume_unwind(Box::new(Payload(came)))),
        |code, came| code.poll.arm(move || resume_unwind(Box::new(Payload(came)))),
        |code, came| code.fail_with(ErrorCode(came)),
    ];
    for way in ways {
        let code = Arc::<ReactorCode>::default();
        let (driver, _) = code.working_driver(4);
        let poll = silent(&driver);
        let (again, came) = (driver.clone(), Arc::<Code>::default());
        came.arm(move || come_back(&again));
        way(&code, Arc::clone(&came));
        let started = read(&driver);
        // Polls the reactor, where starting the read asks it to wake later.
        code.waker().wake();
        assert_eq!(block_on(started).0, Ok(8));
        assert_eq!(came.calls(), 1);
        drop(poll);
        assert_serves(driver, 4);
    }
}
