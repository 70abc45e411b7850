//! The driver under everything that may happen to a future: awaited, dropped before and after it
//! was polled, timed out, lost in `select!`, unwound by a panic, moved to another task, held and
//! never polled again, alive when its runtime ends.
//!
//! Every buffer is watched: bytes before and behind what the operation uses, and, once it has come
//! back, all of it, to the end of the test. What is read must be what the file has. Afterwards, all
//! that was started has ended once, and no slot, descriptor or thread is left.
//!
//! `LINUX_AIO_TORTURE_SEED` repeats a run, as far as threads let it; `LINUX_AIO_TORTURE_TASKS` is
//! how many tasks there are.
#![cfg(feature = "tokio")]

mod common;

use common::Watchdog;
use common::files::{file_with, open_direct};
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use fastrand::Rng;
use linux_aio::OpFuture;
use linux_aio::op::{self, Read, ReadV, Write};
use linux_aio::{AlignedBuf, Driver, Errno, EventFd, Operation, PollEvents, Prepared};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

/// One block is what an operation reads or writes; a buffer has one more before and one behind.
const BLOCK: usize = 4096;
const BLOCKS: u64 = 256;
const GUARD: u8 = 0xa7;
/// What a buffer is filled with when it has come back.
const RETURNED: u8 = 0xc5;

// ---- buffers ----

/// Where buffers are between their uses, and watched.
#[derive(Default)]
struct Pool {
    returned: Mutex<Vec<AlignedBuf>>,
    /// How many are in use.
    out: AtomicUsize,
    /// What was found in buffers that nobody should have touched.
    wrong: Mutex<Vec<String>>,
}

impl Pool {
    fn take(self: &Arc<Self>) -> Watched {
        let returned = lock(&self.returned).pop();
        let mut whole = match returned {
            Some(buf) => {
                self.check(&buf, RETURNED, "after it came back");
                buf
            }
            None => AlignedBuf::with_alignment(3 * BLOCK, BLOCK).expect("memory"),
        };
        whole.fill(GUARD);
        self.out.fetch_add(1, Ordering::Relaxed);
        Watched { whole: Some(whole), pool: Arc::clone(self) }
    }

    fn check(&self, bytes: &[u8], expected: u8, when: &str) {
        if let Some(at) = bytes.iter().position(|&byte| byte != expected) {
            let found = bytes[at];
            lock(&self.wrong).push(format!("{found:#x} at {at} of a buffer, {when}"));
        }
    }

    /// All buffers are back, and none was touched after that.
    fn check_all(&self) {
        assert_eq!(self.out.load(Ordering::Relaxed), 0, "buffers that did not come back");
        for buf in lock(&self.returned).iter() {
            self.check(buf, RETURNED, "after it came back");
        }
        assert!(lock(&self.wrong).is_empty(), "{:#?}", lock(&self.wrong));
    }
}

/// The middle block of a buffer that is watched.
struct Watched {
    whole: Option<AlignedBuf>,
    pool: Arc<Pool>,
}

impl Watched {
    fn whole(&self) -> &AlignedBuf {
        self.whole.as_ref().expect("there until it is dropped")
    }

    fn with(mut self, content: &[u8]) -> Self {
        self.as_mut().copy_from_slice(content);
        self
    }
}

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.whole()[BLOCK..2 * BLOCK]
    }
}

