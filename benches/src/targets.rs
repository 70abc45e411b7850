//! Compares what was measured with the targets of the project.

use crate::device::Kind as Device;
use crate::grid::Group;
use crate::load::Kind::Read;
use crate::measure::{Measured, Outcome};
use crate::recorded;
use crate::report::{Answer, Report, Verdict};
use crate::statistics::{Estimate, interval};
use crate::ways::{self, Family};

/// Returns all of them.
pub fn verdicts(report: &Report) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let zero = |depth, batch| report.cell(Device::Zero, Read, depth, batch);
    for (batch, most) in [(1, 0.72), (8, 0.93), (32, 1.0)] {
        verdicts.push(ratio(
            format!("raw against libaio on /dev/zero, batch {batch}: time at most {most}"),
            zero(batch, batch),
            (ways::RAW, &[ways::LIBAIO]),
            |estimate| estimate.median <= most,
        ));
    }
    for batch in [1, 8, 32] {
        verdicts.push(ratio(
            format!(
                "raw against the same loop in C on /dev/zero, batch {batch}: the interval \
                     reaches 1.0"
            ),
            zero(batch, batch),
            (ways::RAW, &[ways::C_RING]),
            |estimate| estimate.low <= 1.0,
        ));
    }
    for way in [ways::SCOPE, ways::QUEUE, ways::QUEUE_IN_PLACE] {
        for batch in [1, 8, 32] {
            verdicts.push(ratio(
                format!("{way} against raw on /dev/zero, batch {batch}: time at most 1.10"),
                zero(batch, batch),
                (way, &[ways::RAW]),
                |estimate| estimate.median <= 1.10,
            ));
        }
        verdicts.push(ratio(
            format!("{way} against raw on zram, depth 32, batch 8: time at most 1.02"),
            report.cell(Device::Zram, Read, 32, 8),
            (way, &[ways::RAW]),
            |estimate| estimate.median <= 1.02,
        ));
    }
    for (depth, batch) in [(1, 1), (8, 1), (32, 1), (32, 32), (256, 1)] {
        let zram = report.cell(Device::Zram, Read, depth, batch);
        verdicts.push(ratio(
            format!("raw ahead of io_uring on zram, depth {depth}, batch {batch}"),
            zram,
            (ways::RAW, &[ways::URING]),
            |estimate| estimate.median < 1.0,
        ));
    }
    for (depth, batch) in [(1, 1), (8, 1), (32, 1), (256, 1)] {
        let zram = report.cell(Device::Zram, Read, depth, batch);
        verdicts.push(ratio(
            format!("raw ahead of every thread pool on zram, depth {depth}"),
            zram,
            (ways::RAW, &[ways::POOL, ways::SPAWN_BLOCKING, ways::TOKIO_FS]),
            |estimate| estimate.median < 1.0,
        ));
    }
    verdicts.push(ratio(
        "raw ahead of io_uring on /dev/zero, batch 1".into(),
        zero(1, 1),
        (ways::RAW, &[ways::URING]),
        |estimate| estimate.median < 1.0,
    ));
    verdicts.extend(instructions());
    verdicts.extend(instructions_of_futures());
    verdicts.extend(added_by_futures(report));
    verdicts.extend(cpu_on_disk(report));
    verdicts.push(times_more(report));
    let is_task = |outcome: &Outcome| TASKS.contains(&&*outcome.way);
    verdicts.push(not_slower_on_disk(report, "other futures and threads", is_task));
    let is_other = |outcome: &Outcome| outcome.family != Family::Ours;
    verdicts.push(not_slower_on_disk(report, "all others", is_other));
    verdicts.push(least_cpu_on_disk(report));
    verdicts.extend(flat(report, Group::Depths, "from depth 1 to 4096", |m| m.cell.depth as usize));
    verdicts.extend(flat(report, Group::Files, "from 1 to 10,000 files", |m| m.cell.files));
    verdicts
}

/// Returns how many more than another an operation takes, as it was counted.
fn instructions() -> Vec<Verdict> {
    let more = [
        (ways::RAW, ways::C_RING, 5.0),
        (ways::SCOPE, ways::RAW, 60.0),
        (ways::QUEUE, ways::RAW, 60.0),
        (ways::QUEUE_IN_PLACE, ways::RAW, 30.0),
    ];
    let each = |(way, other, most): (&str, &str, f64)| {
        [1, 8, 32].map(|batch| {
            let target = format!("{way}, batch {batch}: at most {most} instructions over {other}");
            let of = |name| recorded::instructions(&format!("{name}, batch {batch}"));
            let Some((ours, theirs)) = of(way).zip(of(other)) else { return unknown(target) };
            let found = format!("{:.1}: {ours:.1} and {theirs:.1}", ours - theirs);
            verdict(target, ours - theirs <= most, found)
        })
    };
    more.into_iter().flat_map(each).collect()
}

