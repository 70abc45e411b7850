//! Users' code that panics, comes back in, forgets, drops at the worst moment, or forks.

use crate::common::child::{Ended, in_child, wait_for};
use crate::common::files::{file_with, open_direct};
use crate::common::local_waker::waker;
use crate::common::panics::{PAYLOADS, Payload, panics};
use crate::common::{Watchdog, poll_once};
use crate::{LocalRead, assert_read, assert_serves, driver, needs_poll, read, silent, zero};
use core::future::poll_fn;
use core::mem;
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use core::task::{Poll, Waker};
use core::time::Duration;
use linux_aio::op::{self, Read};
use linux_aio::raw::ForkGuard;
use linux_aio::{Errno, EventFd, LocalDriver, LocalFuture, Operation, PollEvents, Prepared};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Wake;

/// A POLL of an eventfd that is not readable yet.
fn poll(driver: &LocalDriver) -> (LocalFuture<op::Poll<Arc<EventFd>>>, Arc<EventFd>) {
    let eventfd = Arc::new(EventFd::new().expect("an eventfd"));
    (driver.perform(op::Poll::new(Arc::clone(&eventfd), PollEvents::IN)), eventfd)
}

/// Goal: a panic of `prepare` is its own future's, also of an operation that has waited for a slot;
/// the operation is dropped once, and the others complete.
#[test]
fn a_panic_of_prepare_is_the_futures() {
    struct Panics(Rc<Cell<u32>>);
    impl Operation for Panics {
        fn prepare(&mut self) -> Prepared<'_> {
            panic!("on purpose");
        }
    }
    impl Drop for Panics {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let _watchdog = Watchdog::new();
    let driver = driver(1);
    needs_poll!(driver);
    let drops = Rc::new(Cell::new(0));
    // Alone, and then behind an operation that has the only slot.
    assert!(panics(|| driver.block_on(driver.perform(Panics(Rc::clone(&drops))))));
    assert_eq!(drops.get(), 1);
    let (mut first, eventfd) = poll(&driver);
    assert!(poll_once(&mut first, Waker::noop()).is_pending());
    let mut second = driver.perform(Panics(Rc::clone(&drops)));
    assert!(poll_once(&mut second, Waker::noop()).is_pending());
    let mut third = read(&driver);
    assert!(poll_once(&mut third, Waker::noop()).is_pending());
    eventfd.add(1).expect("an event");
    assert!(driver.block_on(first).0.is_ok());
    assert_read(driver.block_on(third));
    assert_eq!(drops.get(), 1);
    assert!(panics(|| driver.block_on(second)));
    assert_eq!(drops.get(), 2);
    assert_serves(driver, 1);
}

/// Goal: a `prepare` may drop its own future and then panic, with a payload that panics when it is
/// dropped: the operation is dropped once, and the driver goes on. Method: the operation waits for
/// a slot, so a turn prepares it.
#[test]
fn prepare_may_drop_its_own_future_and_panic() {
    type Own = Rc<RefCell<Option<LocalFuture<DropsItself>>>>;
    struct DropsItself(Own, Payload, Rc<Cell<u32>>);
    impl Operation for DropsItself {
        fn prepare(&mut self) -> Prepared<'_> {
            let own = self.0.take();
            drop(own);
            self.1.throw()
        }
    }
    impl Drop for DropsItself {
        fn drop(&mut self) {
            self.2.set(self.2.get() + 1);
        }
    }
    let _watchdog = Watchdog::new();
    for payload in PAYLOADS {
        let driver = driver(1);
        needs_poll!(driver);
        let (own, drops) = (Own::default(), Rc::<Cell<u32>>::default());
        let (mut first, eventfd) = poll(&driver);
        assert!(poll_once(&mut first, Waker::noop()).is_pending());
        let mut second = driver.perform(DropsItself(own.clone(), payload, drops.clone()));
        assert!(poll_once(&mut second, Waker::noop()).is_pending());
        own.replace(Some(second));
        eventfd.add(1).expect("an event");
        assert!(driver.block_on(first).0.is_ok());
        assert_read(driver.block_on(read(&driver)));
        assert_eq!((drops.get(), driver.outstanding()), (1, 0));
        assert_serves(driver, 1);
    }
}

