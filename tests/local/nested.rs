//! `block_on` inside of that of another driver.

use crate::common::local_waker::waker;
use crate::common::{Watchdog, poll_once};
use crate::{assert_read, assert_serves, driver, needs_poll, read, silent};
use core::cell::Cell;
use core::future::poll_fn;
use core::mem::replace;
use core::pin::Pin;
use core::task::Waker;
use core::time::Duration;
use futures_util::future::join_all;
use linux_aio::op;
use linux_aio::{Direct, EventFd, LocalDriver, Operation, PollEvents, Prepared, WriteFrom};
use linux_aio::{File, IoSlice};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::{self, ThreadId};

/// Goal: a `block_on` inside of that of another driver may wait for operations of any driver around
/// it: those of the kernel, those of a file's threads, and their deadlines. The outer ones go on
/// afterwards. Method: three drivers; a POLL whose event comes when the innermost one waits.
#[test]
fn a_nested_block_on_may_wait_for_the_drivers_around_it() {
    let _watchdog = Watchdog::new();
    let [outer, middle, inner] = [driver(2), driver(2), driver(2)];
    needs_poll!(outer);
    for waits in [&outer, &middle, &inner] {
        outer.block_on(async {
            middle.block_on(async {
                for _ in 0..2 {
                    let eventfd = Arc::new(EventFd::new().expect("an eventfd"));
                    let poll = op::Poll::new(Arc::clone(&eventfd), PollEvents::IN);
                    let mut poll = waits.perform(poll);
                    let mut signals = false;
                    let result = inner.block_on(poll_fn(|cx| {
                        let poll = Pin::new(&mut poll).poll(cx);
                        if !replace(&mut signals, true) {
                            assert!(poll.is_pending());
                            eventfd.add(1).expect("an event");
                        }
                        poll
                    }));
                    assert!(result.0.is_ok());
                    assert!(
                        inner.block_on(silent(waits).timeout(Duration::from_millis(5))).is_err()
                    );
                    inner.block_on(async {
                        let file = File::open(waits, "Cargo.toml").await.expect("a file");
                        let (result, buf) = file.read_exact_at(vec![0; 9], 0).await;
                        assert!(result.is_ok() && buf == b"[workspac");
                    });
                }
                assert_read(read(&middle).await);
            });
            assert_read(read(&outer).await);
        });
    }
    for driver in [outer, middle, inner] {
        assert_serves(driver, 2);
    }
}

/// Goal: a future of the inner driver that can always go on does not keep the outer driver from
/// its work. Method: it yields, beside one that waits for the outer driver.
#[test]
fn a_busy_future_does_not_keep_the_outer_driver() {
    let _watchdog = Watchdog::new();
    let [outer, inner] = [driver(2), driver(2)];
    let yields = async {
        loop {
            smol::future::yield_now().await;
        }
    };
    outer.block_on(async {
        let waits = silent(&outer).timeout(Duration::from_millis(1));
        inner.block_on(smol::future::or(async { assert!(waits.await.is_err()) }, yields));
    });
    for driver in [outer, inner] {
        assert_serves(driver, 2);
    }
}

/// Goal: a deadline of the outer driver ends a wait of the inner one, also if the outer driver has
/// no operation. Method: a write whose buffer keeps the driver's thread until the deadline has
/// passed.
#[test]
fn deadlines_of_the_outer_driver_are_kept() {
    /// Is lent when the test says so.
    struct Held(ThreadId, mpsc::Receiver<()>);
    impl WriteFrom for Held {
        fn lend_bytes(&self) -> IoSlice<'_> {
            if thread::current().id() != self.0 {
                let _ = self.1.recv();
            }
            IoSlice::new(b"late")
        }
    }
    let _watchdog = Watchdog::new();
    let [outer, inner] = [driver(2), driver(2)];
    let folder = tempfile::tempdir().expect("a folder");
    let (release, held) = mpsc::channel();
    outer.block_on(async {
        let options = File::options().write(true).create(true).direct(Direct::Never);
        let file = options.open(&outer, folder.path().join("file")).await.expect("a file");
        let file = file.with_deadline(Duration::from_millis(5));
        let write = file.write_at(Held(thread::current().id(), held), 0);
        assert!(inner.block_on(write).is_err());
        assert_eq!(outer.outstanding(), 0);
    });
    drop(release);
    for driver in [outer, inner] {
        assert_serves(driver, 2);
    }
}

