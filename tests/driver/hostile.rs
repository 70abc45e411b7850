//! The driver among users' code that comes back in, or ends things in an unusual order. For its
//! panics, see `driver::users_code`.

use crate::common;

use common::{Watchdog, poll_once};
use core::pin::pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use linux_aio::OpFuture;
use linux_aio::op::{self, Read};
use linux_aio::{Driver, Errno, EventFd, Operation, PollEvents, Prepared};
use smol::future::block_on;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::Wake;
use std::thread;

fn zero() -> Arc<File> {
    Arc::new(File::open("/dev/zero").expect("/dev/zero"))
}

/// The driver in its two forms: a reactor that is a thread of smol's, and a thread of its own.
fn drivers(capacity: u32) -> [Driver; 2] {
    struct Reactor(smol::Async<Arc<EventFd>>);
    impl linux_aio::Reactor for Reactor {
        fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            self.0.poll_readable(cx)
        }
    }
    let reactor = |eventfd| Ok(Reactor(smol::Async::new_nonblocking(eventfd)?));
    let on_reactor = Driver::new(capacity, reactor).expect("a driver");
    [on_reactor, Driver::on_thread(capacity).expect("a driver")]
}

type Silent = OpFuture<op::Poll<Arc<EventFd>>>;

/// A POLL that is in flight, and the eventfd that ends it.
fn silent(driver: &Driver) -> (Silent, Arc<EventFd>) {
    let fd = Arc::new(EventFd::new().expect("an eventfd"));
    let mut poll = driver.perform(op::Poll::new(Arc::clone(&fd), PollEvents::IN));
    assert!(poll_once(&mut poll, Waker::noop()).is_pending());
    (poll, fd)
}

fn wait_until(what: impl Fn() -> bool) {
    while !what() {
        thread::yield_now();
    }
}

// ---- POLL ----

/// Goal: POLL is a future beside the others, and dropping it ends it. Method: it fills every slot;
/// a read waits until one of them is dropped, and another until one is signalled.
#[test]
fn a_dropped_poll_gives_its_slot_back() {
    let _watchdog = Watchdog::new();
    for driver in drivers(2) {
        let ((first, _silent), (second, signalled)) = (silent(&driver), silent(&driver));
        let mut read = driver.perform(Read::new(zero(), [1; 8], 0));
        assert!(poll_once(&mut read, Waker::noop()).is_pending());
        assert_eq!(driver.outstanding(), 3);
        drop(first);
        assert_eq!(block_on(read).0, Ok(8));
        wait_until(|| driver.outstanding() == 1);
        signalled.add(1).expect("room in an eventfd");
        assert!(common::holds(block_on(second).0, PollEvents::IN));
        assert_eq!(driver.outstanding(), 0);
    }
}

// ---- the end ----

/// Goal: after `close`, operations are refused and come back; those under way end. Method: one that
/// waits for a slot, one in flight, and one from after the close.
#[test]
fn a_closed_driver_ends_what_it_has_and_takes_no_more() {
    let _watchdog = Watchdog::new();
    for driver in drivers(1) {
        let (in_flight, fd) = silent(&driver);
        let mut waits = driver.perform(Read::new(zero(), [1; 8], 0));
        assert!(poll_once(&mut waits, Waker::noop()).is_pending());
        let unpolled = driver.perform(Read::new(zero(), [1; 8], 0));
        let mut close = driver.clone().close();
        assert!(poll_once(&mut close, Waker::noop()).is_pending());
        let (result, op) = block_on(unpolled);
        assert_eq!((result, op.buf), (Err(Errno::ECANCELED), [1; 8]));
        fd.add(1).expect("room in an eventfd");
        block_on(close);
        assert_eq!(block_on(waits).0, Ok(8));
        assert!(common::holds(block_on(in_flight).0, PollEvents::IN));
        assert_eq!(block_on(driver.perform(Read::new(zero(), [1; 8], 0))).0, Err(Errno::ECANCELED));
    }
}

/// Goal: `close` may be called by several, dropped half-way, polled by changing tasks, and not
/// polled at all; each that is awaited resolves. Method: all of these, then the last operation is
/// dropped.
#[test]
fn several_may_close_a_driver() {
    let _watchdog = Watchdog::new();
    for driver in drivers(2) {
        let (poll, _fd) = silent(&driver);
        let (first, mut dropped, _unpolled) =
            (driver.clone().close(), driver.clone().close(), driver.clone().close());
        assert!(poll_once(&mut dropped, Waker::noop()).is_pending());
        drop(dropped);
        let mut second = driver.clone().close();
        for _ in 0..3 {
            assert!(poll_once(&mut second, &Waker::from(Arc::new(Count::default()))).is_pending());
        }
        drop(poll);
        block_on(first);
        block_on(second);
        block_on(driver.close());
    }
}

