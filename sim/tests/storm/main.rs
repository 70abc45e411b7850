//! Random programs on files, streams, ranges and operations, on a simulated machine. Their futures
//! are awaited, dropped, forgotten, left lying about, given up at a deadline, or unwound by the
//! panic of a waker or of a buffer, each at a random poll.
//!
//! A model knows for each byte of the file what it may be. A write that has ended leaves one value.
//! One that was left may still come, until the driver is closed, so it adds a value. In the end the
//! file must have what the model allows. All that was started has ended once, and no buffer and no
//! descriptor is left but what was forgotten.
//!
//! `LINUX_AIO_SIM_STORMS` is the number of seeds, and `LINUX_AIO_SIM_STORM` the first.

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../../tests/common/users_code.rs"]
mod users_code;

use linux_aio::op::{Fdsync, Read, Write};
use linux_aio::{
    BufferPool, Direct, Driver, DriverStats, Errno, File, FileDriver, LocalDriver, Operation,
    RangesOptions, ReaderOptions, Spare, WriterOptions,
};
use linux_aio_sim::{Executor, Faults, Sim};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::mem;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use users_code::WakerCode;

/// The bytes of each task. They are no whole pages, so that neighbours meet in one.
const AREA: u64 = 10_000;
const TASKS: u64 = 3;
const LENGTH: u64 = 32_768;
const STEPS: usize = if cfg!(miri) { 12 } else { 40 };

/// The payload of panics that belong to the test.
struct Intended;

// ---- buffers ----

#[derive(Default)]
struct Counts {
    made: AtomicU64,
    dropped: AtomicU64,
    /// The buffers that futures had which were forgotten, at most.
    forgotten: AtomicU64,
}

/// A buffer that is counted. It may panic when it is asked for its bytes.
struct Counted {
    bytes: Vec<u8>,
    /// The number of times that it can be asked, and the panic comes then.
    patience: AtomicU64,
    counts: Arc<Counts>,
}

impl Counted {
    fn ask(&self) {
        let before = self.patience.load(Ordering::Relaxed);
        self.patience.store(before.wrapping_sub(1), Ordering::Relaxed);
        if before == 0 {
            panic_any(Intended);
        }
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        self.ask();
        &self.bytes
    }
}

impl AsMut<[u8]> for Counted {
    fn as_mut(&mut self) -> &mut [u8] {
        self.ask();
        &mut self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

// ---- the end of futures ----

/// What becomes of a future that is not ready at its last poll.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Awaited,
    Dropped,
    Forgotten,
    /// It is polled now and then by others.
    Held,
    /// It is polled once with a waker whose clone, call or drop panics, and awaited then.
    Woken(u64),
}

/// A future that lies about.
type Held = Pin<Box<dyn Future<Output = ()>>>;

/// Drops a future, which must not panic.
fn dropped<F>(future: F) {
    assert!(catch_unwind(AssertUnwindSafe(|| drop(future))).is_ok(), "the drop of a future panics");
}

/// Polls a future. `Err` if it panics as the test has it.
fn poll<F: Future + ?Sized>(
    future: &mut Pin<Box<F>>,
    cx: &mut Context<'_>,
) -> Result<Poll<F::Output>, ()> {
    let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
    polled.map_err(|payload| {
        if !payload.is::<Intended>() {
            resume_unwind(payload);
        }
    })
}

fn panicking_waker(which: u64) -> Waker {
    let code = Arc::new(WakerCode::default());
    let waker = code.waker();
    match which {
        0 => &code.clone,
        1 => &code.wake,
        _ => &code.drop,
    }
    .arm(|| panic_any(Intended));
    waker
}

// ---- drivers ----

type Performed<O> = Pin<Box<dyn Future<Output = Option<(Result<u32, Errno>, O)>>>>;

/// What this test asks of a driver.
trait Drives: FileDriver {
    type Runner;

    fn runner(sim: &Sim) -> Self::Runner;

    /// Makes a driver of a few slots, unless the kernel refuses the context.
    fn make() -> Option<Self>;

    /// Runs tasks to their ends.
    fn run(&self, runner: &Self::Runner, tasks: Vec<Held>);

    /// Performs an operation. `None` if it was given up at its deadline.
    fn start<O>(&self, op: O, time: Option<Duration>) -> Performed<O>
    where
        O: Operation + Send + 'static;

    fn close(self, time: Option<Duration>) -> Held;
    fn stats(&self) -> (DriverStats, usize);

