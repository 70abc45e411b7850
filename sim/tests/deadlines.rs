//! Deadlines on a disk that stalls. They go by the clock of the simulation, so hours pass in a
//! moment, and a deadline comes at its time to the nanosecond.
//!
//! Requests are aligned, so that the driver does them: a simulation makes the calls of threads
//! while the future is polled, and a deadline is seen when the call has ended.

use linux_aio::op::Read;
use linux_aio::{AlignedBuf, Direct, Driver, File, FileDriver, LocalDriver, OpenOptions};
use linux_aio_sim::{Executor, Faults, Sim};
use std::future::Future;
use std::io;
use std::time::Duration;

const TIME: Duration = Duration::from_secs(10);

/// Has what a run has seen: its trace, its time, and how many requests were late.
type Seen = (String, Duration, u32);

/// A disk on which one of 256 operations takes up to 30 seconds.
fn stalling() -> Faults {
    let mut faults = Faults::legal();
    faults.stalls = true;
    faults
}

fn options() -> OpenOptions {
    File::options().read(true).write(true).create(true).direct(Direct::Require)
}

fn block() -> AlignedBuf {
    AlignedBuf::new(4096).expect("memory")
}

fn rounds() -> u32 {
    if cfg!(miri) { 3 } else { 300 }
}

/// Counts a request that was late, at its time.
fn is_late<D: Runs, T>(sim: &Sim, start: Duration, outcome: io::Result<T>) -> u32 {
    let took = sim.now() - start;
    match outcome {
        Ok(_) => 0,
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
            assert!(took >= TIME && took - TIME <= D::CALLS, "{took:?}: {error}");
            1
        }
    }
}

/// Requests of a file, each with a deadline.
async fn requests<D: Runs>(driver: D, sim: Sim) -> u32 {
    let file = options().open(&driver, sim.path("data")).await.expect("a file");
    let file = file.with_deadline(TIME);
    let mut late = 0;
    for round in 0..rounds() {
        let start = sim.now();
        let outcome = match round % 3 {
            0 => file.write_all_at(block(), 4096).await.map(drop),
            1 => file.read_at(block(), 4096).await.map(drop),
            _ => file.sync_data().await,
        };
        late += is_late::<D, _>(&sim, start, outcome);
    }
    late
}

/// Runs a future of a driver to its end.
trait Runs: FileDriver {
    /// Bounds how long the calls take that end a sleep.
    const CALLS: Duration = Duration::ZERO;

    fn run<F: Future<Output = u32> + 'static>(sim: &Sim, make: impl FnOnce(Self) -> F) -> u32;
}

impl Runs for Driver {
    fn run<F: Future<Output = u32> + 'static>(sim: &Sim, make: impl FnOnce(Self) -> F) -> u32 {
        let executor = Executor::new(sim);
        executor.block_on(make(Self::on_thread(4).expect("a context")))
    }
}

impl Runs for LocalDriver {
    const CALLS: Duration = Duration::from_micros(10);

    fn run<F: Future<Output = u32> + 'static>(_: &Sim, make: impl FnOnce(Self) -> F) -> u32 {
        let driver = Self::new(4).expect("a context");
        driver.block_on(make(driver.clone()))
    }
}

fn run<D: Runs, F: Future<Output = u32> + 'static>(seed: u64, make: impl Fn(D, Sim) -> F) -> Seen {
    let sim = Sim::with_trace(seed, stalling());
    let _entered = sim.enter();
    let late = D::run(&sim, |driver| make(driver, sim.clone()));
    (sim.trace(), sim.now(), late)
}

/// Runs seeds twice, which must be the same to the byte. Some requests must have been late.
fn check<D: Runs, F: Future<Output = u32> + 'static>(make: impl Fn(D, Sim) -> F) {
    let mut late = 0;
    for seed in 0..if cfg!(miri) { 1 } else { 20 } {
        let first = run(seed, &make);
        assert_eq!(first, run(seed, &make), "seed {seed}");
        late += first.2;
    }
    assert!(cfg!(miri) || late > 0, "no request was late");
}

/// Goal: a deadline of a file is in the time of the simulation, and a seed decides which requests
/// are late. Method: an error must come when exactly ten seconds have passed.
#[test]
fn a_deadline_of_a_file_comes_at_its_time() {
    check(requests::<Driver>);
    check(requests::<LocalDriver>);
}

/// Goal: the same for the deadline of a driver, of its operations and of its files.
#[test]
fn a_deadline_of_a_driver_comes_at_its_time() {
    macro_rules! work {
        ($driver:ty) => {
            |driver: $driver, sim: Sim| async move {
                let driver = driver.with_deadline(TIME);
                let file = driver.open(&options(), sim.path("data")).await.expect("a file");
                let mut late = 0;
                for _ in 0..rounds() {
                    let start = sim.now();
                    late += is_late::<$driver, _>(&sim, start, file.sync_data().await);
                    let read = driver.perform(Read::new(sim.direct("data"), block(), 0));
                    let start = sim.now();
                    let outcome = read.await.map_err(io::Error::from);
                    late += is_late::<$driver, _>(&sim, start, outcome);
                }
                late
            }
        };
    }
    check(work!(Driver));
    check(work!(LocalDriver));
}

/// Goal: `close_within` gives up at its time, lists what is in the kernel by the same clock, and
/// does not wait for it. Method: seeds, until one stalls for longer.
#[test]
fn close_within_gives_up_at_its_time() {
    let mut unfinished = 0;
    for seed in 0..if cfg!(miri) { 1 } else { 200 } {
        let sim = Sim::with_trace(seed, stalling());
        let _entered = sim.enter();
        let driver = LocalDriver::new(8).expect("a context");
        let (handle, simulation) = (driver.clone(), sim.clone());
        unfinished += driver.block_on(async move {
            let file = options().open(&handle, simulation.path("data")).await.expect("a file");
            let mut syncs: Vec<_> = (0..8).map(|_| Box::pin(file.sync_data())).collect();
            let start = simulation.now();
            std::future::poll_fn(|cx| {
                syncs.iter_mut().for_each(|sync| drop(sync.as_mut().poll(cx)));
                std::task::Poll::Ready(())
            })
            .await;
            let Err(unfinished) = handle.close_within(TIME).await else { return 0 };
            assert!(simulation.now() - start >= TIME);
            assert!(unfinished.operations().iter().all(|it| it.age >= TIME), "{unfinished}");
            1
        });
    }
    assert!(cfg!(miri) || unfinished > 0, "every driver has ended");
}
