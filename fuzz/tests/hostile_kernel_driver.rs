//! What becomes of a driver's futures where the kernel stops doing what it did when the driver was
//! made, or has no resources for their operations.
#![cfg(linux_aio_simulated)]

use linux_aio::op::{Poll, Read};
use linux_aio::{Driver, Errno, PollEvents};
use linux_aio::{OpFuture, Reactor};
use linux_aio_fuzz::simulated::driver::block_on;
use linux_aio_fuzz::simulated::memory::{Buffer, Buffers};
use linux_aio_fuzz::simulated::{self, Filters, Kernel, Object, Script};
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
    let kernel = simulated::kernel(Script::from_seed(1).with(&[]));
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
    driver.perform(Read::new(FILE.as_fd(), buffers.make(64), 0))
}

/// From now on there are no events to be had: the ring is of no use, and the call is refused.
fn refuse_events(kernel: &Kernel, getevents: Errno, destroy: Option<Errno>) {
    kernel.filter(Filters { getevents: Some(getevents), destroy, ..Filters::default() });
    // A tail out of the ring lasts until the next event, a head until somebody moves it.
    (0..32).for_each(|_| kernel.spoil_rings());
}

const REFUSALS: [Errno; 4] = [Errno::EPERM, Errno::ENOSYS, Errno::EINVAL, Errno::EFAULT];

/// Goal: where events can be had no longer, each future ends with the reason and its operation,
/// when the kernel is finished with that and not before; later ones do so at once, and the driver
/// closes. Method: `io_getevents` is refused while reads are in the kernel and others wait for a
/// slot.
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

/// Goal: what nobody waits for any more is dropped when the context has ended, and a POLL ends with
/// it. Method: one future of a read is dropped before the refusal, one after it, one with the
/// driver; that of a POLL is awaited.
#[test]
fn what_is_dropped_is_given_up_when_the_context_has_ended() {
    let _watchdog = watchdog();
    for errno in REFUSALS {
        let kernel = kernel();
        let _entered = kernel.enter();
        let buffers = Buffers::default();
        let (driver, mut reads) = driver_with(&kernel, &buffers, SLOTS - 1);
        let mut poll = driver.perform(Poll::new(POLLED.as_fd(), PollEvents::IN));
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

/// Goal: where `io_destroy` is refused as well, nothing proves a buffer free, and none is given
/// back: its future does not end. What the kernel never had comes back all the same, and nothing
/// blocks. Method: as above, with operations that wait for a slot; the driver is closed, and
/// dropped.
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

// ---- no resources ----

/// A driver, and its waker where it has a reactor.
struct Driven {
    driver: Driver,
    reactor: Option<Waker>,
}

/// A driver of each form: one whose reactor says nothing by itself, and one on a thread of its own.
fn drivers() -> [Driven; 2] {
    struct Silent(Sender<Waker>);
    impl Reactor for Silent {
        fn poll_readable(&self, cx: &mut Context<'_>) -> std::task::Poll<std::io::Result<()>> {
            // Only the first is received.
            let _ = self.0.send(cx.waker().clone());
            std::task::Poll::Pending
        }
    }
    let (sender, wakers) = channel();
    let driver = Driver::new(SLOTS as u32, |_| Ok(Silent(sender))).expect("a driver");
    let reactor = Some(wakers.recv().expect("the reactor has been polled"));
    let on_thread = Driver::on_thread(SLOTS as u32).expect("a driver");
    [Driven { driver, reactor }, Driven { driver: on_thread, reactor: None }]
}

impl Driven {
    fn reads(&self, buffers: &Buffers, count: usize) -> Vec<Reading> {
        (0..count).map(|_| read(&self.driver, buffers)).collect()
    }

    /// A POLL that is in the kernel.
    fn poll(&self, kernel: &Kernel) -> OpFuture<Poll<BorrowedFd<'static>>> {
        let mut poll = self.driver.perform(Poll::new(POLLED.as_fd(), PollEvents::IN));
        start(&mut poll);
        wait_until(|| kernel.in_flight() == 1);
        poll
    }

    /// What futures give while the kernel ends what it has, and the reactor comes round.
    fn result<F: Future>(&self, kernel: &Kernel, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if let std::task::Poll::Ready(output) = polled {
                return output;
            }
            kernel.run_to_the_end();
            self.reactor.iter().for_each(Waker::wake_by_ref);
            thread::yield_now();
        }
    }

    fn assert_all_give(&self, kernel: &Kernel, reads: Vec<Reading>, expected: Result<u32, Errno>) {
        for read in reads {
            let (result, op) = self.result(kernel, read);
            assert_eq!((result, op.buf.as_ref().len()), (expected, 64));
        }
    }
}

/// No operation is taken any more.
fn refuse_submits(kernel: &Kernel, errno: Errno) {
    kernel.filter(Filters { submit: Some(errno), ..Filters::default() });
}