    /// Asks for all that can be asked, and measures or not from now on.
    fn look(&self, on: bool);
}

macro_rules! drives {
    ($driver:ty, $runner:ty, $runner_of:expr, $make:expr, $run:expr) => {
        impl Drives for $driver {
            type Runner = $runner;

            fn runner(sim: &Sim) -> $runner {
                $runner_of(sim)
            }

            fn make() -> Option<Self> {
                $make.ok()
            }

            fn run(&self, runner: &$runner, tasks: Vec<Held>) {
                $run(self, runner, tasks);
            }

            fn start<O>(&self, op: O, time: Option<Duration>) -> Performed<O>
            where
                O: Operation + Send + 'static,
            {
                let future = self.perform(op);
                match time {
                    Some(time) => {
                        let future = future.timeout(time);
                        Box::pin(async { future.await.ok() })
                    }
                    None => Box::pin(async { Some(future.await) }),
                }
            }

            fn close(self, time: Option<Duration>) -> Held {
                match time {
                    Some(time) => {
                        let close = self.close_within(time);
                        Box::pin(async { drop(close.await) })
                    }
                    None => Box::pin(self.close()),
                }
            }

            fn stats(&self) -> (DriverStats, usize) {
                (self.stats(), self.outstanding())
            }

            fn look(&self, on: bool) {
                self.measure(on);
                let _ = (self.metrics(), self.overdue(Duration::ZERO), format!("{self:?}"));
            }
        }
    };
}

fn run_on_executor(_: &Driver, executor: &Executor, tasks: Vec<Held>) {
    tasks.into_iter().for_each(|task| executor.spawn(task));
    executor.run();
}

fn run_in_block_on(driver: &LocalDriver, (): &(), tasks: Vec<Held>) {
    driver.block_on(All(tasks.into_iter().map(|task| Some((task, Arc::default()))).collect()));
}

drives!(Driver, Executor, Executor::new, Driver::on_thread(4), run_on_executor);
drives!(LocalDriver, (), |_| (), LocalDriver::new(4), run_in_block_on);

/// Tasks of one thread, each of which is polled when its own waker was called.
struct All(Vec<Option<(Held, Arc<Woken>)>>);

struct Woken {
    is_woken: AtomicBool,
    parent: Mutex<Waker>,
}

impl Default for Woken {
    fn default() -> Self {
        let parent = Mutex::new(Waker::noop().clone());
        Self { is_woken: AtomicBool::new(true), parent }
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Relaxed);
        let parent = self.parent.lock().expect("nothing panics under it").clone();
        parent.wake();
    }
}

impl Future for All {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        for slot in &mut self.0 {
            let Some((task, woken)) = slot else { continue };
            *woken.parent.lock().expect("nothing panics under it") = cx.waker().clone();
            if !woken.is_woken.swap(false, Ordering::Relaxed) {
                continue;
            }
            let waker = Arc::clone(woken).into();
            if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                *slot = None;
            }
        }
        if self.0.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    }
}

// ---- the model ----

/// What a byte may be: one bit for each value below 64.
#[derive(Clone, Copy, Default)]
struct Byte {
    now: u64,
    /// The values that may still come.
    late: u64,
}

/// The bytes of one task's area.
struct Model {
    base: u64,
    bytes: Vec<Byte>,
}

/// What is known of the end of a write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    Failed,
    /// Nobody knows, and it may still come.
    Left,
}

impl Model {
    fn range(&self, offset: u64, len: u64) -> Range<usize> {
        let start = (offset - self.base) as usize;
        start..start + len as usize
    }

    fn wrote(&mut self, offset: u64, len: u64, value: u8, end: End) {
        let (range, bit) = (self.range(offset, len), 1 << value);
        for byte in &mut self.bytes[range] {
            match end {
                End::Done => byte.now = byte.late | bit,
                End::Failed => byte.now |= bit,
                End::Left => (byte.now, byte.late) = (byte.now | bit, byte.late | bit),
            }
        }
    }

    #[track_caller]
    fn check(&self, offset: u64, bytes: &[u8]) {
        let range = self.range(offset, bytes.len() as u64);
        for (at, (byte, model)) in bytes.iter().zip(&self.bytes[range]).enumerate() {
            let at = offset + at as u64;
            let is_allowed = *byte < 64 && model.now >> byte & 1 == 1;
            assert!(is_allowed, "{byte} at {at}, where {:#x} is allowed", model.now);
        }
    }
}