impl AsMut<[u8]> for Watched {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.whole.as_mut().expect("there until it is dropped")[BLOCK..2 * BLOCK]
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some(mut whole) = self.whole.take() else { return };
        self.pool.check(&whole[..BLOCK], GUARD, "before the block");
        self.pool.check(&whole[2 * BLOCK..], GUARD, "behind the block");
        whole.fill(RETURNED);
        lock(&self.pool.returned).push(whole);
        self.pool.out.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What block `number` of the file has, always: those who write it write the same.
fn content(number: u64) -> Vec<u8> {
    let words = (0..BLOCK as u64 / 8).map(|word| (number << 32 | word) ^ 0x5bd1_e995_9e37_79b9);
    words.flat_map(u64::to_le_bytes).collect()
}

// ---- operations ----

/// The world of one run.
struct World {
    driver: Driver,
    pool: Arc<Pool>,
    disk: Arc<File>,
    zero: Arc<File>,
    /// Operations that lie about and are not polled any more.
    held: Mutex<Vec<Started>>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    made: AtomicUsize,
    dropped: AtomicUsize,
    prepared_twice: AtomicUsize,
}

/// An operation that is counted, and may panic.
struct Counted<O> {
    op: O,
    panics: bool,
    prepared: bool,
    counts: Arc<Counts>,
}

impl<O: Operation> Operation for Counted<O> {
    fn prepare(&mut self) -> Prepared<'_> {
        if core::mem::replace(&mut self.prepared, true) {
            self.counts.prepared_twice.fetch_add(1, Ordering::Relaxed);
        }
        if self.panics {
            panic_any(Intended);
        }
        self.op.prepare()
    }
}

impl<O> Drop for Counted<O> {
    fn drop(&mut self) {
        self.counts.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// The payload of panics that belong to the test.
struct Intended;

/// An operation on a disk or memory.
enum Io {
    Read(Read<Arc<File>, Watched>),
    ReadV(ReadV<Arc<File>, [Watched; 2]>),
    Write(Write<Arc<File>, Watched>),
}

impl Operation for Io {
    fn prepare(&mut self) -> Prepared<'_> {
        match self {
            Self::Read(op) => op.prepare(),
            Self::ReadV(op) => op.prepare(),
            Self::Write(op) => op.prepare(),
        }
    }
}

/// What it must do.
enum Expected {
    /// Read this block, and those behind it.
    Blocks(u64),
    Zeros,
    Written,
    Refused,
}

impl Expected {
    fn check(&self, result: Result<u32, Errno>, io: &Io) {
        let block = BLOCK as u32;
        match (self, io) {
            (Self::Blocks(number), Io::Read(read)) => {
                assert_eq!(result, Ok(block));
                assert!(read.buf.as_ref() == content(*number), "block {number}");
            }
            (Self::Blocks(number), Io::ReadV(read)) => {
                assert_eq!(result, Ok(2 * block));
                for (number, buf) in (*number..).zip(&read.bufs) {
                    assert!(buf.as_ref() == content(number), "block {number}");
                }
            }
            (Self::Zeros, Io::Read(read)) => {
                assert_eq!(result, Ok(block));
                assert!(read.buf.as_ref().iter().all(|&byte| byte == 0));
            }
            (Self::Written, Io::Write(_)) => assert_eq!(result, Ok(block)),
            (Self::Refused, Io::Write(_)) => assert_eq!(result, Err(Errno::EBADF)),
            _ => unreachable!("an operation comes back as what it was"),
        }
    }
}

/// A future, and what it must give.
struct Started {
    future: OpFuture<Counted<Io>>,
    expected: Expected,
}

impl Started {
    async fn check(self) {
        let (result, io) = self.future.await;
        self.expected.check(result, &io.op);
    }

    /// Polls it, with a waker that does nothing. `None` if that was the end of it.
    fn poll_once(mut self) -> Option<Self> {
        let mut context = Context::from_waker(Waker::noop());
        match pin!(&mut self.future).poll(&mut context) {
            Poll::Pending => Some(self),
            Poll::Ready((result, io)) => {
                self.expected.check(result, &io.op);
                None
            }
        }
    }
}

type Waiting = OpFuture<Counted<op::Poll<Arc<EventFd>>>>;

impl World {
    fn counted<O>(&self, op: O) -> Counted<O> {
        self.counts.made.fetch_add(1, Ordering::Relaxed);
        Counted { op, panics: false, prepared: false, counts: Arc::clone(&self.counts) }
    }

