//! What a local driver and its futures answer in a forked child.

use super::checks::{Check, FORKED, panic_of, silently};
use super::common::files::{Pipe, scratch};
use super::common::poll_once;
use super::world::{FAR, Op, poll, read, tell, told};
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use linux_aio::op::Read;
use linux_aio::{
    CloseWithin, Direct, DriverStats, File as AioFile, LocalClose, LocalDriver, LocalFuture,
    LocalRun, Metrics, Reactor, WithDeadline,
};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tempfile::TempDir;

/// Tells of its drop.
pub(crate) struct Quiet;

impl Reactor for Quiet {
    fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        tell();
    }
}

type Submitted = Option<LocalFuture<Op>>;

pub(crate) struct Inherited {
    driver: Option<LocalDriver>,
    /// Through the page cache. A thread has made calls for it.
    file: Option<AioFile<LocalDriver>>,
    _dir: TempDir,
    fresh: Submitted,
    in_flight: Submitted,
    waiting: Submitted,
    run: Option<LocalRun<Quiet>>,
    /// Of another driver, which has a POLL in flight.
    close: Option<LocalClose>,
    close_within: Option<CloseWithin<LocalClose>>,
    poll_of_closed: Submitted,
    /// Waits for a slot. Its deadline is far away, and the alarm is that of a thread.
    timed: Option<WithDeadline<LocalFuture<Op>>>,
    /// The same, with an alarm of `block_on`.
    timed_in_block_on: Option<WithDeadline<LocalFuture<Op>>>,
}

impl Inherited {
    pub(crate) fn new(file: &Arc<File>, pipe: &Pipe) -> Self {
        let start = |driver: &LocalDriver, op| {
            let mut future = driver.perform(op);
            assert!(poll_once(&mut future, Waker::noop()).is_pending());
            Some(future)
        };
        let driver = LocalDriver::new(1).expect("a driver");
        let dir = scratch();
        let options = AioFile::options().read(true).write(true).create(true).direct(Direct::Never);
        let buffered = driver.block_on(async {
            let file = options.open(&driver, dir.path().join("buffered")).await.expect("a file");
            file.write_all_at([7; 8], 0).await.0.expect("a write");
            file
        });
        let in_flight = start(&driver, poll(pipe));
        let waiting = start(&driver, read(file));
        let timed = || driver.perform(read(file)).timeout(FAR);
        let mut timed_in_block_on = timed();
        let once =
            poll_fn(|cx| Poll::Ready(Pin::new(&mut timed_in_block_on).poll(cx).is_pending()));
        assert!(driver.block_on(once));
        let mut run = driver.run_on(|_| Ok(Quiet)).expect("a task");
        assert!(poll_once(&mut run, Waker::noop()).is_pending());
        let mut timed = timed();
        assert!(poll_once(&mut timed, Waker::noop()).is_pending());
        let closed = LocalDriver::new(1).expect("a driver");
        let poll_of_closed = start(&closed, poll(pipe));
        let mut close_within = closed.clone().close_within(FAR);
        assert!(poll_once(&mut close_within, Waker::noop()).is_pending());
        let mut close = closed.close();
        assert!(poll_once(&mut close, Waker::noop()).is_pending());
        Self {
            fresh: Some(driver.perform(read(file))),
            driver: Some(driver),
            file: Some(buffered),
            _dir: dir,
            in_flight,
            waiting,
            run: Some(run),
            close: Some(close),
            close_within: Some(close_within),
            poll_of_closed,
            timed: Some(timed),
            timed_in_block_on: Some(timed_in_block_on),
        }
    }

    /// What the children did has cost the parent nothing. The pipe of its POLLs is readable.
    pub(crate) fn is_as_it_was(&mut self) {
        let driver = self.driver.take().expect("it");
        let file = self.file.take().expect("it");
        assert_eq!(driver.block_on(file.read_at([0; 8], 0)).1, [7; 8]);
        for future in [&mut self.in_flight, &mut self.waiting, &mut self.fresh] {
            assert!(driver.block_on(future.take().expect("it")).0.is_ok());
        }
        for timed in [&mut self.timed_in_block_on, &mut self.timed] {
            let (result, _) = driver.block_on(timed.take().expect("it")).expect("its time is far");
            assert_eq!(result, Ok(8));
        }
        // Other drivers' futures do their own work when they are polled.
        let (close, poll) = (self.close.as_mut().expect("it"), &mut self.poll_of_closed);
        while poll_once(close, Waker::noop()).is_pending() {}
        assert!(poll_once(poll.as_mut().expect("it"), Waker::noop()).is_ready());
    }
}

