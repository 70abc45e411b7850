//! Operations that do not name the driver's eventfd, since many before them have completed inside
//! of `io_submit`: they are found all the same, if they do not.

use crate::common;

use super::hooks::ReactorCode;
use common::held::{BYTE, HeldFile};
use common::{Watchdog, poll_once, skip};
use core::task::Waker;
use linux_aio::op::{self, Read};
use linux_aio::{AlignedBuf, Driver, EventFd, OpFuture, PollEvents};
use smol::future::block_on;
use std::fs::File;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// A driver with a reactor, and one on a thread of its own.
fn drivers(capacity: u32) -> [Driver; 2] {
    let (on_reactor, _) = Arc::<ReactorCode>::default().working_driver(capacity);
    [on_reactor, Driver::on_thread(capacity).expect("a driver")]
}

/// Reads that complete inside of `io_submit`: more than it takes to leave the eventfd out.
fn many_that_complete_inside(driver: &Driver) {
    let zero = Arc::new(File::open("/dev/zero").expect("/dev/zero"));
    for _ in 0..200 {
        let (result, read) = block_on(driver.perform(Read::new(Arc::clone(&zero), [1; 8], 0)));
        assert_eq!((result, read.buf), (Ok(8), [0; 8]));
    }
}

fn started(driver: &Driver, held: &HeldFile) -> OpFuture<Read<File, AlignedBuf>> {
    let file = held.file().try_clone().expect("a descriptor");
    let buf = AlignedBuf::with_alignment(4096, 4096).expect("memory");
    let mut read = driver.perform(Read::new(file, buf, 0));
    assert!(poll_once(&mut read, Waker::noop()).is_pending());
    read
}

/// Goal: a read that stays in the kernel completes its future, although nothing announces its end;
/// again and again. Method: it is released when nothing else is left that would run the event loop.
#[test]
fn a_read_that_nobody_announces_is_found() {
    let _watchdog = Watchdog::new();
    for driver in drivers(8) {
        for count in [1, 5] {
            let mut held = match HeldFile::new() {
                Ok(held) => held,
                Err(reason) => skip!("{reason}"),
            };
            many_that_complete_inside(&driver);
            let reads: Vec<_> = (0..count).map(|_| started(&driver, &held)).collect();
            held.wait_for_arrival(count);
            // The looks go on for as long as it takes.
            thread::sleep(Duration::from_millis(30));
            held.release();
            for read in reads {
                let (result, read) = block_on(read);
                assert_eq!(result, Ok(4096));
                assert!(read.buf.iter().all(|&byte| byte == BYTE));
            }
        }
        block_on(driver.close());
    }
}

/// Goal: dropping the future of such a read leaves nothing, and the driver ends.
#[test]
fn a_driver_ends_with_a_read_that_nobody_announces() {
    let _watchdog = Watchdog::new();
    for driver in drivers(8) {
        let mut held = match HeldFile::new() {
            Ok(held) => held,
            Err(reason) => skip!("{reason}"),
        };
        many_that_complete_inside(&driver);
        drop(started(&driver, &held));
        let mut close = driver.close();
        assert!(poll_once(&mut close, Waker::noop()).is_pending());
        held.release();
        block_on(close);
    }
}

/// Goal: a POLL names the eventfd always, so nothing looks for it. Method: its wake-up comes, with
/// operations that complete inside before and after it.
#[test]
fn a_poll_is_announced_always() {
    let _watchdog = Watchdog::new();
    for driver in drivers(8) {
        many_that_complete_inside(&driver);
        let gate = Arc::new(EventFd::new().expect("an eventfd"));
        let mut poll = driver.perform(op::Poll::new(Arc::clone(&gate), PollEvents::IN));
        assert!(poll_once(&mut poll, Waker::noop()).is_pending());
        many_that_complete_inside(&driver);
        gate.add(1).expect("room in an eventfd");
        assert!(common::holds(block_on(poll).0, PollEvents::IN));
    }
}