// ---- a run ----

struct World<D: Drives> {
    sim: Sim,
    driver: D,
    file: File<D>,
    /// The same file for operations.
    plain: Arc<OwnedFd>,
    pool: BufferPool,
    counts: Arc<Counts>,
    held: RefCell<Vec<Held>>,
    forgets: bool,
    /// The disk reports errors.
    fails: bool,
    /// A file cannot be opened a second time.
    has_one_descriptor: bool,
    /// The number of files that were made beside it.
    logs: Cell<u64>,
    /// The models of the tasks that have ended.
    done: RefCell<Vec<Model>>,
}

impl<D: Drives> World<D> {
    fn one_in(&self, count: u64) -> bool {
        self.sim.below(count) == 0
    }

    fn buffer(&self, len: u64, value: u8) -> Counted {
        self.counts.made.fetch_add(1, Ordering::Relaxed);
        let patience = if self.one_in(20) { self.sim.below(6) } else { u64::MAX };
        let bytes = vec![value; len as usize];
        Counted { bytes, patience: AtomicU64::new(patience), counts: Arc::clone(&self.counts) }
    }

    fn fate(&self) -> Fate {
        match self.sim.below(16) {
            0..=2 => Fate::Dropped,
            3 if self.forgets => Fate::Forgotten,
            4 => Fate::Held,
            5 | 6 => Fate::Woken(self.sim.below(3)),
            _ => Fate::Awaited,
        }
    }

    /// Has a fate befall a future that has so many buffers. `None` unless it gave its output.
    async fn fated<F>(&self, buffers: u64, future: F) -> Option<F::Output>
    where
        F: Future + 'static,
    {
        let (fate, mut polls) = (self.fate(), self.sim.below(4));
        let mut future = Some(Box::pin(future));
        poll_fn(|cx| {
            let polled = future.as_mut().expect("it is there until the end");
            if let (Fate::Woken(which), 0) = (fate, polls) {
                let waker = panicking_waker(which);
                let woken = poll(polled, &mut Context::from_waker(&waker));
                let _ = catch_unwind(AssertUnwindSafe(|| drop(waker)));
                match woken {
                    Ok(Poll::Ready(output)) => return Poll::Ready(Some(output)),
                    Ok(Poll::Pending) => {}
                    Err(()) => {
                        dropped(future.take());
                        return Poll::Ready(None);
                    }
                }
            }
            match poll(polled, cx) {
                Ok(Poll::Ready(output)) => return Poll::Ready(Some(output)),
                Err(()) => {
                    dropped(future.take());
                    return Poll::Ready(None);
                }
                Ok(Poll::Pending) if polls > 0 => polls -= 1,
                Ok(Poll::Pending) => match (fate, future.take()) {
                    (Fate::Dropped, future) => {
                        dropped(future);
                        return Poll::Ready(None);
                    }
                    (Fate::Forgotten, future) => {
                        mem::forget(future);
                        self.counts.forgotten.fetch_add(buffers, Ordering::Relaxed);
                        return Poll::Ready(None);
                    }
                    (Fate::Held, Some(future)) => {
                        self.held.borrow_mut().push(Box::pin(async { drop(future.await) }));
                        return Poll::Ready(None);
                    }
                    (_, there) => future = there,
                },
            }
            Poll::Pending
        })
        .await
    }

    /// Polls what lies about, and drops some of it.
    async fn poll_held(&self) {
        let mut held = mem::take(&mut *self.held.borrow_mut());
        poll_fn(|cx| {
            held.retain_mut(|future| matches!(poll(future, cx), Ok(Poll::Pending)));
            Poll::Ready(())
        })
        .await;
        if self.one_in(2) {
            dropped(held.pop());
        }
        self.held.borrow_mut().append(&mut held);
    }

    /// Checks an error: a disk that reports none gives none.
    #[track_caller]
    fn allow(&self, error: impl std::fmt::Display) {
        assert!(self.fails, "{error}");
    }

    #[track_caller]
    fn end<T>(&self, outcome: Option<std::io::Result<T>>) -> End {
        match outcome {
            Some(Ok(_)) => End::Done,
            Some(Err(error)) => {
                self.allow(error);
                End::Failed
            }
            None => End::Left,
        }
    }

    /// A range of an area.
    fn range(&self, model: &Model, most: u64) -> (u64, u64) {
        let (at, len) = (self.sim.below(AREA), 1 + self.sim.below(most));
        (model.base + at, len.min(AREA - at))
    }

