//! `LocalDriver` and its futures: on its own `block_on`, on tokio's `LocalSet`, on smol's
//! `LocalExecutor`.
#![cfg(feature = "std")]

#[path = "../common/mod.rs"]
mod common;

mod executors;
mod hostile;
mod nested;
mod silent_ends;
mod sleep;
mod users_code;

pub(crate) use common::skip;
use common::{Watchdog, poll_once};
use core::task::Waker;
use linux_aio::op::{self, Fsync, Read, Write};
use linux_aio::{Errno, EventFd, LocalDriver, LocalFuture, PollEvents};
use std::cell::Cell;
use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;

pub(crate) fn driver(capacity: u32) -> LocalDriver {
    for _ in 0..300 {
        match LocalDriver::new(capacity) {
            // Another test may be using up `fs.aio-max-nr`.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                std::thread::sleep(core::time::Duration::from_millis(100));
            }
            made => return made.expect("a driver"),
        }
    }
    panic!("fs.aio-max-nr has been used up for half a minute");
}

pub(crate) fn zero() -> Rc<File> {
    Rc::new(File::open("/dev/zero").expect("/dev/zero"))
}

pub(crate) type LocalRead = Read<Rc<File>, [u8; 8]>;

pub(crate) fn read(driver: &LocalDriver) -> LocalFuture<LocalRead> {
    driver.perform(Read::new(zero(), [1; 8], 0))
}

pub(crate) fn assert_read((result, op): (Result<u32, Errno>, LocalRead)) {
    assert_eq!((result, op.buf), (Ok(8), [0; 8]));
}

/// A POLL that nothing ends, and what keeps its descriptor.
pub(crate) fn silent(driver: &LocalDriver) -> LocalFuture<op::Poll<Arc<EventFd>>> {
    let eventfd = Arc::new(EventFd::new().expect("an eventfd"));
    driver.perform(op::Poll::new(eventfd, PollEvents::IN))
}

/// Ends where this kernel has no POLL.
macro_rules! needs_poll {
    ($driver:expr) => {{
        let eventfd = std::sync::Arc::new(linux_aio::EventFd::new().expect("an eventfd"));
        eventfd.add(1).expect("an event");
        let poll = linux_aio::op::Poll::new(eventfd, linux_aio::PollEvents::IN);
        if $driver.block_on($driver.perform(poll)).0.is_err() {
            $crate::skip!("this kernel has no POLL");
        }
    }};
}
pub(crate) use needs_poll;

/// The driver does what it did before: reads, more at a time than there are slots, all complete,
/// and so does its end.
pub(crate) fn assert_serves(driver: LocalDriver, capacity: u32) {
    let executor = smol::LocalExecutor::new();
    let reads: Vec<_> = (0..3 * capacity).map(|_| executor.spawn(read(&driver))).collect();
    driver.block_on(executor.run(async {
        for read in reads {
            assert_read(read.await);
        }
    }));
    driver.block_on(driver.clone().close());
    assert_eq!(driver.outstanding(), 0);
    assert_eq!(driver.block_on(read(&driver)).0, Err(Errno::ECANCELED));
}

/// Goal: operations of every kind give their results and their buffers.
#[test]
fn every_kind_of_operation_completes() {
    let _watchdog = Watchdog::new();
    let driver = driver(4);
    let file = Rc::new(tempfile::tempfile().expect("a file"));
    let text = b"futures of one thread".to_vec();
    driver.block_on(async {
        let (result, write) = driver.perform(Write::new(Rc::clone(&file), text, 0)).await;
        assert_eq!(result, Ok(21));
        let (result, _) = driver.perform(Fsync::new(Rc::clone(&file))).await;
        assert!(matches!(result, Ok(0) | Err(Errno::EINVAL)), "{result:?}");
        let (result, read) = driver.perform(Read::new(file, vec![0; 32], 0)).await;
        assert_eq!((result, &read.buf[..21]), (Ok(21), &write.buf[..]));
        let (result, _) = driver.perform(Read::new(File::open("/").expect("/"), [0], 0)).await;
        assert!(result.is_err(), "a directory cannot be read");
    });
    assert_serves(driver, 4);
}