    /// An operation of any kind that ends by itself.
    fn io(&self, rng: &mut Rng) -> Started {
        let (number, buf) = (rng.u64(..BLOCKS - 1), self.pool.take());
        let (disk, zero) = (Arc::clone(&self.disk), Arc::clone(&self.zero));
        let at = number * BLOCK as u64;
        let (io, expected) = match rng.u32(..12) {
            0..5 => (Io::Read(Read::new(disk, buf, at)), Expected::Blocks(number)),
            5..7 => (Io::Read(Read::new(zero, buf, 0)), Expected::Zeros),
            7 => {
                let bufs = [buf, self.pool.take()];
                (Io::ReadV(ReadV::new(disk, bufs, at)), Expected::Blocks(number))
            }
            8..11 => {
                let write = Write::new(disk, buf.with(&content(number)), at);
                (Io::Write(write), Expected::Written)
            }
            // Not open for writing: the kernel refuses it at submission.
            _ => (Io::Write(Write::new(zero, buf, 0)), Expected::Refused),
        };
        Started { future: self.driver.perform(self.counted(io)), expected }
    }

    /// One that ends when the eventfd is readable, or dropped.
    fn wait_for(&self, fd: &Arc<EventFd>) -> Waiting {
        self.driver.perform(self.counted(op::Poll::new(Arc::clone(fd), PollEvents::IN)))
    }
}

// ---- tasks ----

/// What one task does to futures.
async fn act(world: Arc<World>, mut rng: Rng) {
    let moment = Duration::from_micros(rng.u64(..800));
    match rng.u32(..17) {
        0 => drop(world.io(&mut rng)),
        1 => drop(world.io(&mut rng).poll_once()),
        2 => lock(&world.held).extend(world.io(&mut rng).poll_once()),
        3 => drop(timeout(moment, world.io(&mut rng).check()).await),
        4 => {
            tokio::select! {
                () = world.io(&mut rng).check() => {}
                () = world.io(&mut rng).check() => {}
                () = sleep(moment) => {}
            }
        }
        5 => {
            let (a, b, c) = (world.io(&mut rng), world.io(&mut rng), world.io(&mut rng));
            tokio::join!(a.check(), b.check(), c.check());
        }
        6 => move_to_another_task(&world, &mut rng).await,
        7 => abort(&world, &mut rng).await,
        8 => panic_in_flight(&world, &mut rng).await,
        9 => panic_in_prepare(&world).await,
        10 => crowd(&world, &mut rng).await,
        11 => wait_for_a_signal(&world, moment).await,
        12 => {
            // Never signalled: dropping it must end it, or the slots run out.
            let silent = Arc::new(EventFd::new().expect("an eventfd"));
            assert!(timeout(moment, world.wait_for(&silent)).await.is_err());
        }
        13 => with_deadline(&world, &mut rng, moment).await,
        _ => world.io(&mut rng).check().await,
    }
}

async fn move_to_another_task(world: &World, rng: &mut Rng) {
    if let Some(started) = world.io(rng).poll_once() {
        tokio::spawn(started.check()).await.expect("the check holds");
    }
}

async fn abort(world: &World, rng: &mut Rng) {
    let task = tokio::spawn(world.io(rng).check());
    if rng.bool() {
        tokio::task::yield_now().await;
    }
    task.abort();
    if let Err(error) = task.await {
        assert!(error.is_cancelled(), "a check failed");
    }
}

/// Ends at its deadline or with its result, whichever comes first. What comes back was never
/// prepared.
async fn with_deadline(world: &World, rng: &mut Rng, moment: Duration) {
    if rng.bool() {
        let Started { future, expected } = world.io(rng);
        match future.timeout(moment).await {
            Ok((result, io)) => expected.check(result, &io.op),
            Err(timed_out) => assert!(timed_out.into_operation().is_none_or(|io| !io.prepared)),
        }
    } else {
        let silent = Arc::new(EventFd::new().expect("an eventfd"));
        let mut poll = world.wait_for(&silent).timeout(moment);
        let pending = poll_fn(|cx| Poll::Ready(pin!(&mut poll).poll(cx).is_pending())).await;
        if pending && rng.bool() {
            assert!(poll.await.is_err());
        }
    }
}

async fn panic_in_flight(world: &World, rng: &mut Rng) {
    let started = world.io(rng);
    let task = tokio::spawn(async move {
        let _unwound = started.poll_once();
        panic_any(Intended);
    });
    let payload = task.await.expect_err("it panics").into_panic();
    assert!(payload.is::<Intended>(), "a check failed instead");
}

async fn panic_in_prepare(world: &World) {
    let zero = Arc::clone(&world.zero);
    let mut op = world.counted(Io::Read(Read::new(zero, world.pool.take(), 0)));
    op.panics = true;
    let task = tokio::spawn(world.driver.perform(op));
    let payload = task.await.err().expect("it panics").into_panic();
    assert!(payload.is::<Intended>());
}

/// Many at once, awaited in the opposite order, some of them dropped.
async fn crowd(world: &World, rng: &mut Rng) {
    let count = rng.usize(1..80);
    let mut crowd: Vec<Started> = (0..count).filter_map(|_| world.io(rng).poll_once()).collect();
    while let Some(started) = crowd.pop() {
        if rng.u32(..4) > 0 {
            started.check().await;
        }
    }
}

async fn wait_for_a_signal(world: &World, moment: Duration) {
    let fd = Arc::new(EventFd::new().expect("an eventfd"));
    let signaller = Arc::clone(&fd);
    tokio::spawn(async move {
        sleep(moment).await;
        signaller.add(1).expect("room in an eventfd");
    });
    let (result, _) = world.wait_for(&fd).await;
    assert!(common::holds(result, PollEvents::IN), "{result:?}");
}

async fn storm(world: Arc<World>, mut rng: Rng, tasks: usize) {
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        if running.len() >= 300 {
            let ended = running.join_next().await.expect("300 are running");
            ended.expect("a task without a failed check");
        }
        running.spawn(act(Arc::clone(&world), rng.fork()));
    }
    while let Some(ended) = running.join_next().await {
        ended.expect("a task without a failed check");
    }
}

