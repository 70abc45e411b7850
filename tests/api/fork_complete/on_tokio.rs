//! What a forked child inherits of `linux_aio::tokio`, and what that answers there.

use super::checks::{Check, panic_of};
use super::common::poll_once;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Waker;
use core::time::Duration;
use linux_aio::DriverStats;
use linux_aio::tokio::{self, Fallback, File, Outcome};
use linux_aio::{Driver, Errno, IoPrio, RwFlags};
use smol::future::block_on;
use std::io;
use std::thread;

type Reading = Pin<Box<dyn Future<Output = Outcome<Vec<u8>>>>>;

/// Files of a driver on tokio, which a thread uses all the time, and of one that has no free slot.
pub(crate) struct Inherited {
    _runtime: ::tokio::runtime::Runtime,
    driver: Option<Driver>,
    files: Option<[File; 2]>,
    /// What the first of them falls back to.
    fallback: Option<Fallback>,
    /// A read by the second, which waits for a slot.
    waiting: Option<Reading>,
    user: Option<thread::JoinHandle<()>>,
}

static OVER: AtomicBool = AtomicBool::new(false);

fn zero() -> std::fs::File {
    std::fs::File::open("/dev/zero").expect("/dev/zero")
}

impl Inherited {
    /// `full` is a driver without a free slot.
    pub(crate) fn new(full: &Driver) -> Self {
        let builder = &mut ::tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_io().build().expect("a runtime");
        let driver = runtime.block_on(async { tokio::driver(8) }).expect("a driver");
        let fallback = Fallback::new(2).expect("two threads");
        let file = File::new(zero(), &driver).expect("a file").fall_back_to(&fallback);
        let user = thread::spawn({
            let (file, fallback) = (file.clone(), fallback.clone());
            move || {
                while !OVER.load(Ordering::Relaxed) {
                    assert_eq!(block_on(file.read_at(vec![1; 8], 0)).0.expect("a read"), 8);
                    let _ = (fallback.stats(), format!("{file:?}"));
                }
            }
        });
        let of_full = File::new(zero(), full).expect("a file");
        let files = Some([file, of_full.clone()]);
        let mut waiting: Reading = Box::pin(async move { of_full.read_at(vec![1; 8], 0).await });
        assert!(poll_once(&mut waiting, Waker::noop()).is_pending());
        Self {
            _runtime: runtime,
            driver: Some(driver),
            files,
            fallback: Some(fallback),
            waiting: Some(waiting),
            user: Some(user),
        }
    }

    /// When the slot is free.
    pub(crate) fn is_as_it_was(&mut self) {
        assert_eq!(block_on(self.waiting.take().expect("it")).0.expect("a read"), 8);
        OVER.store(true, Ordering::Relaxed);
        self.user.take().expect("it").join().expect("no panic");
    }

    fn files(&self) -> &[File] {
        self.files.as_ref().expect("both")
    }
}

fn assert_forked<T: core::fmt::Debug>(result: io::Result<T>) {
    let error = result.expect_err("the driver is the parent's");
    assert_eq!(error.kind(), io::Error::from(Errno::FORKED).kind());
    assert!(error.to_string().contains("fork"), "{error}");
}