    // ---- what tasks do ----

    async fn write(&self, model: &mut Model) {
        let ((at, len), value) = (self.range(model, 9000), self.sim.below(64) as u8);
        let (file, buf) = (self.file.clone(), self.buffer(len, value));
        let time = Duration::from_micros(self.sim.below(3000));
        let outcome = match self.sim.below(4) {
            0 => self.fated(1, async move { file.write_all_at(buf, at).await.0 }).await,
            1 => {
                let first = len.min(self.sim.below(5000));
                let bufs = [self.buffer(first, value), self.buffer(len - first, value)];
                self.fated(3, async move { file.writev_all_at(bufs, at).await.0 }).await
            }
            2 => {
                let file = file.with_deadline(time);
                let write = async move { file.write_all_at(buf, at).await };
                self.fated(1, write).await.and_then(|in_time| in_time.ok().map(|outcome| outcome.0))
            }
            _ => self.fated(1, async move { file.write_all_at(buf, at).await.0 }).await,
        };
        let end = self.end(outcome);
        model.wrote(at, len, value, end);
    }

    async fn read(&self, model: &Model) {
        let ((at, len), file) = (self.range(model, 9000), self.file.clone());
        let buf = self.buffer(len, 0);
        match self.sim.below(4) {
            0 => {
                let read = async move { file.read_exact_at(buf, at).await };
                if let Some((result, buf)) = self.fated(1, read).await {
                    self.check(model, at, result.map(|()| len), &buf.bytes);
                }
            }
            1 => {
                drop(buf);
                let spare = Spare::new(Vec::with_capacity(len as usize));
                let read = async move { file.read_exact_at(spare, at).await };
                if let Some((result, spare)) = self.fated(0, read).await {
                    self.check(model, at, result.map(|()| len), spare.as_ref());
                }
            }
            2 => {
                let first = len.min(self.sim.below(5000));
                let bufs = [self.buffer(first, 0), self.buffer(len - first, 0)];
                let read = async move { file.readv_exact_at(bufs, at).await };
                if let Some((result, bufs)) = self.fated(2, read).await {
                    let bytes = [&bufs[0].bytes[..], &bufs[1].bytes].concat();
                    self.check(model, at, result.map(|()| len), &bytes);
                }
            }
            _ => {
                let Some(pooled) = self.pool.try_take() else { return };
                let len = len.min(pooled.len() as u64);
                let part = linux_aio::Part::new(pooled, ..len as usize);
                let read = async move { file.read_at(part, at).await };
                if let Some((result, part)) = self.fated(0, read).await {
                    self.check(model, at, result.map(|count| count as u64), part.as_ref());
                }
            }
        }
    }

    #[track_caller]
    fn check(&self, model: &Model, at: u64, result: std::io::Result<u64>, bytes: &[u8]) {
        match result {
            Ok(count) => model.check(at, &bytes[..count as usize]),
            Err(error) => self.allow(error),
        }
    }

    async fn perform(&self, model: &mut Model) {
        let ((at, len), value) = (self.range(model, 3000), self.sim.below(64) as u8);
        let time = self.one_in(3).then(|| Duration::from_micros(self.sim.below(2000)));
        let (buf, plain) = (self.buffer(len, value), Arc::clone(&self.plain));
        match self.sim.below(5) {
            0 | 1 => {
                let write = self.driver.start(Write::new(plain, buf, at), time);
                match self.fated(1, write).await.flatten() {
                    Some((Ok(count), _)) => model.wrote(at, count.into(), value, End::Done),
                    Some((Err(errno), _)) => {
                        self.allow(errno);
                        model.wrote(at, len, value, End::Failed);
                    }
                    None => model.wrote(at, len, value, End::Left),
                }
            }
            2 | 3 => {
                let read = self.driver.start(Read::new(plain, buf, at), time);
                if let Some((result, read)) = self.fated(1, read).await.flatten() {
                    let result = result.map(u64::from).map_err(Into::into);
                    self.check(model, at, result, &read.buf.bytes);
                }
            }
            _ => {
                let sync = self.driver.start(Fdsync::new(plain), time);
                if let Some((Err(errno), _)) = self.fated(0, sync).await.flatten() {
                    self.allow(errno);
                }
            }
        }
    }

