//! What the measurements of the integrations share: two contenders, interleaved, as a table's row.

use rustix::fs::Advice;
use rustix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::fs::File;
use std::io;
use std::time::Instant;

/// The number of times that each contender runs.
const ROUNDS: usize = 5;

/// What a run may fail with.
pub type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// What both contenders do.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// The crate and its version.
    pub with: &'a str,
    /// The work, in a few words.
    pub what: &'a str,
    /// How much of `unit` one run does.
    pub amount: f64,
    /// The unit of rates, such as `MB`.
    pub unit: &'a str,
}

/// Runs both contenders in turn and prints a row: rates, and the processor time of the process.
///
/// The files are to be in the state that the work says before each run. The medians count.
///
/// # Errors
/// Those of the contenders.
pub fn compare(
    work: Work<'_>,
    (their_name, mut theirs): (&str, impl FnMut() -> Result),
    mut ours: impl FnMut() -> Result,
) -> Result {
    let mut costs = [[[0.0; 2]; 2]; ROUNDS];
    for [our_cost, their_cost] in &mut costs {
        *our_cost = cost(&mut ours)?;
        *their_cost = cost(&mut theirs)?;
    }
    let of = |who: usize| [0, 1].map(|i| median(costs.map(|round| round[who][i])));
    let [ours, theirs] = [of(0), of(1)];
    let Work { with, what, amount, unit } = work;
    println!(
        "| {with} | {what} | {their_name} | {:.0} | {:.0} {unit}/s | {:.2} | {:.2} | {:.2} s |",
        amount / ours[0],
        amount / theirs[0],
        theirs[0] / ours[0],
        ours[1],
        theirs[1],
    );
    Ok(())
}

/// Returns the time that a run takes, and the processor time, in seconds.
fn cost(run: &mut impl FnMut() -> Result) -> Result<[f64; 2]> {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    run()?;
    Ok([start.elapsed().as_secs_f64(), cpu_seconds() - cpu])
}

/// Returns the processor time of all threads of this process.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn median(mut values: [f64; ROUNDS]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[ROUNDS / 2]
}

/// Drops a file from the page cache.
///
/// # Errors
/// Those of `fdatasync(2)` and `posix_fadvise(2)`.
pub fn make_cold(file: &File) -> io::Result<()> {
    file.sync_data()?;
    Ok(rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?)
}
