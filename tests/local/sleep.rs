//! `block_on`: how it sleeps, and what ends the sleep.

use crate::common::Watchdog;
use crate::{assert_read, assert_serves, driver, needs_poll, read, silent};
use core::future::{pending, poll_fn, ready};
use core::task::{Poll, Waker};
use linux_aio::op;
use linux_aio::{EventFd, PollEvents};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

/// Goal: no wake-up by another thread is lost. Method: a thread wakes at once, again and again,
/// while `block_on` sleeps or is about to; the watchdog ends a sleep that nothing ends.
#[test]
fn wakes_of_other_threads_end_the_sleep() {
    let _watchdog = Watchdog::new();
    let driver = driver(2);
    let (wakers, woken) = mpsc::channel::<Waker>();
    let thread = thread::spawn(move || woken.into_iter().for_each(Waker::wake));
    for with_operation in [false, true] {
        let mut poll = with_operation.then(|| silent(&driver));
        for _ in 0..500 {
            let mut sent = false;
            driver.block_on(poll_fn(|cx| {
                if let Some(poll) = &mut poll {
                    let _ = core::pin::Pin::new(poll).poll(cx);
                }
                if sent {
                    return Poll::Ready(());
                }
                sent = true;
                wakers.send(cx.waker().clone()).expect("the thread");
                Poll::Pending
            }));
        }
    }
    drop(wakers);
    thread.join().expect("no panic");
    assert_serves(driver, 2);
}

/// Goal: a descriptor that becomes ready ends the sleep.
#[test]
fn a_poll_ends_by_another_thread() {
    let _watchdog = Watchdog::new();
    let driver = driver(2);
    needs_poll!(driver);
    let eventfd = Arc::new(EventFd::new().expect("an eventfd"));
    let poll = driver.perform(op::Poll::new(Arc::clone(&eventfd), PollEvents::IN));
    let thread = thread::spawn(move || eventfd.add(1));
    assert!(driver.block_on(poll).0.is_ok());
    thread.join().expect("no panic").expect("an event");
}

/// Goal: a future that needs no operation is polled as by any other `block_on`; one that yields
/// is polled again.
#[test]
fn futures_without_operations_are_polled() {
    let _watchdog = Watchdog::new();
    let driver = driver(1);
    assert_eq!(driver.block_on(ready(5)), 5);
    let mut polls = 0;
    driver.block_on(poll_fn(|cx| {
        polls += 1;
        cx.waker().wake_by_ref();
        if polls < 100 { Poll::Pending } else { Poll::Ready(()) }
    }));
    assert_eq!(polls, 100);
}

/// Goal: a `block_on` inside of another is refused by a panic that says so, and the outer goes on;
/// a panic of the future leaves the driver as it was.
#[test]
fn nested_block_on_is_refused() {
    let _watchdog = Watchdog::new();
    let driver = driver(2);
    driver.block_on(async {
        let nested = AssertUnwindSafe(|| driver.block_on(ready(1)));
        let payload = catch_unwind(nested).expect_err("it is refused");
        let text = payload.downcast::<&str>().map(|text| (*text).to_owned()).expect("a text");
        assert!(text.contains("inside of block_on"), "{text}");
        assert_read(read(&driver).await);
    });
    let thrown = catch_unwind(AssertUnwindSafe(|| driver.block_on(async { panic!("on purpose") })));
    assert!(thrown.is_err());
    assert_serves(driver, 2);
}

/// Goal: the next `block_on` goes on with the operations that the last has left.
#[test]
fn operations_outlive_a_block_on() {
    let _watchdog = Watchdog::new();
    let driver = driver(2);
    needs_poll!(driver);
    let eventfd = Arc::new(EventFd::new().expect("an eventfd"));
    let mut poll = driver.perform(op::Poll::new(Arc::clone(&eventfd), PollEvents::IN));
    driver.block_on(poll_fn(|cx| {
        assert!(core::pin::Pin::new(&mut poll).poll(cx).is_pending());
        Poll::Ready(())
    }));
    eventfd.add(1).expect("an event");
    assert!(driver.block_on(poll).0.is_ok());
    // A future that never ends is left by a panic or by what races with it.
    driver.block_on(smol::future::or(pending(), async { assert_read(read(&driver).await) }));
}
