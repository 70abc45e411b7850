//! What becomes of a driver's futures where the kernel stops doing what it did when the driver was made.
#![cfg(linux_aio_simulated)]

use linux_aio::driver::OpFuture;
use linux_aio::op::{Poll, Read};
use linux_aio::{Driver, Errno, PollEvents};
use linux_aio_fuzz::simulated::driver::block_on;
use linux_aio_fuzz::simulated::memory::{Buffer, Buffers};
use linux_aio_fuzz::simulated::{Filters, Kernel, Object, Script};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::process::abort;
use std::sync::LazyLock;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

static FILE: LazyLock<File> = LazyLock::new(|| File::open("/dev/null").expect("/dev/null"));
static POLLED: LazyLock<File> = LazyLock::new(|| File::open("/dev/null").expect("/dev/null"));

/// Slots of each driver.
const SLOTS: usize = 4;

type Reading = OpFuture<Read<BorrowedFd<'static>, Buffer>>;

fn kernel() -> Kernel {
    let kernel = Kernel::new(Script::from_seed(1).with(&[]));
    kernel.open(FILE.as_fd(), Object::File);
    kernel.open(POLLED.as_fd(), Object::Polled);
    kernel
}

/// Ends the process if it is not dropped within a minute.
fn watchdog() -> Sender<()> {
    let (alive, gone) = channel::<()>();
    thread::spawn(move || {
        if gone.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
            eprintln!("a future was never woken");
            abort();
        }
    });
    alive
}

fn start<F: Future + Unpin>(future: &mut F) {
    let polled = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
}

fn wait_until(what: impl Fn() -> bool) {
    while !what() {
        thread::yield_now();
    }
}

/// A driver with `count` reads, of which as many as there are slots are in the kernel.
fn driver_with(kernel: &Kernel, buffers: &Buffers, count: usize) -> (Driver, Vec<Reading>) {
    let driver = Driver::on_thread(SLOTS as u32).expect("a driver");
    let mut reads: Vec<_> = (0..count).map(|_| read(&driver, buffers)).collect();
    reads.iter_mut().for_each(start);
    wait_until(|| kernel.in_flight() == SLOTS.min(count));
    (driver, reads)
}

fn read(driver: &Driver, buffers: &Buffers) -> Reading {
    driver.submit(Read::new(FILE.as_fd(), buffers.make(64), 0))
}

/// From now on there are no events to be had: the ring is of no use, and the call is refused.
fn refuse_events(kernel: &Kernel, getevents: Errno, destroy: Option<Errno>) {
    kernel.filter(Filters { getevents: Some(getevents), destroy, ..Filters::default() });
    // A tail out of the ring lasts until the next event, a head until somebody moves it.
    (0..32).for_each(|_| kernel.spoil_rings());
}

const REFUSALS: [Errno; 4] = [Errno::EPERM, Errno::ENOSYS, Errno::EINVAL, Errno::EFAULT];

/// Goal: where events can be had no longer, each future ends with the reason and its operation, when the
/// kernel is finished with that and not before; later ones do so at once, and the driver closes. Method:
/// `io_getevents` is refused while reads are in the kernel and others wait for a slot.
#[test]
fn futures_end_with_the_reason_why_events_cannot_be_had() {
    let _watchdog = watchdog();
    for errno in REFUSALS {
        let kernel = kernel();
        let _entered = kernel.enter();
        let buffers = Buffers::default();
        let (driver, reads) = driver_with(&kernel, &buffers, SLOTS + 3);
        refuse_events(&kernel, errno, None);
        kernel.run_to_the_end();
        for read in reads {
            let (result, op) = block_on(read);
            assert_eq!((result, op.buf.as_ref().len()), (Err(errno), 64));
        }
        assert_eq!(block_on(read(&driver, &buffers)).0, Err(errno));
        assert_eq!((driver.outstanding(), kernel.in_flight(), kernel.contexts()), (0, 0, 0));
        assert_eq!(buffers.count(), 0);
        block_on(driver.close());
        kernel.end().expect("every buffer was there");
    }
}

/// Goal: what nobody waits for any more is dropped when the context has ended, and a POLL ends with it.
/// Method: one future of a read is dropped before the refusal, one after it, one with the driver; that of
/// a POLL is awaited.
#[test]
fn what_is_dropped_is_given_up_when_the_context_has_ended() {
    let _watchdog = watchdog();
    for errno in REFUSALS {
        let kernel = kernel();
        let _entered = kernel.enter();
        let buffers = Buffers::default();
        let (driver, mut reads) = driver_with(&kernel, &buffers, SLOTS - 1);
        let mut poll = driver.submit(Poll::new(POLLED.as_fd(), PollEvents::IN));
        start(&mut poll);
        wait_until(|| kernel.in_flight() == SLOTS);
        drop(reads.pop());
        refuse_events(&kernel, errno, None);
        kernel.run_to_the_end();
        drop(reads.pop());
        assert_eq!(block_on(poll).0, Err(errno));
        drop((driver, reads));
        wait_until(|| buffers.count() == 0);
        assert_eq!((kernel.in_flight(), kernel.contexts()), (0, 0));
        kernel.end().expect("every buffer was there");
    }
}

/// Goal: where `io_destroy` is refused as well, nothing proves a buffer free, and none is given back: its
/// future does not end. What the kernel never had comes back all the same, and nothing blocks. Method: as
/// above, with operations that wait for a slot; the driver is closed, and dropped.
#[test]
fn a_buffer_that_nothing_proves_free_is_not_given_back() {
    let _watchdog = watchdog();
    for errno in REFUSALS {
        let kernel = kernel();
        let _entered = kernel.enter();
        let buffers = Buffers::default();
        let (driver, mut reads) = driver_with(&kernel, &buffers, SLOTS + 2);
        refuse_events(&kernel, errno, Some(errno));
        kernel.run_to_the_end();
        for waits in reads.split_off(SLOTS) {
            assert_eq!(block_on(waits).0, Err(errno));
        }
        block_on(driver.clone().close());
        reads.iter_mut().for_each(start);
        assert_eq!((driver.outstanding(), buffers.count()), (SLOTS, SLOTS));
        drop((driver, reads));
        assert_eq!((buffers.count(), kernel.contexts()), (SLOTS, 1));
        kernel.end().expect("every buffer was there");
    }
}