/// Waits for operations of a driver, which calls this: more of them than it has slots, behind
/// others that must be cancelled for that.
fn wait_inside(outer: &LocalDriver) {
    driver(1).block_on(async {
        // What had slots before has none then.
        assert_read(read(outer).await);
        for mut given_up in [silent(outer), silent(outer), silent(outer)] {
            assert!(poll_once(&mut given_up, Waker::noop()).is_pending());
        }
        join_all((0..9).map(|_| read(outer))).await.into_iter().for_each(assert_read);
    });
}

/// An operation that runs code when it is prepared, or dropped.
struct Runs {
    op: op::Poll<Arc<EventFd>>,
    in_prepare: Option<Box<dyn Fn()>>,
    in_drop: Option<Box<dyn Fn()>>,
}

impl Operation for Runs {
    fn prepare(&mut self) -> Prepared<'_> {
        self.in_prepare.iter().for_each(|run| run());
        self.op.prepare()
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.in_drop.iter().for_each(|run| run());
    }
}

/// Goal: code that a driver calls may wait for the driver, by the `block_on` of another one.
/// Method: a waker, the `prepare` of an operation that waits for a slot, and the drop of one that
/// was given up; the code needs turns of each kind.
#[test]
fn code_that_a_driver_calls_may_wait_for_it() {
    let _watchdog = Watchdog::new();
    let driver = driver(3);
    needs_poll!(driver);
    let calls = Rc::new(Cell::new(0));
    let code = || {
        let (driver, calls) = (driver.clone(), Rc::clone(&calls));
        move || {
            wait_inside(&driver);
            calls.set(calls.get() + 1);
        }
    };
    let poll = || {
        let eventfd = Arc::new(EventFd::new().expect("an eventfd"));
        (op::Poll::new(Arc::clone(&eventfd), PollEvents::IN), eventfd)
    };
    let read_until = async |calls_to: u32| {
        while calls.get() < calls_to {
            assert_read(read(&driver).await);
        }
    };

    // The waker.
    let (op, eventfd) = poll();
    let mut first = driver.perform(op);
    driver.block_on(async {
        assert!(poll_once(&mut first, &waker(code())).is_pending());
        eventfd.add(1).expect("an event");
        read_until(1).await;
    });
    // The operation that waits for a slot, in a turn.
    let mut polls: Vec<_> =
        (0..3).map(|_| poll()).map(|(op, fd)| (driver.perform(op), fd)).collect();
    driver.block_on(async {
        for (poll, _) in &mut polls {
            assert!(poll_once(poll, Waker::noop()).is_pending());
        }
        let (op, _eventfd) = poll();
        let mut waits =
            driver.perform(Runs { op, in_prepare: Some(Box::new(code())), in_drop: None });
        assert!(poll_once(&mut waits, Waker::noop()).is_pending());
        for (_, eventfd) in &polls[1..] {
            eventfd.add(1).expect("an event");
        }
        read_until(2).await;
    });
    // The operation that was given up.
    driver.block_on(async {
        let (op, _eventfd) = poll();
        let mut gone =
            driver.perform(Runs { op, in_prepare: None, in_drop: Some(Box::new(code())) });
        assert!(poll_once(&mut gone, Waker::noop()).is_pending());
        drop(gone);
        read_until(3).await;
    });
    drop((first, polls));
    assert_eq!(calls.get(), 3);
    assert_serves(driver.clone(), 3);
}