/// Goal: a `prepare` that uses its own driver neither hangs nor sees it in a state that is none.
#[test]
fn prepare_may_use_the_driver() {
    struct ComesBack(LocalDriver, LocalRead, Option<LocalFuture<LocalRead>>);
    impl Operation for ComesBack {
        fn prepare(&mut self) -> Prepared<'_> {
            let mut started = read(&self.0);
            assert!(poll_once(&mut started, Waker::noop()).is_pending());
            drop(read(&self.0));
            let _ = (self.0.outstanding(), self.0.stats());
            assert!(panics(|| self.0.block_on(async {})), "it is refused");
            self.2 = Some(started);
            self.1.prepare()
        }
    }
    let _watchdog = Watchdog::new();
    let driver = driver(2);
    let op = ComesBack(driver.clone(), Read::new(zero(), [1; 8], 0), None);
    let (result, op) = driver.block_on(driver.perform(op));
    assert_read((result, op.1));
    assert_read(driver.block_on(op.2.expect("it was prepared")));
    drop(op.0);
    assert_serves(driver, 2);
}

/// Goal: a waker that panics keeps nobody else waiting, whatever its payload.
#[test]
fn a_waker_that_panics_costs_no_other_future() {
    let _watchdog = Watchdog::new();
    for payload in PAYLOADS {
        let driver = driver(4);
        needs_poll!(driver);
        let called = Rc::new(Cell::new(0));
        let mut polls = Vec::new();
        for _ in 0..4 {
            let (mut poll, eventfd) = poll(&driver);
            let called = Rc::clone(&called);
            let waker = waker(move || {
                called.set(called.get() + 1);
                payload.throw()
            });
            assert!(poll_once(&mut poll, &waker).is_pending());
            polls.push((poll, eventfd));
        }
        polls.iter().for_each(|(_, eventfd)| eventfd.add(1).expect("an event"));
        for (poll, _) in polls {
            assert!(driver.block_on(poll).0.is_ok());
        }
        assert!(called.get() >= 1);
        assert_serves(driver, 4);
    }
}

/// Goal: a waker may drop other futures, pending ones among them, start and leak others, and drop
/// the last handle. Method: it does so inside of the turn that calls it.
#[test]
fn a_waker_may_drop_and_start_futures() {
    let _watchdog = Watchdog::new();
    let driver = driver(8);
    needs_poll!(driver);
    let (mut first, eventfd) = poll(&driver);
    let others: Vec<_> = (0..4)
        .map(|_| {
            let mut poll = silent(&driver);
            assert!(poll_once(&mut poll, Waker::noop()).is_pending());
            poll
        })
        .collect();
    let (others, handle) = (RefCell::new(others), driver.clone());
    let waker = waker(move || {
        others.borrow_mut().clear();
        let mut started = read(&handle);
        let _ = poll_once(&mut started, Waker::noop());
        mem::forget(started);
        assert!(panics(|| handle.block_on(async {})), "it is refused");
    });
    assert!(poll_once(&mut first, &waker).is_pending());
    drop(waker);
    eventfd.add(1).expect("an event");
    // Starts a turn, which finds the end of the first.
    while driver.outstanding() > 0 {
        assert_read(driver.block_on(read(&driver)));
    }
    let Poll::Ready((result, _)) = poll_once(&mut first, Waker::noop()) else {
        panic!("it has ended")
    };
    assert!(result.is_ok());
    assert_serves(driver, 8);
}

/// Goal: futures that are forgotten keep nobody waiting, and their operations are dropped with the
/// driver.
#[test]
fn forgotten_futures_keep_nobody_waiting() {
    let _watchdog = Watchdog::new();
    let driver = driver(2);
    let file = zero();
    for _ in 0..10 {
        let mut forgotten = driver.perform(Read::new(Rc::clone(&file), [1; 8], 0));
        let _ = poll_once(&mut forgotten, &waker(|| {}));
        mem::forget(forgotten);
    }
    assert_read(driver.block_on(read(&driver)));
    assert_eq!(driver.outstanding(), 0);
    assert_serves(driver, 2);
    assert!(Rc::strong_count(&file) >= 1);
}

