//! Users' code that a local driver and its task call: each place panics, with payloads that do so
//! when they are dropped, too.

use crate::common::panics::{PAYLOADS, Payload};
use crate::common::users_code::{Code, WakerCode};
use crate::common::{Watchdog, poll_once};
use crate::{assert_read, driver, needs_poll, read, silent};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use linux_aio::{EventFd, LocalDriver, Reactor};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Asserts that `code` panics with the payload.
fn assert_panics<R>(payload: Payload, code: impl FnOnce() -> R) {
    let thrown = catch_unwind(AssertUnwindSafe(code)).err().expect("it panics");
    assert!(payload.is(thrown), "{payload:?}");
}

/// Asserts that a driver has no task, takes another, and is used by `block_on`.
fn assert_serves(driver: &LocalDriver) {
    let code = Arc::<ReactorCode>::default();
    let mut run = code.run(driver);
    assert!(poll_once(&mut run, Waker::noop()).is_pending());
    drop(run);
    assert_eq!(code.drop.calls(), 1);
    assert_read(driver.block_on(read(driver)));
}

/// What runs in the methods of a reactor, which is ready as often as it is told.
#[derive(Default)]
struct ReactorCode {
    poll: Code,
    edge: Code,
    drop: Code,
}

struct Armed(Arc<ReactorCode>);

impl Reactor for Armed {
    fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll.run();
        if self.0.poll.calls() == 1 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn is_edge_triggered(&self) -> bool {
        self.0.edge.run();
        false
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        self.0.drop.run();
    }
}

impl ReactorCode {
    fn run(self: &Arc<Self>, driver: &LocalDriver) -> linux_aio::LocalRun<impl Reactor + use<>> {
        let reactor = Armed(Arc::clone(self));
        driver.run_on(|_| Ok(reactor)).expect("there is no other task")
    }
}

/// Goal: a panic of the reactor is that of the poll or the drop of its task, and the driver takes
/// another. Method: each method in turn, and the closure that makes it.
#[test]
fn a_panic_of_the_reactor_is_its_tasks() {
    let _watchdog = Watchdog::new();
    let places: [fn(&ReactorCode) -> &Code; 2] = [|code| &code.poll, |code| &code.edge];
    for payload in PAYLOADS {
        let driver = driver(2);
        for place in places {
            let code = Arc::<ReactorCode>::default();
            place(&code).arm(move || payload.throw());
            let mut run = code.run(&driver);
            assert_panics(payload, || poll_once(&mut run, Waker::noop()));
            drop(run);
            assert_serves(&driver);
        }
        let code = Arc::<ReactorCode>::default();
        code.drop.arm(move || payload.throw());
        let run = code.run(&driver);
        assert_panics(payload, || drop(run));
        assert_serves(&driver);

        let make = |_: Arc<EventFd>| -> io::Result<Armed> { payload.throw() };
        assert_panics(payload, || driver.run_on(make));
        assert_serves(&driver);
    }
}

/// Goal: a panic of the future in `block_on` is the caller's, and the next call works.
#[test]
fn a_panic_of_the_future_leaves_block_on() {
    let _watchdog = Watchdog::new();
    for payload in PAYLOADS {
        let driver = driver(2);
        let future = async {
            assert_read(read(&driver).await);
            payload.throw()
        };
        assert_panics(payload, || driver.block_on(future));
        assert_serves(&driver);
    }
}

