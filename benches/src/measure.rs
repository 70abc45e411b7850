//! Measures a cell: rounds, each of which has every way once, in an order that is drawn anew, so
//! that what drifts drifts for all.

use crate::clock::{Latencies, latencies};
use crate::device::Device;
use crate::grid::Cell;
use crate::load::Load;
use crate::statistics::{Estimate, median};
use crate::system_calls::SystemCalls;
use crate::ways::{Family, Runner, Way};
use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Says how much time a measurement takes.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// The number of rounds.
    pub rounds: usize,
    /// The time that each way has in a round, about.
    pub time: Duration,
}

/// Holds the results of a way in a cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Its name.
    pub way: String,
    /// Whose it is.
    pub family: Family,
    /// Nanoseconds for an operation, round by round.
    pub nanos: Vec<f64>,
    /// Nanoseconds of processor time for an operation, round by round.
    pub cpu: Vec<f64>,
    /// For an operation, where they could be counted.
    pub system_calls: Option<f64>,
    /// Nanoseconds of an operation from its submission until it was taken: of 50 %, 99 % and
    /// 99.9 %.
    pub latencies: Option<[u64; 3]>,
    /// Returns the time as a part of that of the fastest way of others.
    pub to_best: Option<Estimate>,
}

impl Outcome {
    /// Returns the median of its rounds.
    pub fn nanos(&self) -> f64 {
        median(&self.nanos)
    }

    /// Returns the median of the processor time.
    pub fn cpu_nanos(&self) -> f64 {
        median(&self.cpu)
    }

    /// Returns the operations in a second.
    pub fn per_second(&self) -> f64 {
        1e9 / self.nanos()
    }

    /// Returns the time as a part of another's, round by round.
    pub fn to(&self, other: &Self) -> Estimate {
        ratio(&self.nanos, &other.nanos)
    }

    /// Returns the processor time as a part of another's, round by round.
    pub fn cpu_to(&self, other: &Self) -> Estimate {
        ratio(&self.cpu, &other.cpu)
    }

    /// Returns the nanoseconds of processor time over those of another, round by round.
    pub fn cpu_over(&self, other: &Self) -> Estimate {
        let pairs = self.cpu.iter().zip(&other.cpu);
        Estimate::of(&pairs.map(|(ours, theirs)| ours - theirs).collect::<Vec<_>>())
    }
}

fn ratio(ours: &[f64], theirs: &[f64]) -> Estimate {
    let pairs = ours.iter().zip(theirs);
    Estimate::of(&pairs.map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>())
}

/// Nanoseconds for each of `operations`, to a hundredth.
fn each(took: Duration, operations: u64) -> f64 {
    (took.as_nanos() as f64 * 100.0 / operations as f64).round() / 100.0
}

/// Holds a cell, and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// The work that was done.
    pub cell: Cell,
    /// By each way that could.
    pub outcomes: Vec<Outcome>,
    /// Returns the fastest way of others.
    pub best: Option<String>,
    /// Ways that could not, and why.
    pub skipped: Vec<(String, String)>,
}

impl Measured {
    /// Returns the results of the way.
    pub fn of(&self, way: &str) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| outcome.way == way)
    }
}

/// One way at work.
struct Contestant<'w> {
    way: &'w Way,
    runner: Box<dyn Runner>,
    operations: u64,
    nanos: Vec<f64>,
    cpu: Vec<f64>,
}

impl Contestant<'_> {
    /// Finds how many operations fill the time, after having warmed up.
    fn calibrate(&mut self, load: &Load, time: Duration) -> Result<()> {
        let mut operations = load.round(1);
        loop {
            let (took, _) = timed(|| self.runner.run(operations, None))?;
            let seconds = took.as_secs_f64().max(1e-9);
            if took * 4 >= time {
                let fitting = operations as f64 * time.as_secs_f64() / seconds;
                self.operations = load.round(fitting as u64);
                return Ok(());
            }
            let factor = (time.as_secs_f64() / seconds).clamp(2.0, 16.0);
            operations = load.round((operations as f64 * factor) as u64);
        }
    }

    fn run(&mut self) -> Result<()> {
        let (took, cpu) = timed(|| self.runner.run(self.operations, None))?;
        self.nanos.push(each(took, self.operations));
        self.cpu.push(each(cpu, self.operations));
        Ok(())
    }

    fn latencies(&mut self) -> Result<Latencies> {
        let mut all = latencies();
        self.runner.run(self.operations, Some(&mut all))?;
        Ok(all)
    }
}