    async fn stream(&self, model: &Model) {
        let options = ReaderOptions::new().chunk_len(4096).depth(1 + self.sim.below(3) as usize);
        let range = model.base..model.base + AREA;
        let mut reader = self.file.reader_with(range, options);
        for _ in 0..self.sim.below(8) {
            if self.one_in(3) {
                reader.set_position(self.sim.below(AREA));
            }
            let reader_and_chunk = async move {
                let chunk = reader.next_chunk().await;
                (reader, chunk)
            };
            let Some((back, chunk)) = self.fated(0, reader_and_chunk).await else { return };
            reader = back;
            match chunk {
                Ok(Some(chunk)) => model.check(chunk.offset(), &chunk),
                Ok(None) => assert_eq!(reader.position(), AREA),
                Err(error) => self.allow(error),
            }
        }
    }

    async fn ranges(&self, model: &Model) {
        let ranges: Vec<_> = (0..self.sim.below(12))
            .map(|_| {
                let (at, len) = self.range(model, 3000);
                at..at + len
            })
            .collect();
        let options = RangesOptions::new().depth(1 + self.sim.below(3) as usize);
        let options = options.coalesce(self.sim.below(2000), 1 + self.sim.below(8000));
        let options = options.memory_limit(3000 + self.sim.below(6000));
        let wanted = ranges.clone();
        let mut reads = self.file.read_ranges_with(ranges, options).expect("ranges of the file");
        for range in wanted {
            let next = async move {
                let bytes = reads.next_range().await;
                (reads, bytes)
            };
            let Some((back, bytes)) = self.fated(0, next).await else { return };
            reads = back;
            match bytes {
                Ok(bytes) => {
                    let bytes = bytes.expect("a range is left");
                    assert_eq!(
                        (bytes.range(), bytes.len() as u64),
                        (range.clone(), range.end - range.start)
                    );
                    model.check(range.start, &bytes);
                }
                Err(error) => self.allow(error),
            }
        }
    }

    /// A file of its own, by a writer. It has what was given, if everything went well.
    async fn log(&self) {
        self.logs.set(self.logs.get() + 1);
        let name = format!("log{}", self.logs.get());
        let options = File::options().create(true).write(true).read(true);
        // Without a second descriptor a direct file does not grow by less than a block.
        let is_direct = self.one_in(2) && !self.has_one_descriptor;
        let options = options.direct(if is_direct { Direct::Prefer } else { Direct::Never });
        let file = match options.open(&self.driver, self.sim.path(&name)).await {
            Ok(file) => file,
            Err(error) => return self.allow(error),
        };
        let options = WriterOptions::new().chunk_len(4096).depth(1 + self.sim.below(3) as usize);
        let mut writer = file.writer_with(0, options.allocation_step(self.sim.below(20_000)));
        let mut given: Vec<u8> = Vec::new();
        let mut is_whole = true;
        for _ in 0..self.sim.below(6) {
            let bytes = vec![self.sim.below(64) as u8; self.sim.below(9000) as usize];
            let before = given.clone();
            given.extend(&bytes);
            let flushes = self.one_in(3);
            let write = async move {
                let mut result = writer.write_all(&bytes).await;
                if flushes && result.is_ok() {
                    result = writer.flush().await;
                }
                (writer, result)
            };
            let Some((back, result)) = self.fated(0, write).await else { return };
            writer = back;
            match result {
                Ok(()) => assert_eq!(writer.position(), given.len() as u64),
                Err(error) => {
                    self.allow(error);
                    (given, is_whole) = (before, false);
                }
            }
        }
        let finish = async move { writer.finish().await };
        match self.fated(0, finish).await {
            Some(Ok(())) => {
                assert!(is_whole, "an error is forgotten");
                assert!(self.sim.read(&name).is_some_and(|found| found == given), "{name}");
            }
            Some(Err(error)) => self.allow(error),
            None => {}
        }
    }