/// Goal: an operation larger than most, and one that is not `Send`, come back whole.
#[test]
fn operations_of_any_size_come_back_whole() {
    let _watchdog = Watchdog::new();
    let driver = driver(2);
    let cell = Rc::new(Cell::new(7));
    let large = (Read::new(zero(), [1; 4096], 0), Rc::clone(&cell));
    let (result, (read, back)) = driver.block_on(driver.perform(large));
    assert_eq!((result, read.buf, back.get()), (Ok(4096), [0; 4096], 7));
    assert!(Rc::ptr_eq(&back, &cell));
}

/// Goal: more operations than slots all complete, first come, first served.
#[test]
fn a_hundred_futures_share_four_slots() {
    let _watchdog = Watchdog::new();
    let driver = driver(4);
    let executor = smol::LocalExecutor::new();
    let reads: Vec<_> = (0..100).map(|_| executor.spawn(read(&driver))).collect();
    driver.block_on(executor.run(async {
        for read in reads {
            assert_read(read.await);
        }
    }));
    let stats = driver.stats();
    assert_eq!((stats.submitted, stats.completed, driver.outstanding()), (100, 100, 0));
    assert!(stats.queue.submit_calls < 100, "together: {stats:?}");
}

/// Goal: a POLL whose future is dropped is cancelled, and gives its slot and descriptor back.
#[test]
fn a_dropped_poll_is_cancelled() {
    let _watchdog = Watchdog::new();
    let driver = driver(1);
    needs_poll!(driver);
    let eventfd = Arc::new(EventFd::new().expect("an eventfd"));
    let mut poll = driver.perform(op::Poll::new(Arc::clone(&eventfd), PollEvents::IN));
    assert!(poll_once(&mut poll, Waker::noop()).is_pending());
    assert_eq!(driver.outstanding(), 1);
    drop(poll);
    // The only slot is free again.
    assert_read(driver.block_on(read(&driver)));
    assert_eq!((driver.outstanding(), Arc::strong_count(&eventfd)), (0, 1));
    assert_serves(driver, 1);
}

/// Goal: a closed driver refuses, ends when what it has has ended, and tells each that waits.
#[test]
fn close_waits_for_what_is_outstanding() {
    let _watchdog = Watchdog::new();
    let driver = driver(2);
    needs_poll!(driver);
    let eventfd = Arc::new(EventFd::new().expect("an eventfd"));
    let mut poll = driver.perform(op::Poll::new(Arc::clone(&eventfd), PollEvents::IN));
    assert!(poll_once(&mut poll, Waker::noop()).is_pending());
    let (mut close, mut second) = (driver.clone().close(), driver.clone().close());
    assert!(poll_once(&mut close, Waker::noop()).is_pending());
    assert!(poll_once(&mut second, Waker::noop()).is_pending());
    assert_eq!(driver.block_on(read(&driver)).0, Err(Errno::ECANCELED));
    drop(second);
    eventfd.add(1).expect("an event");
    driver.block_on(close);
    assert_eq!(driver.outstanding(), 0);
    assert!(driver.block_on(poll).0.is_ok());
}

/// Goal: futures keep the driver: the last of them may be awaited when the handles are gone.
#[test]
fn a_future_outlives_the_handles() {
    let _watchdog = Watchdog::new();
    let driver = driver(2);
    let mut first = read(&driver);
    drop(driver);
    let mut polls = 0;
    while polls < 1000 {
        if let core::task::Poll::Ready(done) = poll_once(&mut first, Waker::noop()) {
            return assert_read(done);
        }
        polls += 1;
    }
    panic!("a read of /dev/zero ends inside of io_submit");
}