/// Returns how long it took, and how much time of processors.
fn timed(what: impl FnOnce() -> Result<()>) -> Result<(Duration, Duration)> {
    let (start, cpu) = (Instant::now(), cpu_time());
    what()?;
    Ok((start.elapsed(), cpu_time() - cpu))
}

/// Returns the processor time of this process so far.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Measures a cell with the ways that can do it. `step` is called after each round.
pub fn measure(
    cell: &Cell,
    device: &Device,
    ways: &[&Way],
    effort: Effort,
    step: &dyn Fn(),
) -> Result<Measured> {
    let target = device.target(cell.files)?;
    let load = Arc::new(Load::new(target, cell.kind, cell.depth, cell.batch)?);
    let mut skipped = Vec::new();
    let mut contestants = Vec::new();
    for way in ways {
        let prepared = (way.prepare)(&load).and_then(|runner| {
            let (nanos, cpu) = (Vec::new(), Vec::new());
            let mut contestant = Contestant { way, runner, operations: 0, nanos, cpu };
            contestant.calibrate(&load, effort.time)?;
            Ok(contestant)
        });
        match prepared {
            Ok(contestant) => contestants.push(contestant),
            Err(error) => skipped.push((way.name.to_owned(), format!("{error:#}"))),
        }
    }
    for _ in 0..effort.rounds {
        fastrand::shuffle(&mut contestants);
        for contestant in &mut contestants {
            contestant.run().with_context(|| contestant.way.name)?;
        }
        step();
    }
    let mut outcomes = Vec::new();
    for mut contestant in contestants {
        let name = contestant.way.name;
        let latencies = contestant.latencies().with_context(|| name)?;
        let at = |quantile| latencies.value_at_quantile(quantile);
        outcomes.push(Outcome {
            way: name.to_owned(),
            family: contestant.way.family,
            nanos: contestant.nanos,
            cpu: contestant.cpu,
            system_calls: None,
            latencies: Some([at(0.5), at(0.99), at(0.999)]),
            to_best: None,
        });
    }
    // In the order of the list.
    outcomes.sort_by_key(|outcome| ways.iter().position(|way| way.name == outcome.way));
    let mut measured = Measured { cell: *cell, outcomes, best: None, skipped };
    compare_with_best(&mut measured);
    Ok(measured)
}

fn compare_with_best(measured: &mut Measured) {
    let others = measured.outcomes.iter().filter(|outcome| outcome.family != Family::Ours);
    let Some(best) = others.min_by(|a, b| a.nanos().total_cmp(&b.nanos())).cloned() else {
        return;
    };
    for outcome in &mut measured.outcomes {
        outcome.to_best = Some(outcome.to(&best));
    }
    measured.best = Some(best.way);
}

/// Counts the system calls of every way of a cell that has been measured, in runs of their own:
/// what counts them makes them slower.
pub fn count_system_calls(measured: &mut Measured, device: &Device, ways: &[&Way]) -> Result<()> {
    let cell = measured.cell;
    let target = device.target(cell.files)?;
    let load = Arc::new(Load::new(target, cell.kind, cell.depth, cell.batch)?);
    let operations = load.round(2000);
    for outcome in &mut measured.outcomes {
        let Some(way) = ways.iter().find(|way| way.name == outcome.way) else { continue };
        let mut counter = SystemCalls::new()?;
        let mut runner = (way.prepare)(&load)?;
        // What is done for the first time only is not counted; what ends a run is.
        runner.run(load.round(1), None)?;
        let (result, few) = counter.during(|| runner.run(operations, None))?;
        result?;
        let (result, many) = counter.during(|| runner.run(2 * operations, None))?;
        result?;
        outcome.system_calls = Some(many.saturating_sub(few) as f64 / operations as f64);
    }
    Ok(())
}