fn panics_when_polled(future: &mut Submitted) {
    let future = future.as_mut().expect("it");
    let text = silently(|| panic_of(|| drop(poll_once(&mut *future, Waker::noop()))));
    assert!(text.contains("fork"), "{text}");
}

pub(crate) const LOCAL: &[(&str, Check)] = &[
    ("LocalDriver::new", |world| {
        let driver = LocalDriver::new(2).expect("a driver of the child's");
        let read = driver.perform(Read::new(Arc::clone(&world.file), [1; 8], 0));
        let (result, op) = driver.block_on(read);
        assert_eq!((result, op.buf), (Ok(8), [0; 8]));
        driver.block_on(driver.clone().close());
    }),
    ("LocalDriver::perform", |world| {
        let driver = world.local.driver.as_ref().expect("it");
        let mut read = driver.perform(Read::new(Arc::clone(&world.file), vec![1; 8], 0));
        let Poll::Ready((result, op)) = poll_once(&mut read, Waker::noop()) else {
            panic!("hangs")
        };
        assert_eq!((result, op.buf), (Err(FORKED), vec![1; 8]));
    }),
    ("LocalDriver::block_on", |world| {
        let driver = world.local.driver.as_ref().expect("it");
        let read = driver.perform(Read::new(Arc::clone(&world.file), vec![1; 8], 0));
        assert_eq!(driver.block_on(read).0, Err(FORKED));
        // A future that is pending is polled again when it has been woken.
        let mut polls = 0;
        driver.block_on(core::future::poll_fn(|cx| {
            polls += 1;
            let waker = cx.waker().clone();
            std::thread::spawn(move || waker.wake());
            if polls < 3 { Poll::Pending } else { Poll::Ready(()) }
        }));
    }),
    ("LocalDriver::run_on", |world| {
        let driver = world.local.driver.as_ref().expect("it");
        let error = driver.run_on(|_| Ok(Quiet)).expect_err("it is the parent's");
        assert_eq!(error.to_string(), io::Error::from(FORKED).to_string());
    }),
    ("LocalDriver::close", |world| {
        let mut close = world.local.driver.clone().expect("it").close();
        assert!(poll_once(&mut close, Waker::noop()).is_ready());
        silently(|| drop(world.local.driver.take().expect("it").close()));
    }),
    ("LocalDriver::close_within", |world| {
        let mut close = world.local.driver.clone().expect("it").close_within(FAR);
        assert_eq!(poll_once(&mut close, Waker::noop()), Poll::Ready(Ok(())));
        silently(|| drop(world.local.driver.take().expect("it").close_within(Duration::ZERO)));
    }),
    ("LocalDriver::with_deadline", |world| {
        let driver = world.local.driver.take().expect("it").with_deadline(Duration::ZERO);
        let read = driver.perform(Read::new(Arc::clone(&world.file), vec![1; 8], 0));
        assert_eq!(driver.get_ref().block_on(read).expect("refused").0, Err(FORKED));
        silently(|| drop(driver));
    }),
    ("LocalDriver::measure", |world| world.local.driver.as_ref().expect("it").measure(true)),
    ("LocalDriver::metrics", |world| {
        let metrics = world.local.driver.as_ref().expect("it").metrics();
        assert_eq!(metrics, Metrics::default());
    }),
    ("LocalDriver::overdue", |world| {
        let overdue = world.local.driver.as_ref().expect("it").overdue(Duration::ZERO);
        assert_eq!(overdue, []);
    }),
    ("LocalDriver::retry_submits_for", |world| {
        world.local.driver.as_ref().expect("it").retry_submits_for(Duration::ZERO);
    }),
    ("LocalFuture::deadline", |world| {
        let driver = world.local.driver.as_ref().expect("it");
        let read = driver.perform(Read::new(Arc::clone(&world.file), vec![1; 8], 0));
        let read = driver.block_on(read.deadline(Instant::now()));
        assert_eq!(read.expect("refused").0, Err(FORKED));
    }),
    ("LocalFuture::timeout", |world| {
        for timed in [&mut world.local.timed, &mut world.local.timed_in_block_on] {
            let mut timed = timed.take().expect("it");
            let text = silently(|| panic_of(|| drop(poll_once(&mut timed, Waker::noop()))));
            assert!(text.contains("fork"), "{text}");
            silently(|| drop(timed.timeout(Duration::ZERO)));
        }
        let mut close = world.local.close_within.take().expect("it");
        silently(|| {
            assert_eq!(poll_once(&mut close, Waker::noop()), Poll::Ready(Ok(())));
            drop(close);
        });
    }),
    ("LocalDriver: Performs", |world| {
        let driver = world.local.driver.as_ref().expect("it");
        let file = world.local.file.take().expect("it");
        let error = driver.block_on(AioFile::open(driver, "/dev/zero")).expect_err("the parent's");
        assert!(error.to_string().contains("fork"), "{error}");
        for result in [
            driver.block_on(file.read_at([1; 8], 0)).0,
            driver.block_on(file.write_at([1; 8], 0)).0,
            driver.block_on(file.set_len(1)).map(|()| 0),
        ] {
            assert!(result.expect_err("the parent's").to_string().contains("fork"));
        }
        driver.block_on(file.close()).expect("it closes what the child has");
    }),
    ("LocalDriver::outstanding", |world| {
        assert_eq!(world.local.driver.as_ref().expect("it").outstanding(), 0);
    }),
    ("LocalDriver::reactor_error", |world| {
        assert!(world.local.driver.as_ref().expect("it").reactor_error().is_none());
    }),
    ("LocalDriver::stats", |world| {
        let stats = world.local.driver.as_ref().expect("it").stats();
        assert_eq!(stats, DriverStats::default());
    }),
    ("LocalDriver: Debug", |world| {
        assert!(format!("{:?}", world.local.driver).contains("outstanding: 0"));
    }),
    ("LocalDriver: Clone", |world| {
        let clone = world.local.driver.clone();
        silently(|| drop((world.local.driver.take(), clone)));
    }),
    ("LocalDriver: Drop", |world| {
        silently(|| {
            let local = &mut world.local;
            drop((local.driver.take(), local.in_flight.take(), local.waiting.take()));
            drop((local.run.take(), local.close.take(), local.close_within.take()));
            drop((local.timed.take(), local.timed_in_block_on.take()));
        });
    }),
    ("LocalFuture: Future", |world| {
        let fresh = world.local.fresh.as_mut().expect("it");
        let Poll::Ready((result, op)) = poll_once(fresh, Waker::noop()) else { panic!("hangs") };
        assert_eq!(result, Err(FORKED));
        drop(op);
        panics_when_polled(&mut world.local.in_flight);
        panics_when_polled(&mut world.local.waiting);
    }),
    ("LocalFuture: Drop", |world| {
        silently(|| drop((world.local.in_flight.take(), world.local.waiting.take())));
        // What no driver has is the future's own.
        let before = told();
        drop(world.local.fresh.take());
        assert_eq!(told(), before + 1);
    }),
    ("LocalFuture: Debug", |world| {
        assert!(format!("{:?}", world.local.waiting).contains("started"));
    }),
    ("LocalRun: Future", |world| {
        let run = world.local.run.as_mut().expect("it");
        let ended = silently(|| poll_once(run, Waker::noop()));
        let Poll::Ready(Err(error)) = ended else { panic!("{ended:?}") };
        assert_eq!(error.to_string(), io::Error::from(FORKED).to_string());
    }),
    ("LocalRun: Drop", |world| silently(|| drop(world.local.run.take()))),
    ("LocalRun: Debug", |world| assert!(format!("{:?}", world.local.run).contains("LocalRun"))),
    ("LocalClose: Future", |world| {
        let close = world.local.close.as_mut().expect("it");
        silently(|| {
            assert!(poll_once(&mut *close, Waker::noop()).is_ready());
            assert!(poll_once(close, Waker::noop()).is_ready());
        });
    }),
    ("LocalClose: Drop", |world| silently(|| drop(world.local.close.take()))),
    ("LocalClose: Debug", |world| {
        assert!(format!("{:?}", world.local.close).contains("LocalClose"));
    }),
];
