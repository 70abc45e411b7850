//! A local driver under users' code that does its worst at random: it panics, comes back in, drops
//! other futures, and forgets.
//!
//! The model is a count: every operation is dropped once, unless it was forgotten with its future.
//! Every future ends, with its own buffer.

use linux_aio::op::Write;
use linux_aio::{Errno, EventResult, LocalDriver, LocalRun, Operation, Prepared, Reactor};
use linux_aio_sim::{Faults, Sim};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

/// Users' code in users' code goes no deeper.
const DEEPEST: u32 = 3;

/// The number of futures that are there at once.
const MOST: usize = 12;

type Task = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default)]
struct Storm {
    sim: Option<Sim>,
    random: Cell<u64>,
    depth: Cell<u32>,
    driver: RefCell<Option<LocalDriver>>,
    closed: Cell<bool>,
    run: RefCell<Option<LocalRun<Deaf>>>,
    tasks: RefCell<Vec<Task>>,
    made: Cell<u32>,
    dropped: Cell<u32>,
    forgotten: Cell<u32>,
    panics: Cell<u32>,
    ended: Cell<u32>,
    /// Users' code is tame: it does nothing but what an operation needs.
    tame: Cell<bool>,
    wrong: RefCell<Option<String>>,
}

/// Never ready.
struct Deaf;

impl Reactor for Deaf {
    fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

/// A payload that panics when it is dropped, once.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        resume_unwind(Box::new("a payload"));
    }
}

/// An operation whose code is the storm's.
struct Wild<const N: usize> {
    write: Write<OwnedFd, [u8; N]>,
    storm: Rc<Storm>,
    pieces: u32,
}

impl<const N: usize> Operation for Wild<N> {
    fn prepare(&mut self) -> Prepared<'_> {
        self.storm.strike();
        self.write.prepare()
    }

    fn goes_on(&mut self, _: EventResult) -> bool {
        self.storm.strike();
        self.pieces = self.pieces.saturating_sub(1);
        self.pieces > 0
    }
}

impl<const N: usize> Drop for Wild<N> {
    fn drop(&mut self) {
        self.storm.dropped.set(self.storm.dropped.get() + 1);
        // The drop of a value that its owner drops may panic into what it unwinds from.
        if !thread::panicking() {
            self.storm.strike();
        }
    }
}

impl Storm {
    fn below(&self, most: u64) -> u64 {
        // The multiplier is Knuth's for 64 bits.
        let next = self.random.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.random.set(next);
        (next >> 33) % most
    }

    fn driver(&self) -> Option<LocalDriver> {
        self.driver.borrow().clone()
    }

    /// Does what users' code may do at its worst.
    fn strike(self: &Rc<Self>) {
        if self.tame.get() || self.depth.get() >= DEEPEST {
            return;
        }
        let _deeper = Deeper::new(self);
        match self.below(12) {
            0 => {
                self.panics.set(self.panics.get() + 1);
                match self.below(2) {
                    0 => resume_unwind(Box::new(Bomb)),
                    _ => resume_unwind(Box::new("on purpose")),
                }
            }
            1..=4 => self.act(),
            _ => {}
        }
    }