/// Goal: the waker of the task unwinds the poll that clones it, and is caught where it is called or
/// dropped. Method: a future that starts has the task woken; another waker replaces it.
#[test]
fn a_panic_of_the_tasks_waker_ends_in_the_driver() {
    type Place = fn(&WakerCode) -> &Code;
    let _watchdog = Watchdog::new();
    let places: [Place; 2] = [|code| &code.wake, |code| &code.drop];
    for payload in PAYLOADS {
        let driver = driver(4);
        needs_poll!(driver);
        let code = Arc::<WakerCode>::default();
        code.clone.arm(move || payload.throw());
        let (waker, mut run) = (code.waker(), Arc::<ReactorCode>::default().run(&driver));
        assert_panics(payload, || poll_once(&mut run, &waker));
        drop(run);
        assert_serves(&driver);

        for place in places {
            let code = Arc::<WakerCode>::default();
            let mut run = Arc::<ReactorCode>::default().run(&driver);
            assert!(poll_once(&mut run, &code.waker()).is_pending());
            place(&code).arm(move || payload.throw());
            // With one in flight, the next is submitted by the task.
            let mut polls = [silent(&driver), silent(&driver)];
            for poll in &mut polls {
                assert!(poll_once(poll, Waker::noop()).is_pending());
            }
            assert!(poll_once(&mut run, Waker::noop()).is_pending());
            assert!(place(&code).calls() > 0);
            drop((polls, run));
            assert_serves(&driver);
        }
    }
}

/// Goal: the waker of a future unwinds the poll that clones it and leaves the future as it was, and
/// its drop is caught. Method: POLLs, in their first poll and in a later one. (`hostile` has the
/// calls of wakers.)
#[test]
fn a_panic_of_a_futures_waker_costs_no_operation() {
    let _watchdog = Watchdog::new();
    for payload in PAYLOADS {
        let driver = driver(2);
        needs_poll!(driver);
        let mut poll = silent(&driver);
        for outstanding in 0..2 {
            let code = Arc::<WakerCode>::default();
            code.clone.arm(move || payload.throw());
            assert_panics(payload, || poll_once(&mut poll, &code.waker()));
            assert_eq!(driver.outstanding(), outstanding);
            assert!(poll_once(&mut poll, &code.waker()).is_pending());
            code.drop.arm(move || payload.throw());
            assert!(poll_once(&mut poll, Waker::noop()).is_pending());
        }
        let code = Arc::<WakerCode>::default();
        assert!(poll_once(&mut poll, &code.waker()).is_pending());
        code.drop.arm(move || payload.throw());
        drop(poll);
        assert_serves(&driver);
    }
}

/// Goal: code that the driver calls while it works may ask it anything, also with operations that
/// are overdue and measured. Method: a waker, which is called in a turn.
#[test]
fn what_the_driver_calls_may_ask_it_anything() {
    thread_local! {
        static DRIVER: core::cell::RefCell<Option<LocalDriver>> = const {
            core::cell::RefCell::new(None)
        };
    }
    let ask = || {
        DRIVER.with_borrow(|driver| {
            let driver = driver.as_ref().expect("the test has set it");
            let overdue = driver.overdue(Duration::ZERO);
            driver.retry_submits_for(Duration::from_secs(1));
            driver.measure(false);
            driver.measure(true);
            let _ = (driver.metrics(), driver.stats(), driver.outstanding(), overdue);
        });
    };
    let _watchdog = Watchdog::new();
    let driver = driver(4);
    needs_poll!(driver);
    DRIVER.set(Some(driver.clone()));
    let (code, asked) = (Arc::<WakerCode>::default(), Arc::new(AtomicUsize::new(0)));
    let counts = Arc::clone(&asked);
    code.wake.arm(move || {
        ask();
        counts.fetch_add(1, Ordering::SeqCst);
    });
    driver.measure(true);
    let gate = Arc::new(EventFd::new().expect("an eventfd"));
    let mut late = silent(&driver);
    let mut poll =
        driver.perform(linux_aio::op::Poll::new(Arc::clone(&gate), linux_aio::PollEvents::IN));
    assert!(poll_once(&mut late, Waker::noop()).is_pending());
    assert!(poll_once(&mut poll, &code.waker()).is_pending());
    assert_eq!(driver.overdue(Duration::ZERO).len(), 2);
    gate.add(1).expect("an event");
    // Its turn calls the waker.
    driver.block_on(core::future::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if asked.load(Ordering::SeqCst) > 0 { Poll::Ready(()) } else { Poll::Pending }
    }));
    assert!(poll_once(&mut poll, Waker::noop()).is_ready());
    drop(late);
    DRIVER.set(None);
    assert_serves(&driver);
}
