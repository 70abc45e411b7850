//! Operations that end without a signal of the kernel: their futures end all the same, while
//! another operation keeps the driver waiting for a signal.

use crate::common;

use super::hooks::{Code, Op, ReactorCode};
use super::users_code::zero;
use common::panics::panics;
use common::{Watchdog, poll_once};
use core::task::Waker;
use linux_aio::op::{self, Fsync, Read};
use linux_aio::{Driver, Errno, EventFd, PollEvents};
use smol::future::{block_on, zip};
use std::fs::{File, OpenOptions};
use std::sync::Arc;
use std::sync::mpsc::channel;

/// A driver with a reactor, and one on a thread of its own.
fn drivers(capacity: u32) -> [Driver; 2] {
    let (on_reactor, _) = Arc::<ReactorCode>::default().working_driver(capacity);
    [on_reactor, Driver::on_thread(capacity).expect("a driver")]
}

fn silent() -> op::Poll<Arc<EventFd>> {
    op::Poll::new(Arc::new(EventFd::new().expect("a counter")), PollEvents::IN)
}

/// A read that `io_submit` refuses with `EBADF`.
fn refused() -> Read<File, [u8; 8]> {
    let null = OpenOptions::new().write(true).open("/dev/null").expect("/dev/null");
    Read::new(null, [1; 8], 0)
}

/// Goal: an operation that the kernel refuses ends its future, alone and among others. Method:
/// beside a POLL that nothing ends, reads of a file that is open for writing.
#[test]
fn refused_operations_end() {
    let _watchdog = Watchdog::new();
    for driver in drivers(8) {
        let mut poll = driver.perform(silent());
        assert!(poll_once(&mut poll, Waker::noop()).is_pending());
        assert_eq!(block_on(driver.perform(refused())).0, Err(Errno::EBADF));
        let both = zip(driver.perform(refused()), driver.perform(Read::new(zero(), [1; 8], 0)));
        let ((refused, _), (read, _)) = block_on(both);
        assert_eq!((refused, read), (Err(Errno::EBADF), Ok(8)));
        // An eventfd cannot be synced.
        let eventfd = Arc::new(EventFd::new().expect("a counter"));
        assert_eq!(block_on(driver.perform(Fsync::new(eventfd))).0, Err(Errno::EINVAL));
        drop(poll);
        block_on(driver.close());
    }
}

/// Goal: an operation whose `prepare` panics ends its future; the driver gives the kernel one that
/// is refused instead. Method: as above.
#[test]
fn operations_that_cannot_be_prepared_end() {
    let _watchdog = Watchdog::new();
    for driver in drivers(2) {
        let mut poll = driver.perform(silent());
        assert!(poll_once(&mut poll, Waker::noop()).is_pending());
        let prepare = Arc::<Code>::default();
        prepare.arm(|| panic!("intended"));
        let read = driver.perform(Op::read(&prepare, &Arc::default()));
        assert!(panics(|| block_on(read)));
        drop(poll);
        block_on(driver.close());
    }
}

/// Goal: an operation that is cancelled before it is submitted gives its slot back. Method: a POLL
/// whose future is dropped right after its first poll, while every other slot is taken.
#[test]
fn operations_that_are_cancelled_before_their_submit_end() {
    let _watchdog = Watchdog::new();
    for driver in drivers(2) {
        let mut poll = driver.perform(silent());
        assert!(poll_once(&mut poll, Waker::noop()).is_pending());
        for _ in 0..100 {
            let mut dropped = driver.perform(silent());
            assert!(poll_once(&mut dropped, Waker::noop()).is_pending());
            drop(dropped);
            assert_eq!(block_on(driver.perform(Read::new(zero(), [1; 8], 0))).0, Ok(8));
        }
        drop(poll);
        block_on(driver.close());
    }
}

/// Goal: an operation whose future is dropped while its batch is being prepared is cancelled when
/// it has been submitted. Method: `prepare` of a read drops the future of a POLL behind it. Both
/// come together, since they wait until the thread has prepared another read.
#[test]
fn operations_that_are_abandoned_while_they_are_prepared_end() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(4).expect("a driver");
    let [first, second] = [(); 2].map(|()| Arc::<Code>::default());
    let (begun, has_begun) = channel();
    let (go_on, goes_on) = channel::<()>();
    first.arm(move || {
        begun.send(()).expect("the test waits");
        goes_on.recv().expect("the test tells");
    });
    let mut before = driver.perform(Op::read(&first, &Arc::default()));
    assert!(poll_once(&mut before, Waker::noop()).is_pending());
    has_begun.recv().expect("it is prepared");
    let mut read = driver.perform(Op::read(&second, &Arc::default()));
    let mut poll = driver.perform(silent());
    assert!(poll_once(&mut read, Waker::noop()).is_pending());
    assert!(poll_once(&mut poll, Waker::noop()).is_pending());
    second.arm(move || drop(poll));
    go_on.send(()).expect("it waits");
    let ((before, _), (read, _)) = block_on(zip(before, read));
    assert_eq!((before, read), (Ok(8), Ok(8)));
    // Not before the POLL has ended.
    block_on(driver.clone().close());
    assert_eq!(driver.stats().completed, 3);
}
