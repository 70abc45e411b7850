//! Operations that end without a signal of the kernel, in `block_on` and on an executor, while a
//! POLL keeps the driver waiting for a signal.

use crate::common::panics::panics;
use crate::common::{Watchdog, poll_once};
use crate::{assert_read, driver, needs_poll, read, silent};
use core::cell::Cell;
use core::task::Waker;
use linux_aio::op::Read;
use linux_aio::{Errno, EventFd, LocalDriver, Operation, Prepared, Reactor};
use std::fs::{File, OpenOptions};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

struct Watched(smol::Async<Arc<EventFd>>);

impl Reactor for Watched {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_readable(cx)
    }
}

/// A read that `io_submit` refuses with `EBADF`.
fn refused() -> Read<File, [u8; 8]> {
    let null = OpenOptions::new().write(true).open("/dev/null").expect("/dev/null");
    Read::new(null, [1; 8], 0)
}

/// Panics when it is prepared, which it notes.
struct Unpreparable(std::rc::Rc<Cell<bool>>);

impl Operation for Unpreparable {
    fn prepare(&mut self) -> Prepared<'_> {
        self.0.set(true);
        panic!("intended")
    }
}

/// Ends one operation of each kind, while a POLL is in flight.
async fn end_each(driver: &LocalDriver) {
    let mut poll = silent(driver);
    assert!(poll_once(&mut poll, Waker::noop()).is_pending());
    assert_eq!(driver.perform(refused()).await.0, Err(Errno::EBADF));
    for _ in 0..100 {
        let mut dropped = silent(driver);
        assert!(poll_once(&mut dropped, Waker::noop()).is_pending());
        drop(dropped);
        assert_read(read(driver).await);
    }
    drop(poll);
}

/// Goal: operations that are refused, or cancelled before their submit, end their futures and give
/// their slots back. Method: all slots are taken, so that the next operation needs that one's.
#[test]
fn operations_without_a_signal_end() {
    let _watchdog = Watchdog::new();
    let driver = driver(2);
    needs_poll!(driver);
    driver.block_on(end_each(&driver));

    let watch = |eventfd| Ok(Watched(smol::Async::new_nonblocking(eventfd)?));
    let executor = smol::LocalExecutor::new();
    executor.spawn(driver.run_on(watch).expect("a task")).detach();
    smol::block_on(executor.run(end_each(&driver)));
}

/// Goal: the same of an operation whose `prepare` panics.
#[test]
fn operations_that_cannot_be_prepared_end() {
    let _watchdog = Watchdog::new();
    let driver = driver(2);
    needs_poll!(driver);
    let mut poll = silent(&driver);
    let prepared = std::rc::Rc::new(Cell::new(false));
    let op = driver.perform(Unpreparable(std::rc::Rc::clone(&prepared)));
    assert!(poll_once(&mut poll, Waker::noop()).is_pending());
    assert!(panics(|| driver.block_on(op)) && prepared.get());
    drop(poll);
    assert_read(driver.block_on(read(&driver)));
}
