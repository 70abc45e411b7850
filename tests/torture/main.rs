//! The driver under everything that may happen to a future: awaited, dropped before and after it
//! was polled, timed out, lost in `select!`, unwound by a panic, moved to another task, held and
//! never polled again, alive when its runtime ends.
//!
//! Every buffer is watched: bytes before and behind what the operation uses, and, once it has come
//! back, all of it, to the end of the test. What is read must be what the file has. Afterwards, all
//! that was started has ended once, and no slot, descriptor or thread is left.
//!
//! `buffers` has what watches, `world` the operations, `tasks` what is done to futures, and this
//! file a driver's life from beginning to end.
//!
//! `LINUX_AIO_TORTURE_SEED` repeats a run, as far as threads let it; `LINUX_AIO_TORTURE_TASKS` is
//! how many tasks there are.
#![cfg(feature = "tokio")]

#[path = "../common/mod.rs"]
mod common;

mod buffers;
mod order;
mod tasks;
mod world;

use common::Watchdog;
use common::files::{file_with, open_direct};
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::sync::atomic::Ordering;
use core::task::Poll;
use core::time::Duration;
use fastrand::Rng;
use linux_aio::{EventFd, PollEvents};
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use tasks::storm;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use world::{Intended, Started, Waiting, World};

/// One block is what an operation reads or writes; a buffer has one more before and one behind.
const BLOCK: usize = 4096;
const BLOCKS: u64 = 256;

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What block `number` of the file has, always: those who write it write the same.
fn content(number: u64) -> Vec<u8> {
    let words = (0..BLOCK as u64 / 8).map(|word| (number << 32 | word) ^ 0x5bd1_e995_9e37_79b9);
    words.flat_map(u64::to_le_bytes).collect()
}

/// One test with drivers at a time, since descriptors and threads of the process are counted.
static ALONE: Mutex<()> = Mutex::new(());

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("a directory of /proc").count()
}

/// How many threads drivers have started.
fn helpers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("a directory of /proc");
    let names = tasks.flatten().filter_map(|task| std::fs::read(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with(b"linux-aio")).count()
}

/// Waits until the drivers' threads have ended, which they do a little after they say so.
fn wait_for_helpers() {
    while helpers() > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn seed() -> u64 {
    let set = std::env::var("LINUX_AIO_TORTURE_SEED");
    let seed = set.map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("LINUX_AIO_TORTURE_SEED={seed}");
    seed
}

fn tasks() -> usize {
    let set = std::env::var("LINUX_AIO_TORTURE_TASKS");
    set.map_or(4000, |tasks| tasks.parse().expect("a number"))
}

/// Intended panics are not shown.
fn silence_intended_panics() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.payload().is::<Intended>() {
            hook(info);
        }
    }));
}

fn disk() -> (TempDir, Arc<File>) {
    let blocks: Vec<u8> = (0..BLOCKS).flat_map(content).collect();
    let (dir, path, buffered) = file_with(&blocks);
    buffered.sync_all().expect("a file can be synced");
    let direct = open_direct(&path);
    if direct.is_none() {
        common::say_skipped("no O_DIRECT here: the disk is read and written by the page cache");
    }
    (dir, Arc::new(direct.unwrap_or(buffered)))
}

fn torture(runtime: fn() -> Runtime) {
    let _alone = lock(&ALONE);
    let _watchdog = Watchdog::new();
    silence_intended_panics();
    // What the process opens once and keeps, it has from here on.
    drop(runtime());
    drop(linux_aio::IoContext::new(1));
    wait_for_helpers();
    let before = descriptors();
    {
        let rng = Rng::with_seed(seed());
        let (dir, disk) = disk();
        one_life(runtime, rng, &disk);
        let whole = std::fs::read(dir.path().join("file")).expect("the file");
        assert!(whole == (0..BLOCKS).flat_map(content).collect::<Vec<u8>>(), "the file changed");
    }
    wait_for_helpers();
    assert_eq!(descriptors(), before, "descriptors are left");
}

/// From the driver's first operation to its end, on two runtimes.
fn one_life(runtime: fn() -> Runtime, mut rng: Rng, disk: &Arc<File>) {
    let first = runtime();
    let driver = {
        let _guard = first.enter();
        linux_aio::tokio::driver(16).expect("a driver")
    };
    let world = Arc::new(World {
        driver,
        pool: Arc::default(),
        disk: Arc::clone(disk),
        zero: Arc::new(File::open("/dev/zero").expect("/dev/zero")),
        held: Mutex::default(),
        counts: Arc::default(),
    });
    first.block_on(storm(Arc::clone(&world), rng.fork(), tasks()));

    // What is in flight when the runtime ends: half is awaited by its tasks, half from elsewhere.
    let fds: Vec<_> = (0..8).map(|_| Arc::new(EventFd::new().expect("an eventfd"))).collect();
    let mut waiting: Vec<Waiting> = fds.iter().map(|fd| world.wait_for(fd)).collect();
    let mut pending: Vec<Started> = (0..100).map(|_| world.io(&mut rng)).collect();
    first.block_on(async {
        for waiting in &mut waiting {
            poll_fn(|cx| {
                assert!(pin!(&mut *waiting).poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        }
    });
    for (waiting, started) in waiting.drain(4..).zip(pending.drain(50..)) {
        first.spawn(async {
            started.check().await;
            waiting.await.0.expect("it is signalled or dropped");
        });
    }
    pending = pending.into_iter().filter_map(Started::poll_once).collect();
    drop(first);
    for fd in &fds {
        fd.add(1).expect("room in an eventfd");
    }

    let second = runtime();
    second.block_on(async {
        for waiting in waiting {
            assert!(common::holds(waiting.await.0, PollEvents::IN));
        }
        for started in pending {
            started.check().await;
        }
        storm(Arc::clone(&world), rng.fork(), tasks() / 10).await;
        let held = core::mem::take(&mut *lock(&world.held));
        for started in held {
            if rng.bool() {
                started.check().await;
            }
        }
        world.driver.clone().close().await;
    });
    check_the_end(&world);
}

fn check_the_end(world: &World) {
    let stats = world.driver.stats();
    println!("{stats:?}");
    assert_eq!(world.driver.outstanding(), 0);
    assert_eq!(stats.submitted, stats.completed);
    assert_eq!(stats.queue.stray_events, 0);
    let counts = &world.counts;
    assert_eq!(counts.made.load(Ordering::Relaxed), counts.dropped.load(Ordering::Relaxed));
    assert_eq!(counts.prepared_twice.load(Ordering::Relaxed), 0);
    world.pool.check_all();
}

/// Goal: nothing that happens to futures loses an operation or lets a buffer go too early. Method:
/// the storm, on one thread.
#[test]
fn nothing_is_lost_on_a_current_thread_runtime() {
    torture(|| Builder::new_current_thread().enable_all().build().expect("a runtime"));
}

/// Goal and method: as above, on several threads.
#[test]
fn nothing_is_lost_on_a_multi_thread_runtime() {
    torture(|| {
        Builder::new_multi_thread().worker_threads(3).enable_all().build().expect("a runtime")
    });
}
