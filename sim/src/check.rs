//! [`check`], a test under many seeds.

use crate::{Faults, Sim};
use std::any::Any;
use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The seeds of [`check`], unless the environment says how many.
const SEEDS: u64 = 1000;
/// The lines of a trace that a failure shows.
const LINES: usize = 60;

/// A test that has failed. From [`check_seeds`].
///
/// ```
/// use linux_aio_sim::{Failure, Faults, check_seeds};
///
/// let never_holds = check_seeds(0..10, &Faults::none(), |_sim| Err("a bug".into()));
/// let Failure { seed, error, .. } = never_holds.expect_err("the first seed fails");
/// assert_eq!((seed, error.as_str()), (0, "a bug"));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The seed that the test failed with.
    pub seed: u64,
    /// The error or panic of the test.
    pub error: String,
    /// The trace of what happened, from the beginning.
    pub trace: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, error, trace } = self;
        let lines: Vec<&str> = trace.lines().collect();
        let hidden = lines.len().saturating_sub(LINES);
        writeln!(f, "the test fails with seed {seed}: {error}")?;
        writeln!(f, "run this seed alone: LINUX_AIO_SIM_SEED={seed}")?;
        if hidden > 0 {
            writeln!(f, "the trace, without its first {hidden} lines:")?;
        }
        lines[hidden..].iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl Error for Failure {}

/// Runs a test on a thousand machines, each of another seed, under [`Faults::legal`].
///
/// The thread has entered the machine when `test` is called. An error or a panic of `test` is a
/// failure of the seed. The environment chooses the seeds: `LINUX_AIO_SIM_SEEDS=100000` says how
/// many, and `LINUX_AIO_SIM_SEED=48` runs one alone.
///
/// ```
/// use linux_aio::{Queue, op::{Any, Fdsync, Write}};
/// use std::sync::Arc;
///
/// linux_aio_sim::check(|sim| {
///     let file = Arc::new(sim.file("data"));
///     let mut queue: Queue<Any<_, Vec<u8>>> = Queue::with_capacity(1)?;
///     queue.push(Fdsync::new(Arc::new(sim.directory())).into())?;
///     queue.wait()?.expect("a completion").result?;
///     let mut written = 0;
///     while written < 512 {
///         let write = Write::new(file.clone(), vec![7; 512 - written], written as u64);
///         queue.push(write.into())?;
///         written += queue.wait()?.expect("a completion").result? as usize;
///     }
///     queue.push(Fdsync::new(file.clone()).into())?;
///     queue.wait()?.expect("a completion").result?;
///     drop(queue);
///
///     sim.crash();
///     assert_eq!(sim.read("data"), Some(vec![7; 512]));
///     Ok(())
/// });
/// ```
///
/// # Panics
/// If the test fails. The message has the seed, the error, and the end of the trace.
#[track_caller]
pub fn check(test: impl Fn(&Sim) -> Result<(), Box<dyn Error>>) {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        let number = text.parse::<u64>();
        Some(number.unwrap_or_else(|_| panic!("linux-aio-sim: {name}={text} is no number")))
    };
    let seeds = match (number("LINUX_AIO_SIM_SEED"), number("LINUX_AIO_SIM_SEEDS")) {
        (Some(seed), _) => seed..seed.saturating_add(1),
        (None, count) => 0..count.unwrap_or(SEEDS),
    };
    if let Err(failure) = check_seeds(seeds, &Faults::legal(), test) {
        panic!("{failure}");
    }
}

/// Runs a test once for each seed, and stops at the first failure. Returns the number of seeds that
/// passed.
///
/// A failing seed runs a second time, for its trace.
///
/// # Errors
/// The first [`Failure`]. If the seed does not fail in the same way twice, the error says so.
/// Then something else than the seed decides what the test does: a clock, another thread, or the
/// order of a `HashMap`.
pub fn check_seeds(
    seeds: Range<u64>,
    faults: &Faults,
    test: impl Fn(&Sim) -> Result<(), Box<dyn Error>>,
) -> Result<u64, Failure> {
    let mut passed = 0;
    for seed in seeds {
        let Err(error) = run(&Sim::new(seed, faults.clone()), &test) else {
            passed += 1;
            continue;
        };
        let sim = Sim::with_trace(seed, faults.clone());
        let again = run(&sim, &test);
        let error = match again {
            Err(again) if again == error => error,
            Err(again) => format!("{error}; but the second run of the seed says: {again}"),
            Ok(()) => format!("{error}; but the second run of the seed passes"),
        };
        return Err(Failure { seed, error, trace: sim.trace() });
    }
    Ok(passed)
}

/// Runs a test on a machine. The error is a text, so that two can be compared.
fn run(sim: &Sim, test: impl Fn(&Sim) -> Result<(), Box<dyn Error>>) -> Result<(), String> {
    let _entered = sim.enter();
    match catch_unwind(AssertUnwindSafe(|| test(sim).map_err(|error| error.to_string()))) {
        Ok(result) => result,
        Err(payload) => Err(text_of(&*payload)),
    }
}

/// The message of a panic.
fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| String::from(*text));
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".into())
}