/// Returns how many instructions more than the bare calls a future takes.
fn instructions_of_futures() -> Vec<Verdict> {
    let each = |(way, most): (&str, f64)| {
        let target = format!("{way}, depth 32: at most {most} instructions over {}", ways::RAW);
        let ours = recorded::instructions(&format!("{way}, depth 32"));
        let raw = recorded::instructions(&format!("{}, batch 32", ways::RAW));
        let Some((ours, raw)) = ours.zip(raw) else { return unknown(target) };
        verdict(target, ours - raw <= most, format!("{:.1}: {ours:.1} and {raw:.1}", ours - raw))
    };
    [(ways::LOCAL, 280.0), (ways::LOCAL_SET, 500.0), (ways::SHARED, 700.0)].map(each).into()
}

/// Returns what futures add to the bare calls, beside what tokio-uring adds to the bare loop on
/// io_uring.
fn added_by_futures(report: &Report) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (way, share) in [(ways::LOCAL, 0.6), (ways::LOCAL_SET, 0.8), (ways::SHARED, 1.2)] {
        for depth in [1, 8, 32, 256] {
            let most = if depth == 1 { 1.0 } else { share };
            let target = format!(
                "{way} on /dev/zero, depth {depth}: adds at most {most} of what {} adds",
                ways::TOKIO_URING
            );
            let added = |way, to| {
                let cell = report.cell(Device::Zero, Read, depth, depth)?;
                Some(cell.of(way)?.cpu_over(cell.of(to)?))
            };
            let both = added(way, ways::RAW).zip(added(ways::TOKIO_URING, ways::URING));
            let Some((ours, theirs)) = both else {
                verdicts.push(unknown(target));
                continue;
            };
            let found = format!("{:.0} ns and {:.0} ns", ours.median, theirs.median);
            verdicts.push(verdict(target, ours.median <= most * theirs.median, found));
        }
    }
    verdicts
}

fn unknown(target: String) -> Verdict {
    Verdict { target, answer: Answer::Unknown, found: "not measured".into() }
}

fn verdict(target: String, met: bool, found: String) -> Verdict {
    Verdict { target, answer: if met { Answer::Met } else { Answer::Missed }, found }
}

/// Returns the time of one way as a part of that of the fastest of others.
fn ratio(
    target: String,
    cell: Option<&Measured>,
    (way, others): (&str, &[&str]),
    is_met: impl Fn(Estimate) -> bool,
) -> Verdict {
    let Some((ours, theirs)) = cell.and_then(|cell| Some((cell.of(way)?, fastest(cell, others)?)))
    else {
        return unknown(target);
    };
    // On /dev/zero nothing is waited for, and the processor's time is not that of other programs.
    let estimate = match cell.map(|cell| cell.cell.device) {
        Some(Device::Zero) => ours.cpu_to(theirs),
        _ => ours.to(theirs),
    };
    verdict(target, is_met(estimate), format!("{} of {}", interval(estimate), theirs.way))
}

fn fastest<'m>(cell: &'m Measured, ways: &[&str]) -> Option<&'m Outcome> {
    let outcomes = ways.iter().filter_map(|way| cell.of(way));
    outcomes.min_by(|a, b| a.nanos().total_cmp(&b.nanos()))
}

fn times_more(report: &Report) -> Verdict {
    let target = "tokio adapter on zram, depth 32: at least 5 times the operations of tokio::fs";
    let cell = report.cell(Device::Zram, Read, 32, 1);
    let both = cell.and_then(|cell| Some((cell.of(ways::DRIVER)?, cell.of(ways::TOKIO_FS)?)));
    let Some((ours, theirs)) = both else { return unknown(target.into()) };
    let estimate = theirs.to(ours);
    verdict(target.into(), estimate.median >= 5.0, format!("{} times", interval(estimate)))
}

/// Of the depths at which a disk is busy.
const BUSY: [u32; 3] = [32, 128, 256];

/// Names what else gives futures, or is called in threads of its own.
const TASKS: [&str; 5] =
    [ways::TOKIO_URING, ways::TOKIO_FS, ways::SPAWN_BLOCKING, ways::POOL, ways::THREADS];

