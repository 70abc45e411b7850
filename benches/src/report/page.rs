//! Writes the page in Markdown.

use super::Answer;
use super::Report;
use crate::device::Kind as Device;
use crate::grid::Group;
use crate::measure::{Measured, Outcome};
use crate::recorded;
use crate::statistics::interval;
use std::fmt::{self, Write};

/// Returns the whole report, with the pictures of these names.
pub fn page(report: &Report, pictures: &[String]) -> String {
    let mut page = String::new();
    write_page(&mut page, report, pictures).expect("a string takes all");
    page
}

fn write_page(page: &mut String, report: &Report, pictures: &[String]) -> fmt::Result {
    writeln!(page, "# Report\n")?;
    for line in &report.machine {
        writeln!(page, "- {line}")?;
    }
    for (_, about) in &report.devices {
        writeln!(page, "- {about}")?;
    }
    for skipped in &report.skipped {
        writeln!(page, "- not done: {skipped}")?;
    }
    for name in pictures {
        writeln!(page, "\n![{name}]({name}.svg)")?;
    }
    write_targets(page, report)?;
    writeln!(
        page,
        "\n## Numbers\n\n\
         Every way did the same operations in the same round, in random order, round after round. An \
         operation's time and processor time (of this process, kernel included, but not of the \
         kernel's own threads) are medians of the rounds; the ratio is that of the times in the same \
         round, to the fastest way of others in the table, with its 95 % interval: below 1 is faster. \
         Latency is from submission to being taken, in a run of its own. System calls are counted, in \
         another.\n"
    )?;
    for device in Device::ALL {
        let of_device = |measured: &&Measured| measured.cell.device == device;
        let cells: Vec<_> = report.group(Group::Ways).filter(of_device).collect();
        if !cells.is_empty() {
            writeln!(page, "### {}\n", heading(device))?;
        }
        for cell in cells {
            write_cell(page, cell)?;
        }
    }
    write_counts(page)
}

fn write_counts(page: &mut String) -> fmt::Result {
    writeln!(
        page,
        "## Counts\n\n\
         Instructions of an operation on /dev/zero by callgrind, in which a system call is one, and \
         sizes; recorded in `counts.tsv` and kept from growing.\n\n\
         | what | | |\n|---|--:|---|"
    )?;
    for (what, unit, count) in recorded::counts() {
        writeln!(page, "| {what} | {count} | {unit} |")?;
    }
    Ok(())
}

fn heading(device: Device) -> String {
    let title = device.title();
    let (first, rest) = title.split_at(1);
    first.to_uppercase() + rest
}

fn write_targets(page: &mut String, report: &Report) -> fmt::Result {
    writeln!(page, "\n## Targets\n\n| target | | measured |\n|---|---|---|")?;
    for verdict in &report.verdicts {
        let answer = match verdict.answer {
            Answer::Met => "met",
            Answer::Missed => "**not met**",
            Answer::Unknown => "–",
        };
        writeln!(page, "| {} | {answer} | {} |", verdict.target, verdict.found)?;
    }
    Ok(())
}

fn write_cell(page: &mut String, measured: &Measured) -> fmt::Result {
    let cell = &measured.cell;
    writeln!(
        page,
        "{}, depth {}, batch {}:\n\n\
         | way | operations/s | µs each | processor µs | calls each | p50 µs | p99 µs | p99.9 µs | \
         ratio |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        cell.kind.name(),
        cell.depth,
        cell.batch
    )?;
    for outcome in &measured.outcomes {
        write_outcome(page, outcome)?;
    }
    writeln!(page)
}

fn write_outcome(page: &mut String, outcome: &Outcome) -> fmt::Result {
    let micros = |nanos: f64| format!("{:.2}", nanos / 1e3);
    let [p50, p99, p999] = outcome.latencies.map_or_else(
        || ["–"; 3].map(String::from),
        |latencies| latencies.map(|nanos| micros(nanos as f64)),
    );
    writeln!(
        page,
        "| {} | {:.0} | {} | {} | {} | {p50} | {p99} | {p999} | {} |",
        outcome.way,
        outcome.per_second(),
        micros(outcome.nanos()),
        micros(outcome.cpu_nanos()),
        outcome.system_calls.map_or("–".into(), |calls| format!("{calls:.2}")),
        outcome.to_best.map_or("–".into(), interval),
    )
}