pub(crate) const TOKIO: &[(&str, Check)] = &[
    ("tokio::driver", |_| {
        // The child has a runtime of its own.
        let builder = &mut ::tokio::runtime::Builder::new_current_thread();
        builder.enable_io().build().expect("a runtime").block_on(async {
            let driver = tokio::driver(2).expect("a driver of the child's");
            let file = File::new(zero(), &driver).expect("a file");
            let (result, buf) = file.read_at(vec![1; 8], 0).await;
            assert_eq!((result.expect("a read"), buf), (8, vec![0; 8]));
            driver.close().await;
        });
    }),
    ("tokio::File::new", |world| {
        let driver = world.tokio.driver.as_ref().expect("it");
        let file = File::new(zero(), driver).expect("a file");
        assert_forked(block_on(file.read_at(vec![1; 8], 0)).0);
    }),
    ("tokio::File::fall_back_to", |world| {
        for file in world.tokio.files() {
            let file = file.clone().fall_back_to(world.tokio.fallback.as_ref().expect("it"));
            assert_forked(block_on(file.read_at(vec![1; 8], 0)).0);
        }
    }),
    ("tokio::File::with_rw_flags", |world| {
        for file in world.tokio.files() {
            let file = file.clone().with_rw_flags(RwFlags::HIPRI);
            assert_forked(block_on(file.read_at(vec![1; 8], 0)).0);
        }
    }),
    ("tokio::File::with_ioprio", |world| {
        for file in world.tokio.files() {
            let file = file.clone().with_ioprio(IoPrio::idle());
            assert_forked(block_on(file.read_at(vec![1; 8], 0)).0);
        }
    }),
    ("tokio::File::read_at", |world| {
        for file in world.tokio.files() {
            let (result, buf) = block_on(file.read_at(vec![1; 8], 0));
            assert_eq!(buf, [1; 8]);
            assert_forked(result);
        }
        // What waits for an operation of the parent's does as that does.
        let waiting = world.tokio.waiting.as_mut().expect("it");
        let text = panic_of(|| drop(poll_once(waiting, Waker::noop())));
        assert!(text.contains("fork"), "{text}");
    }),
    ("tokio::File::write_at", |world| {
        for file in world.tokio.files() {
            let (result, buf) = block_on(file.write_at(vec![1; 8], 0));
            assert_eq!(buf, [1; 8]);
            assert_forked(result);
        }
    }),
    ("tokio::File::readv_at", |world| {
        for file in world.tokio.files() {
            let (result, bufs) = block_on(file.readv_at([vec![1; 8], vec![2; 8]], 0));
            assert_eq!(bufs, [[1; 8], [2; 8]]);
            assert_forked(result);
        }
    }),
    ("tokio::File::writev_at", |world| {
        for file in world.tokio.files() {
            let (result, bufs) = block_on(file.writev_at([vec![1; 8], vec![2; 8]], 0));
            assert_eq!(bufs, [[1; 8], [2; 8]]);
            assert_forked(result);
        }
    }),
    ("tokio::File::sync_all", |world| {
        world.tokio.files().iter().for_each(|file| assert_forked(block_on(file.sync_all())));
    }),
    ("tokio::File::sync_data", |world| {
        world.tokio.files().iter().for_each(|file| assert_forked(block_on(file.sync_data())));
    }),
    ("tokio::File::metadata", |world| assert!(world.tokio.files()[0].metadata().is_ok())),
    ("tokio::File::get_ref", |world| {
        assert!(world.tokio.files()[0].get_ref().metadata().is_ok());
    }),
    ("tokio::File: Clone", |world| drop(world.tokio.files().to_vec())),
    ("tokio::File: Debug", |world| {
        for file in world.tokio.files() {
            assert!(format!("{file:?}").contains("outstanding: 0"));
        }
    }),
    ("tokio::File: Drop", |world| {
        drop((world.tokio.waiting.take(), world.tokio.files.take(), world.tokio.driver.take()));
    }),
    ("tokio::Fallback::new", |_| {
        let fallback = Fallback::new(2).expect("two threads of the child's");
        block_on(fallback.close());
    }),
    ("tokio::Fallback::retry_submits_for", |world| {
        world.tokio.fallback.as_ref().expect("it").retry_submits_for(Duration::ZERO);
    }),
    ("tokio::Fallback::stats", |world| {
        let stats = world.tokio.fallback.as_ref().expect("it").stats();
        assert_eq!([stats.reads, stats.writes], [DriverStats::default(); 2]);
    }),
    ("tokio::Fallback::close", |world| {
        block_on(world.tokio.fallback.take().expect("it").close());
    }),
    ("tokio::Fallback: Clone", |world| drop(world.tokio.fallback.clone())),
    ("tokio::Fallback: Debug", |world| {
        assert!(format!("{:?}", world.tokio.fallback).contains("outstanding: 0"));
    }),
    ("tokio::Fallback: Drop", |world| {
        drop((world.tokio.fallback.take(), world.tokio.files.take()))
    }),
];