/// Goal: an operation whose drop panics is dropped once, and the driver goes on.
#[test]
fn a_drop_that_panics_is_caught() {
    struct Bomb(LocalRead, Rc<Cell<u32>>);
    impl Operation for Bomb {
        fn prepare(&mut self) -> Prepared<'_> {
            self.0.prepare()
        }
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.1.set(self.1.get() + 1);
            panic!("on purpose");
        }
    }
    let _watchdog = Watchdog::new();
    let driver = driver(1);
    let drops = Rc::new(Cell::new(0));
    let bomb = || Bomb(Read::new(zero(), [1; 8], 0), Rc::clone(&drops));
    needs_poll!(driver);
    let mut silent = silent(&driver);
    assert!(poll_once(&mut silent, Waker::noop()).is_pending());
    let mut waiting = driver.perform(bomb());
    assert!(poll_once(&mut waiting, Waker::noop()).is_pending());
    drop(waiting);
    assert_eq!(drops.get(), 1);
    drop(silent);
    // Dropped by the turn that sees its end.
    let (mut first, eventfd) = poll(&driver);
    assert!(poll_once(&mut first, Waker::noop()).is_pending());
    let mut second = driver.perform(bomb());
    assert!(poll_once(&mut second, Waker::noop()).is_pending());
    let second = RefCell::new(Some(second));
    eventfd.add(1).expect("an event");
    driver.block_on(async {
        assert!(first.await.0.is_ok());
        drop(second.take());
    });
    assert_eq!(drops.get(), 2);
    assert_serves(driver, 1);
}

/// Goal: the drop of the last handle waits for the kernel, and then drops what was in flight.
/// Method: the files of reads from a disk, whose futures were dropped, are closed when it returns.
#[test]
fn the_last_handle_waits_for_the_kernel() {
    let _watchdog = Watchdog::new();
    let (_directory, path, _buffered) = file_with(&[7; 1 << 20]);
    let Some(file) = open_direct(&path) else { crate::skip!("no O_DIRECT here") };
    let file = Rc::new(file);
    let driver = driver(16);
    for at in 0..32 {
        let buf = linux_aio::AlignedBuf::new(4096).expect("memory");
        let mut read = driver.perform(Read::new(Rc::clone(&file), buf, at * 4096));
        let _ = poll_once(&mut read, Waker::noop());
    }
    drop(driver);
    assert_eq!(Rc::strong_count(&file), 1);
}

/// Goal: a future that is forgotten keeps its driver, and so its operation and descriptor.
#[test]
fn a_forgotten_future_keeps_the_driver() {
    let _watchdog = Watchdog::new();
    let driver = driver(2);
    needs_poll!(driver);
    let (mut forgotten, eventfd) = poll(&driver);
    assert!(poll_once(&mut forgotten, Waker::noop()).is_pending());
    mem::forget(forgotten);
    drop(driver);
    assert_eq!(Arc::strong_count(&eventfd), 2);
}

/// Goal: in a child every function returns with its documented answer, and the parent's operation
/// completes in the parent all the same.
#[test]
fn a_forked_child_gets_answers() {
    let _watchdog = Watchdog::new();
    if !ForkGuard::of_this_process().notices_forks() {
        crate::skip!("this kernel wipes no page in children");
    }
    let driver = driver(2);
    needs_poll!(driver);
    let (mut started, eventfd) = poll(&driver);
    assert!(poll_once(&mut started, Waker::noop()).is_pending());
    let ended = in_child(|| {
        assert_eq!(driver.block_on(read(&driver)).0, Err(Errno::FORKED));
        assert_eq!((driver.outstanding(), driver.stats()), (0, Default::default()));
        let again = || drop(poll_once(&mut started, Waker::noop()));
        assert!(catch_unwind(AssertUnwindSafe(again)).is_err());
        driver.block_on(driver.clone().close());
        drop(driver.clone());
    });
    assert_eq!(ended, Ended::WELL);
    // A fork inside of the future that `block_on` polls.
    let ended = driver.block_on(async {
        in_child(|| {
            drop(poll_once(&mut read(&driver), Waker::noop()));
            drop(driver.clone());
        })
    });
    assert_eq!(ended, Ended::WELL);
    eventfd.add(1).expect("an event");
    assert!(driver.block_on(started).0.is_ok());
    assert_serves(driver, 2);
}

/// Counts its calls in this process, and forks in the first one. The child returns as the parent
/// does.
#[derive(Default)]
struct Forks {
    child: AtomicI32,
    calls: AtomicUsize,
}

impl Wake for Forks {
    fn wake(self: Arc<Self>) {
        if self.calls.fetch_add(1, Ordering::SeqCst) == 0 {
            // SAFETY: The child leaves by `_exit` when what has called this is over.
            self.child.store(unsafe { libc::fork() }, Ordering::SeqCst);
        }
    }
}