/// Goal: where the kernel has no resources, a driver retries, though nothing ends and nothing else
/// has it submit; when there are some, everything completes. Method: with nothing in flight, and
/// with a POLL; the kernel refuses at least five submits of more operations than there are slots.
#[test]
fn a_driver_retries_while_the_kernel_has_no_resources() {
    let _watchdog = watchdog();
    for with_poll in [false, true] {
        let kernel = kernel();
        let _entered = kernel.enter();
        for driven in drivers() {
            let buffers = Buffers::default();
            let poll = with_poll.then(|| driven.poll(&kernel));
            refuse_submits(&kernel, Errno::EAGAIN);
            let mut reads = driven.reads(&buffers, SLOTS + 3);
            reads.iter_mut().for_each(start);
            wait_until(|| driven.driver.stats().stalled >= 5);
            kernel.filter(Filters::default());
            // Nobody wakes the reactor.
            wait_until(|| kernel.in_flight() == SLOTS);
            driven.assert_all_give(&kernel, reads, Ok(64));
            drop(poll);
            let (close, stalled) = (driven.driver.clone().close(), driven.driver.stats().stalled);
            driven.result(&kernel, close);
            assert_eq!(driven.driver.stats().stalled, stalled, "it retries no more");
        }
        kernel.end().expect("every buffer was there");
    }
}

/// Goal: when the time for retries is over, what is queued ends with the error that says so, as
/// does what waits for a slot; without that time, at once; and later operations are done. Method: a
/// kernel that refuses every submit, then none.
#[test]
fn a_driver_gives_up_when_its_time_for_retries_is_over() {
    let _watchdog = watchdog();
    for time in [Duration::ZERO, Duration::from_millis(20)] {
        let kernel = kernel();
        let _entered = kernel.enter();
        for driven in drivers() {
            let buffers = Buffers::default();
            driven.driver.retry_submits_for(time);
            for _ in 0..2 {
                refuse_submits(&kernel, Errno::EAGAIN);
                let reads = driven.reads(&buffers, SLOTS + 3);
                driven.assert_all_give(&kernel, reads, Err(Errno::EXHAUSTED));
                assert_eq!((driven.driver.outstanding(), buffers.count()), (0, 0));
                kernel.filter(Filters::default());
                let reads = driven.reads(&buffers, SLOTS + 3);
                driven.assert_all_give(&kernel, reads, Ok(64));
            }
            let close = driven.driver.clone().close();
            driven.result(&kernel, close);
        }
        kernel.end().expect("every buffer was there");
    }
}

/// Goal: what the kernel refuses ends alone: what it has goes on. Method: a POLL is in flight while
/// operations are given up for lack of resources, and while every submit is refused by a filter.
#[test]
fn refused_operations_end_without_those_in_flight() {
    let _watchdog = watchdog();
    for (refusal, expected) in [(Errno::EAGAIN, Errno::EXHAUSTED), (Errno::ENOSYS, Errno::ENOSYS)] {
        let kernel = kernel();
        let _entered = kernel.enter();
        for driven in drivers() {
            let buffers = Buffers::default();
            driven.driver.retry_submits_for(Duration::ZERO);
            kernel.set_readable(false);
            let mut poll = driven.poll(&kernel);
            refuse_submits(&kernel, refusal);
            let reads = driven.reads(&buffers, SLOTS + 3);
            driven.assert_all_give(&kernel, reads, Err(expected));
            start(&mut poll);
            assert_eq!((driven.driver.outstanding(), kernel.in_flight()), (1, 1));
            kernel.filter(Filters::default());
            kernel.set_readable(true);
            let (result, _) = driven.result(&kernel, poll);
            assert!(
                result
                    .is_ok_and(|seen| PollEvents::from_bits_retain(seen).contains(PollEvents::IN))
            );
            let close = driven.driver.clone().close();
            driven.result(&kernel, close);
        }
        kernel.end().expect("every buffer was there");
    }
}

/// Goal: a driver that retries without end ends all the same when it is dropped, and closes when
/// the kernel has resources again; operations whose futures are gone are dropped. Method: each,
/// while it retries.
#[test]
fn a_driver_that_retries_can_be_dropped_and_closed() {
    let _watchdog = watchdog();
    for closes in [false, true] {
        let kernel = kernel();
        let _entered = kernel.enter();
        for driven in drivers() {
            let buffers = Buffers::default();
            driven.driver.retry_submits_for(Duration::MAX);
            refuse_submits(&kernel, Errno::EAGAIN);
            let mut reads = driven.reads(&buffers, SLOTS + 3);
            reads.iter_mut().for_each(start);
            wait_until(|| driven.driver.stats().stalled >= 3);
            if closes {
                let mut close = driven.driver.clone().close();
                start(&mut close);
                drop(reads.split_off(2));
                kernel.filter(Filters::default());
                driven.assert_all_give(&kernel, reads, Ok(64));
                driven.result(&kernel, close);
                drop(driven);
            } else {
                drop(driven);
                drop(reads);
            }
            wait_until(|| buffers.count() == 0);
        }
        wait_until(|| kernel.contexts() == 0);
        kernel.end().expect("every buffer was there");
    }
}
