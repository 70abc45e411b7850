//! Compares `linux-aio` with the other ways to do disk I/O, on this machine.
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml -- [--quick] [--device NAME]… [PATH]
//! ```

use anyhow::{Context, Result, ensure};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use linux_aio_benches::device::{self, Device};
use linux_aio_benches::grid::{self, Cell, Group};
use linux_aio_benches::measure::{self, Effort, Measured};
use linux_aio_benches::report::{self, Report};
use linux_aio_benches::ways::{self, WAYS, Way};
use linux_aio_benches::{subjects, targets};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Compares ways to do disk I/O: this library, libaio, io_uring, threads. Prints a page in
/// Markdown.
///
/// Nothing of yours is written to: the files that it makes have no names and are gone when it ends.
/// Run by root, it also makes a zram device and loop devices, and removes them.
#[derive(Parser)]
struct Args {
    /// Puts files there: a directory on the disk to try.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// A few short rounds, to see that it works; the numbers are worth nothing.
    #[arg(long)]
    quick: bool,
    /// Only on this device (may be given again).
    #[arg(long, value_name = "NAME")]
    device: Vec<device::Kind>,
    /// Only this way (may be given again); --list names them.
    #[arg(long, value_name = "NAME")]
    way: Vec<String>,
    /// Name the ways.
    #[arg(long)]
    list: bool,
    /// Rounds of a cell.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Time of a way in each round, in milliseconds.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    milliseconds: u16,
    /// Write what was measured to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw pictures to this directory.
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Write page, JSON and pictures to this directory.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Measure nothing: show what is in this file, which --json wrote.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Measure no time: count the instructions of each operation, by callgrind.
    #[arg(long)]
    instructions: bool,
    /// Count them of the ways with futures alone.
    #[arg(long)]
    futures: bool,
    /// The subject that is counted.
    #[arg(long, hide = true)]
    subjects: bool,
}

fn chosen_ways(args: &Args) -> Result<Vec<&'static Way>> {
    if args.way.is_empty() {
        return Ok(WAYS.iter().collect());
    }
    let named = args.way.iter();
    named.map(|name| ways::way(name).with_context(|| format!("no way is called {name}"))).collect()
}

fn effort(args: &Args, cell: &Cell) -> Effort {
    if args.quick {
        return Effort { rounds: 3, time: Duration::from_millis(2) };
    }
    let time = Duration::from_millis(args.milliseconds.into());
    // Where the calls are all there is, rounds are short, and more of them can be had.
    match (cell.device, cell.group) {
        (device::Kind::Zero | device::Kind::Null, Group::Ways) => {
            Effort { rounds: usize::from(args.rounds) * 4, time: time / 3 }
        }
        _ => Effort { rounds: args.rounds.into(), time },
    }
}

fn progress(args: &Args, devices: &[Device]) -> ProgressBar {
    let cells = devices.iter().flat_map(|device| grid::cells(device.kind, args.quick));
    let bar = ProgressBar::new(cells.map(|cell| effort(args, &cell).rounds as u64).sum());
    let style = ProgressStyle::with_template("{msg:<44} {wide_bar} {percent:>3} %, {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Opens as many files as it may.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn devices(args: &Args, report: &mut Report) -> Vec<Device> {
    let kinds = match (args.device.is_empty(), args.quick) {
        (false, _) => args.device.clone(),
        (true, true) => vec![device::Kind::Zero],
        (true, false) => device::Kind::ALL.to_vec(),
    };
    let mut devices = Vec::new();
    for kind in kinds {
        match Device::new(kind, &args.path, args.quick) {
            Ok(device) => {
                report.devices.push((kind, device.about()));
                devices.push(device);
            }
            Err(error) => skip(report, format!("{}: {error:#}", kind.title())),
        }
    }
    devices
}

/// Says what cannot be done, once.
fn skip(report: &mut Report, what: String) {
    if !report.skipped.contains(&what) {
        eprintln!("SKIPPED {what}");
        report.skipped.push(what);
    }
}

fn measure_all(args: &Args) -> Result<Report> {
    raise_file_limit();
    let ways = chosen_ways(args)?;
    let mut report = Report { machine: machine(), ..Report::default() };
    let devices = devices(args, &mut report);
    ensure!(!devices.is_empty(), "there is no device");
    let bar = progress(args, &devices);
    let mut counts = true;
    for device in &devices {
        for cell in grid::cells(device.kind, args.quick) {
            bar.set_message(cell.name());
            let ways: Vec<_> = ways.iter().copied().filter(|way| cell.is_for(way)).collect();
            let measured =
                measure::measure(&cell, device, &ways, effort(args, &cell), &|| bar.inc(1));
            let mut measured = measured.with_context(|| cell.name())?;
            if counts && cell.group == Group::Ways {
                if let Err(error) = measure::count_system_calls(&mut measured, device, &ways) {
                    skip(&mut report, format!("counts of system calls: {error:#}"));
                    counts = false;
                }
            }
            note_skipped(&mut report, &measured);
            report.cells.push(measured);
        }
    }
    bar.finish_and_clear();
    report.verdicts = targets::verdicts(&report);
    Ok(report)
}

fn note_skipped(report: &mut Report, measured: &Measured) {
    for (way, why) in &measured.skipped {
        skip(report, format!("{way}, {}: {why}", measured.cell.device.title()));
    }
}

/// Describes the machine that it ran on.
fn machine() -> Vec<String> {
    let uname = rustix::system::uname();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown", |(_, name)| name);
    vec![
        format!("Linux {}", uname.release().to_string_lossy()),
        format!("{}, {cpus} × {model}", uname.machine().to_string_lossy()),
    ]
}

fn write(args: &Args, report: &Report) -> Result<()> {
    println!("{}", report::page(report, &[]));
    let json = serde_json::to_string(report)? + "\n";
    if let Some(file) = &args.json {
        write_file(file, &json)?;
    }
    if let Some(folder) = &args.svg {
        std::fs::create_dir_all(folder)?;
        report::draw(report, folder)?;
    }
    if let Some(folder) = &args.report {
        std::fs::create_dir_all(folder)?;
        let pictures = report::draw(report, folder)?;
        write_file(&folder.join("report.json"), &json)?;
        write_file(&folder.join("README.md"), &report::page(report, &pictures))?;
    }
    Ok(())
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

fn run(args: &Args) -> Result<()> {
    if args.list {
        WAYS.iter().for_each(|way| println!("{}", way.name));
        return Ok(());
    }
    if args.subjects {
        return subjects::run(args.futures);
    }
    if args.instructions {
        for (name, count) in subjects::count(args.futures)? {
            println!("{name}\t{count:.1}");
        }
        return Ok(());
    }
    let report = match &args.from {
        None => measure_all(args)?,
        Some(file) => {
            let mut report: Report = serde_json::from_str(&std::fs::read_to_string(file)?)?;
            report.verdicts = targets::verdicts(&report);
            report
        }
    };
    write(args, &report)
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}
