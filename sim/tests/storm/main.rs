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
#[path = "../../../tests/common/users_code.rs"]
mod users_code;

mod buffers;
mod drivers;
mod futures;
mod model;
mod world;

use buffers::Counts;
use drivers::Drives;
use futures::{Held, dropped};
use linux_aio::{BufferPool, Direct, Driver, File, LocalDriver};
use linux_aio_sim::{Faults, Sim};
use std::cell::{Cell, RefCell};
use std::mem;
use std::panic::{catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use world::World;

/// The bytes of each task. They are no whole pages, so that neighbours meet in one.
const AREA: u64 = 10_000;
const TASKS: u64 = 3;
const LENGTH: u64 = 32_768;
const STEPS: usize = if cfg!(miri) { 12 } else { 40 };

/// The payload of panics that belong to the test.
struct Intended;

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