// ---- runs ----

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

/// Goal: operations get their slots in the order in which they were started. Method: one slot,
/// which a POLL has until all others wait; some of these leave; each says when it is prepared.
#[test]
fn slots_are_given_first_come_first_served() {
    let _alone = lock(&ALONE);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(queue_for_one_slot());
}

async fn queue_for_one_slot() {
    struct Numbered(op::Read<File, [u8; 8]>, usize, Arc<Mutex<Vec<usize>>>);
    impl Operation for Numbered {
        fn prepare(&mut self) -> Prepared<'_> {
            lock(&self.2).push(self.1);
            self.0.prepare()
        }
    }
    let _watchdog = Watchdog::new();
    let driver = linux_aio::tokio::driver(1).expect("a driver");
    let gate = Arc::new(EventFd::new().expect("an eventfd"));
    let mut first = driver.perform(op::Poll::new(Arc::clone(&gate), PollEvents::IN));
    poll_fn(|cx| {
        assert!(pin!(&mut first).poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;

    let order = Arc::default();
    let mut rest: Vec<_> = (0..200)
        .map(|number| {
            let zero = File::open("/dev/zero").expect("/dev/zero");
            let order = Arc::clone(&order);
            Some(driver.perform(Numbered(op::Read::new(zero, [1; 8], 0), number, order)))
        })
        .collect();
    for future in rest.iter_mut().flatten() {
        poll_fn(|cx| {
            assert!(pin!(&mut *future).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }
    // Those who leave the queue do not change the order of the others.
    let left: Vec<usize> = (0..200).filter(|number| number % 3 > 0).collect();
    for future in rest.iter_mut().step_by(3) {
        *future = None;
    }
    assert_eq!(driver.outstanding(), 1 + left.len());
    gate.add(1).expect("room in an eventfd");
    for future in rest.into_iter().flatten() {
        assert_eq!(future.await.0, Ok(8));
    }
    assert_eq!(*lock(&order), left);
}

/// Goal: the watch over buffers sees a write after the return. Method: do that.
#[test]
fn the_watch_sees_what_it_is_for() {
    let pool = Arc::new(Pool::default());
    drop(pool.take());
    lock(&pool.returned)[0][BLOCK + 7] = 0;
    let check = AssertUnwindSafe(|| pool.check_all());
    assert!(catch_unwind(check).is_err());
}