/// Goal: closing an idle driver, and one whose only operation still waits, resolves. Method: those.
#[test]
fn close_needs_no_operation() {
    let _watchdog = Watchdog::new();
    for driver in drivers(1) {
        block_on(driver.close());
    }
    for driver in drivers(1) {
        let (poll, _fd) = silent(&driver);
        let mut waits = driver.perform(Read::new(zero(), [1; 8], 0));
        assert!(poll_once(&mut waits, Waker::noop()).is_pending());
        let close = driver.close();
        drop(poll);
        drop(waits);
        block_on(close);
    }
}

// ---- users' code ----

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A waker, or an operation's drop, that runs some code.
struct Runs<F: Fn()>(F);

impl<F: Fn() + Send + Sync> Wake for Runs<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// Goal: a waker may come back into the driver. Method: one that starts an operation, drops
/// another's future and asks for numbers, when it is called and when it is dropped.
#[test]
fn a_waker_may_come_back_in() {
    struct OnDrop<F: Fn()>(F);
    impl<F: Fn()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let _watchdog = Watchdog::new();
    for driver in drivers(4) {
        let calls = Arc::new(AtomicUsize::new(0));
        let (counted, again) = (Arc::clone(&calls), driver.clone());
        let victims = Mutex::new(vec![silent(&driver), silent(&driver)]);
        let come_back = move || {
            let mut read = again.perform(Read::new(zero(), [1; 8], 0));
            let _ = poll_once(&mut read, Waker::noop());
            drop(read);
            let victim = victims.lock().expect("no panic under it").pop();
            drop(victim);
            let _ = (again.outstanding(), again.stats());
            counted.fetch_add(1, Ordering::SeqCst);
        };
        let on_drop = OnDrop(come_back);
        let waker = Waker::from(Arc::new(Runs(move || (on_drop.0)())));
        let (mut poll, fd) = silent(&driver);
        assert!(poll_once(&mut poll, &waker).is_pending());
        drop(waker);
        fd.add(1).expect("room in an eventfd");
        // Called once, and dropped once.
        wait_until(|| calls.load(Ordering::SeqCst) == 2);
        assert!(common::holds(block_on(poll).0, PollEvents::IN));
        wait_until(|| driver.outstanding() == 0);
        block_on(driver.close());
    }
}

/// An operation whose `prepare` runs some code first, and whose drop does.
struct Prepares<F: Fn()>(Read<Arc<File>, [u8; 8]>, F, F);

impl<F: Fn()> Operation for Prepares<F> {
    fn prepare(&mut self) -> Prepared<'_> {
        (self.1)();
        self.0.prepare()
    }
}

impl<F: Fn()> Drop for Prepares<F> {
    fn drop(&mut self) {
        (self.2)();
    }
}

type Code = Box<dyn Fn() + Send>;

/// Goal: `prepare` may come back into the driver. Method: one that starts and drops operations
/// there.
#[test]
fn prepare_may_come_back_in() {
    let _watchdog = Watchdog::new();
    for driver in drivers(2) {
        let again = driver.clone();
        let come_back: Code = Box::new(move || {
            let mut read = again.perform(Read::new(zero(), [1; 8], 0));
            let _ = poll_once(&mut read, Waker::noop());
            drop(silent(&again));
        });
        let read = Prepares(Read::new(zero(), [1; 8], 0), come_back, Box::new(|| {}));
        assert_eq!(block_on(driver.perform(read)).0, Ok(8));
        wait_until(|| driver.outstanding() == 0);
    }
}

/// Goal: an operation may own futures and handles of its own driver. Method: one that owns the last
/// handle, abandoned in flight: the driver ends from inside of itself.
#[test]
fn an_operation_may_own_the_driver() {
    struct Owner(op::Poll<Arc<EventFd>>, Option<Driver>, Arc<AtomicUsize>);
    impl Operation for Owner {
        fn prepare(&mut self) -> Prepared<'_> {
            self.0.prepare()
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            drop(self.1.take());
            self.2.fetch_add(1, Ordering::SeqCst);
        }
    }
    let _watchdog = Watchdog::new();
    for driver in drivers(2) {
        let dropped = Arc::new(AtomicUsize::new(0));
        let fd = Arc::new(EventFd::new().expect("an eventfd"));
        let poll = op::Poll::new(fd, PollEvents::IN);
        let mut owner = driver.perform(Owner(poll, Some(driver.clone()), Arc::clone(&dropped)));
        drop(driver);
        assert!(poll_once(&mut owner, Waker::noop()).is_pending());
        drop(owner);
        wait_until(|| dropped.load(Ordering::SeqCst) == 1);
    }
}

/// Goal: a future is done once; polling it after its end is a panic, as for any. Method: that.
#[test]
fn polling_after_the_end_panics() {
    let _watchdog = Watchdog::new();
    for driver in drivers(2) {
        let mut read = pin!(driver.perform(Read::new(zero(), [1; 8], 0)));
        assert_eq!(block_on(read.as_mut()).0, Ok(8));
        let again = AssertUnwindSafe(|| poll_once(&mut read, Waker::noop()).is_pending());
        assert!(catch_unwind(again).is_err());
    }
}