/// Returns what `judge` says of the adapter at each depth at which a disk is busy: whether the
/// target is met, and what was found.
fn on_busy_disk(
    report: &Report,
    target: String,
    judge: impl Fn(&Measured, &Outcome) -> Option<(bool, String)>,
) -> Verdict {
    let mut found = Vec::new();
    let mut met = true;
    for depth in BUSY {
        let Some(cell) = report.cell(Device::File, Read, depth, 1) else { continue };
        let judged = cell.of(ways::DRIVER).and_then(|ours| judge(cell, ours));
        let Some((is_met, what)) = judged else { continue };
        met &= is_met;
        found.push(format!("{depth}: {what}"));
    }
    if found.is_empty() {
        return unknown(target);
    }
    verdict(target, met, found.join("; "))
}

/// Against these others, without tokio::fs, which reads memory.
fn not_slower_on_disk(report: &Report, whom: &str, is_one: impl Fn(&Outcome) -> bool) -> Verdict {
    let target = format!(
        "tokio adapter on a disk, depth 32 and more: not slower than the fastest of {whom} \
         (tokio::fs aside, which reads memory)"
    );
    on_busy_disk(report, target, |cell, ours| {
        let others = cell.outcomes.iter();
        let others = others.filter(|outcome| outcome.way != ways::TOKIO_FS && is_one(outcome));
        let best = others.min_by(|a, b| a.nanos().total_cmp(&b.nanos()))?;
        let estimate = ours.to(best);
        // Slower for certain is slower; what noise may be is not.
        Some((estimate.low <= 1.0, format!("{} of {}", interval(estimate), best.way)))
    })
}

fn least_cpu_on_disk(report: &Report) -> Verdict {
    let target = "tokio adapter on a disk, depth 32 and more: less processor time than other futures \
                  and threads";
    on_busy_disk(report, target.into(), |cell, ours| {
        let others = TASKS.iter().filter_map(|way| cell.of(way));
        let least = others.min_by(|a, b| a.cpu_nanos().total_cmp(&b.cpu_nanos()))?;
        let (ours, theirs) = (ours.cpu_nanos(), least.cpu_nanos());
        let found = format!("{:.1} µs, {} {:.1} µs", ours / 1e3, least.way, theirs / 1e3);
        Some((ours < theirs, found))
    })
}

/// Returns the processor time of futures on a busy disk, as a part of tokio-uring's.
fn cpu_on_disk(report: &Report) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for way in [ways::LOCAL, ways::LOCAL_SET, ways::SHARED] {
        for depth in [128, 256] {
            let target = format!(
                "{way} on a disk, depth {depth}: at most the processor time of {}",
                ways::TOKIO_URING
            );
            let cell = report.cell(Device::File, Read, depth, 1);
            let both = cell.and_then(|cell| Some((cell.of(way)?, cell.of(ways::TOKIO_URING)?)));
            let Some((ours, theirs)) = both else {
                verdicts.push(unknown(target));
                continue;
            };
            let estimate = ours.cpu_to(theirs);
            verdicts.push(verdict(target, estimate.median <= 1.0, interval(estimate)));
        }
    }
    verdicts
}

/// The ratio to the loop in C may grow by this over a group: the layer's share of the cost.
const GROWTH: f64 = 1.05;

fn flat(
    report: &Report,
    group: Group,
    range: &str,
    size: impl Fn(&Measured) -> usize,
) -> Vec<Verdict> {
    let of_way = |way: &str| {
        let target = format!(
            "{way} on /dev/zero {range}: as flat as the loop in C, within {:.0} %",
            (GROWTH - 1.0) * 100.0
        );
        let mut cells: Vec<_> = report.group(group).collect();
        cells.sort_by_key(|cell| size(cell));
        let points = cells.iter().map(|cell| {
            let (ours, theirs) = (cell.of(way)?, cell.of(ways::C_RING)?);
            Some((size(cell), ours.cpu_nanos(), ours.cpu_to(theirs).median))
        });
        let Some(points) = points.collect::<Option<Vec<_>>>() else { return unknown(target) };
        let (Some(first), Some(most)) =
            (points.first(), points.iter().map(|point| point.2).reduce(f64::max))
        else {
            return unknown(target);
        };
        let growth = most / first.2;
        let nanos = points
            .iter()
            .map(|(size, nanos, ratio)| format!("{size}: {nanos:.0} ns ({ratio:.2} of C)"));
        let found = format!("grows to {growth:.3}; {}", nanos.collect::<Vec<_>>().join(", "));
        verdict(target, growth <= GROWTH, found)
    };
    [ways::RAW, ways::SCOPE, ways::QUEUE].map(of_way).into()
}
