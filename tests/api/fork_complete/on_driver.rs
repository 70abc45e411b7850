//! What a driver and its futures answer in a forked child.

use super::checks::{Check, FORKED, panic_of, silently};
use super::common::poll_once;
use super::world::{FAR, Op, World, read, told};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use linux_aio::Driver;
use linux_aio::op::Read;
use linux_aio::{DriverStats, Metrics, OpFuture, Reactor};
use smol::future::block_on;
use std::io;
use std::sync::Arc;
use std::time::Instant;

fn reads(driver: &Driver, world: &World<'_>) {
    let (result, op) = block_on(driver.perform(Read::new(Arc::clone(&world.file), [1; 8], 0)));
    assert_eq!((result, op.buf), (Ok(8), [0; 8]));
}

fn panics_when_polled(future: &mut Option<OpFuture<Op>>) {
    let future = future.as_mut().expect("it");
    let poll = || drop(poll_once(&mut *future, Waker::noop()));
    let text = silently(|| panic_of(poll));
    assert!(text.contains("fork"), "{text}");
}

pub(crate) const DRIVER: &[(&str, Check)] = &[
    ("Driver::new", |world| {
        // Its reactor fails at once.
        struct Failing;
        impl Reactor for Failing {
            fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
            }
        }
        let driver = Driver::new(2, |_| Ok(Failing)).expect("a driver of the child's");
        reads(&driver, world);
        block_on(driver.close());
    }),
    ("Driver::on_thread", |world| {
        let driver = Driver::on_thread(2).expect("a driver of the child's");
        reads(&driver, world);
        let (result, _) = block_on(world.busy.as_ref().expect("it").perform(read(&world.file)));
        assert_eq!(result, Err(FORKED));
        drop(silently(|| world.busy.take()));
        reads(&driver, world);
        block_on(driver.close());
    }),
    ("Driver::perform", |world| {
        for driver in [&world.busy, &world.full, &world.reacting] {
            let read = Read::new(Arc::clone(&world.file), vec![1; 8], 0);
            let (result, op) = block_on(driver.as_ref().expect("it").perform(read));
            assert_eq!((result, op.buf), (Err(FORKED), vec![1; 8]));
        }
    }),
    ("Driver::close", |world| {
        for driver in [&mut world.busy, &mut world.full] {
            block_on(driver.clone().expect("it").close());
            drop(driver.take().expect("it").close());
        }
    }),
    ("Driver::close_within", |world| {
        for driver in [&mut world.busy, &mut world.full] {
            assert_eq!(block_on(driver.clone().expect("it").close_within(FAR)), Ok(()));
            drop(driver.take().expect("it").close_within(Duration::ZERO));
        }
    }),
    ("Driver::measure", |world| {
        for driver in [&world.busy, &world.full] {
            driver.as_ref().expect("it").measure(true);
            driver.as_ref().expect("it").measure(false);
        }
    }),
    ("Driver::metrics", |world| {
        for driver in [&world.busy, &world.full] {
            assert_eq!(driver.as_ref().expect("it").metrics(), Metrics::default());
        }
    }),
    ("Driver::overdue", |world| {
        for driver in [&world.busy, &world.full] {
            assert_eq!(driver.as_ref().expect("it").overdue(Duration::ZERO), []);
        }
    }),
    ("Driver::reactor_error", |world| {
        for driver in [&world.busy, &world.full] {
            assert!(driver.as_ref().expect("it").reactor_error().is_none());
        }
    }),
    ("Driver::retry_submits_for", |world| {
        for driver in [&world.busy, &world.full] {
            driver.as_ref().expect("it").retry_submits_for(Duration::ZERO);
        }
    }),
    ("Driver::outstanding", |world| {
        for driver in [&world.busy, &world.full] {
            assert_eq!(driver.as_ref().expect("it").outstanding(), 0);
        }
    }),
    ("Driver::stats", |world| {
        for driver in [&world.busy, &world.full] {
            assert_eq!(driver.as_ref().expect("it").stats(), DriverStats::default());
        }
    }),
    ("Driver: Debug", |world| {
        for driver in [&world.busy, &world.full] {
            assert!(format!("{driver:?}").contains("outstanding: 0"));
        }
    }),
    ("Driver: Clone", |world| {
        let (driver, clone) = (world.full.take(), world.full.clone());
        silently(|| drop((driver, clone)));
    }),
    ("Driver: Drop", |world| {
        silently(|| {
            drop((world.alone.take(), world.busy.take(), world.full.take(), world.reacting.take()));
            drop((world.in_flight.take(), world.waiting.take(), world.ended.take()));
            drop((world.close.take(), world.close_within.take(), world.timed.take()));
        });
    }),
    ("OpFuture: Future", |world| {
        let (result, op) = block_on(world.fresh.take().expect("it"));
        assert_eq!(result, Err(FORKED));
        drop(op);
        panics_when_polled(&mut world.in_flight);
        panics_when_polled(&mut world.waiting);
        panics_when_polled(&mut world.ended);
    }),
    ("OpFuture::deadline", |world| {
        for driver in [&world.busy, &world.full] {
            let read = Read::new(Arc::clone(&world.file), [1; 8], 0);
            let future = driver.as_ref().expect("it").perform(read).deadline(Instant::now());
            assert_eq!(block_on(future).expect("refused").0, Err(FORKED));
        }
    }),
    ("OpFuture::timeout", |world| {
        for time in [Duration::ZERO, FAR, Duration::MAX] {
            let read = Read::new(Arc::clone(&world.file), [1; 8], 0);
            let future = world.full.as_ref().expect("it").perform(read).timeout(time);
            assert_eq!(block_on(future).expect("refused").0, Err(FORKED));
        }
    }),
    ("Driver::with_deadline", |world| {
        silently(|| drop(world.full.take().expect("it").with_deadline(FAR)));
    }),
    ("DriverWithDeadline::perform", |world| {
        for time in [Duration::ZERO, FAR, Duration::MAX] {
            let driver = world.full.clone().expect("it").with_deadline(time);
            let read = Read::new(Arc::clone(&world.file), [1; 8], 0);
            assert_eq!(block_on(driver.perform(read)).expect("refused").0, Err(FORKED));
        }
    }),
    ("DriverWithDeadline::open", |world| {
        for time in [Duration::ZERO, FAR, Duration::MAX] {
            let driver = world.full.clone().expect("it").with_deadline(time);
            let options = linux_aio::File::options().read(true);
            let error = block_on(driver.open(&options, "/dev/zero")).expect_err("the parent's");
            assert!(error.to_string().contains("fork"), "{error}");
        }
    }),
    ("DriverWithDeadline::get_ref", |world| {
        let driver = world.full.clone().expect("it").with_deadline(FAR);
        assert_eq!(driver.get_ref().outstanding(), 0);
    }),
    ("DriverWithDeadline: Clone", |world| {
        let driver = world.full.take().expect("it").with_deadline(FAR);
        silently(|| drop((driver.clone(), driver)));
    }),
    ("DriverWithDeadline: Drop", |world| {
        silently(|| drop(world.full.take().expect("it").with_deadline(FAR)));
    }),
    ("DriverWithDeadline: Debug", |world| {
        let driver = world.full.clone().expect("it").with_deadline(FAR);
        assert!(format!("{driver:?}").contains("outstanding: 0"));
    }),
    ("WithDeadline::deadline", |world| {
        let timed = world.timed.take().expect("it").deadline(Instant::now());
        silently(|| drop(timed));
    }),
    ("WithDeadline::timeout", |world| {
        let mut timed = world.timed.take().expect("it").timeout(Duration::ZERO);
        let text = silently(|| panic_of(|| drop(poll_once(&mut timed, Waker::noop()))));
        assert!(text.contains("fork"), "{text}");
        silently(|| drop(timed));
    }),
    ("WithDeadline: Future", |world| {
        let timed = world.timed.as_mut().expect("it");
        let poll = || drop(poll_once(&mut *timed, Waker::noop()));
        let text = silently(|| panic_of(poll));
        assert!(text.contains("fork"), "{text}");
    }),
    ("WithDeadline: Drop", |world| silently(|| drop(world.timed.take()))),
    ("WithDeadline: Debug", |world| assert!(format!("{:?}", world.timed).contains("started"))),
    ("CloseWithin: Future", |world| {
        let close = world.close_within.as_mut().expect("it");
        silently(|| {
            assert_eq!(poll_once(close, Waker::noop()), Poll::Ready(Ok(())));
        });
    }),
    ("CloseWithin: Drop", |world| silently(|| drop(world.close_within.take()))),
    ("CloseWithin: Debug", |world| {
        assert!(format!("{:?}", world.close_within).contains("CloseWithin"));
    }),
    ("OpFuture: Drop", |world| {
        silently(|| drop((world.in_flight.take(), world.waiting.take(), world.ended.take())));
        // What no driver has is the future's own.
        let before = told();
        drop(world.fresh.take());
        assert_eq!(told(), before + 1);
    }),
    ("OpFuture: Debug", |world| assert!(format!("{:?}", world.waiting).contains("started"))),
    ("Close: Future", |world| {
        let close = world.close.as_mut().expect("it");
        silently(|| {
            assert!(poll_once(&mut *close, Waker::noop()).is_ready());
            assert!(poll_once(close, Waker::noop()).is_ready());
        });
    }),
    ("Close: Drop", |world| silently(|| drop(world.close.take()))),
    ("Close: Debug", |world| assert!(format!("{:?}", world.close).contains("Close"))),
    ("Reactor::poll_readable", |world| {
        let waker = world.waker_of_reacting.lock().expect("no panic").take().expect("it");
        silently(|| {
            waker.wake_by_ref();
            waker.wake();
        });
    }),
    ("Reactor::is_edge_triggered", |world| {
        let driver = world.reacting.take().expect("it");
        let future = driver.perform(Read::new(Arc::clone(&world.file), [0; 8], 0));
        silently(|| drop((block_on(future), driver)));
    }),
    ("Reactor::wake_later", |world| {
        let driver = world.reacting.take().expect("it");
        let start = |_| {
            let mut read = driver.perform(Read::new(Arc::clone(&world.file), [0; 8], 0));
            assert!(poll_once(&mut read, Waker::noop()).is_ready());
        };
        silently(|| (0..100).for_each(start));
    }),
];