    /// Runs code whose panic is the storm's own.
    fn caught(code: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(code)) {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        }
    }

    fn waker(self: &Rc<Self>) -> Waker {
        let storm = Rc::downgrade(self);
        crate::local_waker::waker(move || {
            if let Some(storm) = storm.upgrade() {
                storm.strike();
            }
        })
    }

    fn task<const N: usize>(self: &Rc<Self>, driver: &LocalDriver) -> Task {
        self.made.set(self.made.get() + 1);
        let fill = self.made.get() as u8;
        let sim = self.sim.as_ref().expect("it is there");
        let op = Wild {
            write: Write::new(sim.file("a"), [fill; N], 0),
            storm: Rc::clone(self),
            pieces: self.below(3) as u32,
        };
        let future = driver.perform(op);
        let storm = Rc::clone(self);
        let check = move |result: Result<u32, Errno>, op: &Wild<N>| {
            storm.ended.set(storm.ended.get() + 1);
            let is_right = match result {
                Ok(count) => count as usize == N,
                Err(errno) => errno == Errno::ECANCELED && storm.closed.get(),
            };
            if !is_right || op.write.buf != [fill; N] {
                storm.wrong.replace(Some(format!("{result:?} of {N} bytes")));
            }
        };
        if self.below(4) > 0 {
            return Box::pin(async move {
                let (result, op) = future.await;
                check(result, &op);
            });
        }
        let late = future.timeout(Duration::from_micros(self.below(200)));
        Box::pin(async move {
            if let Ok((result, op)) = late.await {
                check(result, &op);
            }
        })
    }

    /// Takes a task that is not being polled.
    fn some_task(&self) -> Option<Task> {
        let count = self.tasks.borrow().len() as u64;
        (count > 0).then(|| self.tasks.borrow_mut().swap_remove(self.below(count) as usize))
    }

    fn poll(self: &Rc<Self>, mut task: Task, cx: &mut Context<'_>) {
        if task.as_mut().poll(cx).is_pending() {
            self.tasks.borrow_mut().push(task);
        }
    }

    fn act(self: &Rc<Self>) {
        let Some(driver) = self.driver() else { return };
        match self.below(16) {
            0..=3 if self.tasks.borrow().len() < MOST => {
                let mut task = match self.below(2) {
                    0 => self.task::<8>(&driver),
                    _ => self.task::<200>(&driver),
                };
                // Most are started at once.
                let started = self.below(4) > 0
                    && task.as_mut().poll(&mut Context::from_waker(&self.waker())).is_ready();
                if !started {
                    self.tasks.borrow_mut().push(task);
                }
            }
            4..=6 => {
                let Some(task) = self.some_task() else { return };
                let waker = if self.below(2) == 0 { Waker::noop() } else { &self.waker() };
                self.poll(task, &mut Context::from_waker(waker));
            }
            7 => drop(self.some_task()),
            8 if !cfg!(miri) && self.below(4) == 0 => {
                let Some(task) = self.some_task() else { return };
                self.forgotten.set(self.forgotten.get() + 1);
                std::mem::forget(task);
            }
            9 => driver.measure(self.below(2) == 0),
            10 => drop((driver.stats(), driver.metrics(), driver.overdue(Duration::ZERO))),
            11 => {
                let mut run = driver.run_on(|_| Ok(Deaf)).ok();
                if let Some(run) = &mut run {
                    let waker = self.waker();
                    let _ = Pin::new(run).poll(&mut Context::from_waker(&waker));
                    let before = self.run.replace(None);
                    drop(before);
                }
                let before = self.run.replace(run);
                drop(before);
            }
            12 => {
                let run = self.run.take();
                if let Some(mut run) = run {
                    let waker = self.waker();
                    let _ = Pin::new(&mut run).poll(&mut Context::from_waker(&waker));
                    let before = self.run.replace(Some(run));
                    drop(before);
                }
            }
            13 | 14 => {
                let mut polls = self.below(4);
                driver.block_on(poll_fn(|cx| {
                    if let Some(task) = self.some_task() {
                        self.poll(task, cx);
                    }
                    cx.waker().wake_by_ref();
                    polls = polls.saturating_sub(1);
                    if polls == 0 { Poll::Ready(()) } else { Poll::Pending }
                }));
            }
            _ => self.sim.as_ref().expect("it is there").sleep(Duration::from_micros(50)),
        }
    }

    /// Runs every task to its end, by a future that sleeps until it is woken.
    fn finish(self: &Rc<Self>, driver: &LocalDriver) {
        driver.block_on(poll_fn(|cx| {
            let tasks = self.tasks.take();
            for task in tasks {
                Self::caught(|| self.poll(task, cx));
            }
            if self.tasks.borrow().is_empty() { Poll::Ready(()) } else { Poll::Pending }
        }));
    }
}

struct Deeper<'s>(&'s Storm);

impl<'s> Deeper<'s> {
    fn new(storm: &'s Storm) -> Self {
        storm.depth.set(storm.depth.get() + 1);
        Self(storm)
    }
}

impl Drop for Deeper<'_> {
    fn drop(&mut self) {
        self.0.depth.set(self.0.depth.get() - 1);
    }
}

/// Ends the program if a seed has not ended in time. A hang becomes a failure.
fn watched(seed: u64) -> impl Drop {
    struct Watched(Option<std::sync::mpsc::Sender<()>>);
    impl Drop for Watched {
        fn drop(&mut self) {
            self.0 = None;
        }
    }
    let (alive, ended) = channel();
    if !cfg!(miri) {
        thread::spawn(move || {
            if ended.recv_timeout(Duration::from_secs(100)) == Err(RecvTimeoutError::Timeout) {
                eprintln!("seed {seed} hangs");
                std::process::abort();
            }
        });
    }
    Watched(Some(alive))
}

fn run(seed: u64) -> Rc<Storm> {
    let _watched = watched(seed);
    let sim = Sim::new(seed, Faults::none());
    let _entered = sim.enter();
    // The storm polls by wakers of its own, and lets time pass.
    sim.adopt_threads();
    let driver = LocalDriver::new(3).expect("a context");
    let storm = Rc::new(Storm {
        sim: Some(sim.clone()),
        random: Cell::new(seed),
        driver: RefCell::new(Some(driver)),
        ..Storm::default()
    });
    for _ in 0..if cfg!(miri) { 60 } else { 200 } {
        Storm::caught(|| storm.act());
    }
    storm.tame.set(true);
    let driver = storm.driver.take().expect("it is there");
    drop(storm.run.take());
    if storm.below(3) == 0 {
        storm.closed.set(true);
        let close = driver.clone().close();
        storm.finish(&driver);
        driver.block_on(close);
    } else {
        storm.finish(&driver);
        // Those of nobody.
        while driver.outstanding() > 0 {
            sim.sleep(Duration::from_millis(1));
            let write = driver.perform(Write::new(sim.file("a"), [0; 1], 0));
            assert_eq!(driver.block_on(write).0, Ok(1), "seed {seed}");
        }
    }
    drop(driver);
    assert_eq!(storm.wrong.take(), None, "seed {seed}");
    let kept = storm.made.get() - storm.dropped.get();
    assert_eq!(kept, storm.forgotten.get(), "seed {seed}: each operation is dropped once");
    storm
}

/// Goal: whatever users' code does, every operation is dropped once and every future ends.
#[test]
fn local_drivers_survive_users_code_at_random() {
    let seeds = if cfg!(miri) { 3 } else { 60 };
    let (mut made, mut panics, mut ended) = (0, 0, 0);
    for seed in 0..seeds {
        let storm = run(seed);
        made += storm.made.get();
        panics += storm.panics.get();
        ended += storm.ended.get();
    }
    assert!(ended > made / 4 && panics > seeds as u32, "{made} made, {panics} panics, {ended}");
}