    async fn task(self: Rc<Self>, number: u64) {
        let zeros = vec![Byte { now: 1, late: 0 }; AREA as usize];
        let mut model = Model { base: number * AREA, bytes: zeros };
        for _ in 0..STEPS {
            match self.sim.below(16) {
                0..=4 => self.write(&mut model).await,
                5..=7 => self.read(&model).await,
                8..=10 => self.perform(&mut model).await,
                11 => self.stream(&model).await,
                12 => self.ranges(&model).await,
                13 => self.log().await,
                14 => self.poll_held().await,
                _ => self.driver.look(self.one_in(2)),
            }
        }
        self.done.borrow_mut().push(model);
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Runs the storm of a seed with one driver.
fn storm<D: Drives>(seed: u64) {
    let before = if cfg!(miri) { 0 } else { descriptors() };
    let counts = Arc::<Counts>::default();
    let forgets = !cfg!(miri) && seed % 3 == 0;
    {
        let (fails, has_one_descriptor) = (seed % 2 == 1, seed % 8 == 4);
        let mut faults = if fails { Faults::failing() } else { Faults::legal() };
        // A sync that fails takes bytes back that a reader has seen.
        faults.failed_syncs = false;
        faults.missing_proc = has_one_descriptor;
        let sim = Sim::new(seed, faults);
        let _entered = sim.enter();
        let runner = D::runner(&sim);
        let Some(driver) = D::make() else { return };
        drop(sim.file("data"));
        sim.set_len("data", LENGTH);
        let Some(file) = open(&sim, &driver, &runner) else { return };
        let world = Rc::new(World {
            sim: sim.clone(),
            driver: driver.clone(),
            file,
            plain: Arc::new(sim.file("data")),
            pool: BufferPool::new(3, 4096, 4096).expect("memory"),
            counts: Arc::clone(&counts),
            held: RefCell::default(),
            forgets,
            fails,
            has_one_descriptor,
            logs: Cell::new(0),
            done: RefCell::default(),
        });
        let tasks = (0..TASKS).map(|number| -> Held { Box::pin(Rc::clone(&world).task(number)) });
        driver.run(&runner, tasks.collect());
        end(&sim, world, driver, &runner);
    }
    let [made, dropped, forgotten] = [&counts.made, &counts.dropped, &counts.forgotten]
        .map(|count| count.load(Ordering::Relaxed));
    assert!(dropped <= made && made - dropped <= forgotten, "{made}, {dropped}, {forgotten}");
    if !(forgets || cfg!(miri)) {
        assert_eq!(descriptors(), before, "descriptors are left");
    }
}

/// Opens the file. The disk may fail it.
fn open<D: Drives>(sim: &Sim, driver: &D, runner: &D::Runner) -> Option<File<D>> {
    let direct = if sim.below(2) == 0 { Direct::Prefer } else { Direct::Never };
    let options = File::options().read(true).write(true).direct(direct);
    let (opened, path, opener) = (Rc::new(RefCell::new(None)), sim.path("data"), driver.clone());
    let place = Rc::clone(&opened);
    let open = async move { *place.borrow_mut() = options.open(&opener, path).await.ok() };
    driver.run(runner, vec![Box::pin(open)]);
    opened.take()
}

/// Closes the driver, and checks what is left.
fn end<D: Drives>(sim: &Sim, world: Rc<World<D>>, driver: D, runner: &D::Runner) {
    let mut held = mem::take(&mut *world.held.borrow_mut());
    let outlives = if sim.below(2) == 0 { held.pop() } else { None };
    dropped(held);
    let time = (sim.below(2) == 0).then(|| Duration::from_millis(sim.below(50)));
    // The first may give up, and the second waits for everything.
    driver.run(runner, vec![driver.clone().close(time)]);
    driver.run(runner, vec![driver.clone().close(None)]);
    dropped(outlives);
    let (stats, outstanding) = driver.stats();
    assert_eq!((outstanding, stats.submitted), (0, stats.completed), "{stats:?}");
    assert_eq!(stats.queue.stray_events, 0);
    let content = sim.read("data").expect("the file");
    assert_eq!(content.len() as u64, LENGTH);
    let models = world.done.take();
    assert_eq!(models.len() as u64, TASKS);
    for model in models {
        let range = model.base as usize..(model.base + AREA) as usize;
        model.check(model.base, &content[range]);
    }
}

fn number(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().expect("a number"))
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

/// Goal and method: see the top. One test, since it counts the descriptors of the process.
#[test]
fn storms_leave_what_the_model_allows() {
    silence_intended_panics();
    let first = number("LINUX_AIO_SIM_STORM").unwrap_or(0);
    let count = number("LINUX_AIO_SIM_STORMS").unwrap_or(if cfg!(miri) { 2 } else { 60 });
    for seed in first..first + count {
        let run = catch_unwind(|| {
            storm::<LocalDriver>(seed);
            storm::<Driver>(seed);
        });
        if let Err(payload) = run {
            eprintln!("LINUX_AIO_SIM_STORM={seed}");
            resume_unwind(payload);
        }
    }
}