impl Forks {
    /// Ends the child, which has called no waker behind the one that forked.
    fn end_child(&self) {
        if self.child.load(Ordering::SeqCst) == 0 && self.calls.load(Ordering::SeqCst) > 0 {
            let code = i32::from(self.calls.load(Ordering::SeqCst) != 1);
            // SAFETY: Ends the child.
            unsafe { libc::_exit(code) };
        }
    }

    fn assert_child_ended_well(&self) {
        assert_eq!(wait_for(self.child.load(Ordering::SeqCst)), Ended::WELL);
    }
}

/// Goal: a child that a waker forks calls none of the parent's other wakers when it returns.
/// Method: two deadlines that pass together, and two callers that wait for the end of the driver.
#[test]
fn a_child_that_a_waker_forks_calls_no_other_waker() {
    let _watchdog = Watchdog::new();
    if !ForkGuard::of_this_process().notices_forks() {
        crate::skip!("this kernel wipes no page in children");
    }
    let driver = driver(4);
    needs_poll!(driver);
    let forks = Arc::<Forks>::default();
    let wakers = [forks.clone(), forks.clone()].map(Waker::from);
    driver.block_on(async {
        let mut time = Duration::from_millis(1);
        let _late = loop {
            let mut late = [(); 2].map(|()| silent(&driver).timeout(time));
            let mut both = late.iter_mut().zip(&wakers);
            // On a busy machine it may be late before it is polled.
            if both.all(|(late, waker)| poll_once(late, waker).is_pending()) {
                break late;
            }
            time *= 2;
        };
        std::thread::sleep(time);
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            if polls > 2 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        forks.end_child();
    });
    assert_eq!(forks.calls.load(Ordering::SeqCst), 2);
    forks.assert_child_ended_well();

    let forks = Arc::<Forks>::default();
    let wakers = [forks.clone(), forks.clone()].map(Waker::from);
    let mut silent = silent(&driver);
    assert!(poll_once(&mut silent, Waker::noop()).is_pending());
    let mut closes = [driver.clone().close(), driver.clone().close()];
    for (close, waker) in closes.iter_mut().zip(&wakers) {
        assert!(poll_once(close, waker).is_pending());
    }
    drop(silent);
    // The POLL is cancelled soon.
    driver.block_on(poll_fn(|cx| {
        cx.waker().wake_by_ref();
        forks.end_child();
        if forks.calls.load(Ordering::SeqCst) > 0 { Poll::Ready(()) } else { Poll::Pending }
    }));
    assert_eq!(forks.calls.load(Ordering::SeqCst), 2);
    forks.assert_child_ended_well();
}

/// Goal: an operation that goes on completes once, whole; it may use the driver and may panic when
/// it is asked, also while `block_on` takes it out of its sleep.
#[test]
fn operations_that_go_on_complete_once() {
    struct Pieces {
        op: Read<Rc<std::fs::File>, linux_aio::AlignedBuf>,
        left: u32,
        driver: LocalDriver,
        panics: bool,
    }
    impl Operation for Pieces {
        fn prepare(&mut self) -> Prepared<'_> {
            self.op.prepare()
        }

        fn goes_on(&mut self, _: linux_aio::EventResult) -> bool {
            let mut started = read(&self.driver);
            assert!(poll_once(&mut started, Waker::noop()).is_pending());
            drop((started, silent(&self.driver)));
            self.left = self.left.saturating_sub(1);
            assert!(!self.panics || self.left > 0, "on purpose");
            self.left > 0
        }
    }
    let _watchdog = Watchdog::new();
    let (_directory, path, _buffered) = file_with(&[7; 1 << 20]);
    let files = [std::fs::File::open("/dev/zero").ok(), open_direct(&path)];
    for file in files.into_iter().flatten() {
        let (driver, file) = (driver(2), Rc::new(file));
        let pieces = |panics| Pieces {
            op: Read::new(Rc::clone(&file), linux_aio::AlignedBuf::new(4096).expect("memory"), 0),
            left: 5,
            driver: driver.clone(),
            panics,
        };
        for _ in 0..20 {
            let (result, op) = driver.block_on(driver.perform(pieces(false)));
            assert_eq!((result, op.left), (Ok(4096), 0));
            assert!(panics(|| driver.block_on(driver.perform(pieces(true)))));
        }
        let mut dropped = driver.perform(pieces(false));
        let _ = poll_once(&mut dropped, Waker::noop());
        drop(dropped);
        assert_serves(driver, 2);
    }
}
