//! Measures how fast a disk is: random reads, or writes, at several queue depths, around the page
//! cache; with `pread` beside, one after the other, to see what asynchronous I/O is worth here.
//!
//! ```text
//! aio-bench                         # a file of its own in this directory
//! aio-bench /mnt/disk --write
//! aio-bench /dev/nvme0n1            # a file or device that is there: reads
//! ```
//!
//! `sweep` is the loop. `file.rs` opens what is measured, `table.rs` and `json.rs` print.
//! `benches/` compares this library with others.
#![forbid(unsafe_code)]

mod file;
mod json;
mod table;

use anyhow::{Context, Result, bail, ensure};
use bytesize::ByteSize;
use clap::Parser;
use file::Measured;
use hdrhistogram::Histogram;
use json::Document;
use linux_aio::op::{Read, Write};
use linux_aio::{AlignedBuf, Operation, Queue, Stats};
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use table::Table;

/// Measures a disk with asynchronous I/O: random reads at several queue depths.
///
/// An existing file or device is only read. In a directory, the program makes a file without a
/// name. It is gone when the program ends, however it ends.
#[derive(Parser)]
#[command(name = "aio-bench", version, max_term_width = 100)]
#[command(after_help = "Example: aio-bench /mnt/disk --block 16KiB --depth 1,32 --json")]
struct Args {
    /// A directory on the disk to measure, or a file or block device to read.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Write to a file without a name instead of reading. PATH must be a directory.
    #[arg(long)]
    write: bool,
    /// The size of an operation.
    #[arg(long, value_name = "SIZE", default_value = "4KiB")]
    block: ByteSize,
    /// The size of the file that is made in a directory.
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    size: ByteSize,
    /// The numbers of operations in flight, separated by commas. Each is a pass.
    #[arg(long, value_name = "N,N", value_delimiter = ',',
        default_value = "1,2,4,8,16,32,64,128",
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    depth: Vec<u32>,
    /// The length of a pass in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    seconds: f64,
    /// Print JSON at the end instead of a table.
    #[arg(long)]
    json: bool,
}

/// Holds the times of a pass.
struct Pass {
    latencies: Histogram<u64>,
    elapsed: Duration,
    cpu: Duration,
    stats: Stats,
}

/// Measures time, the processor's and that of each operation.
struct Meter {
    start: Instant,
    end: Instant,
    cpu: Duration,
    latencies: Histogram<u64>,
}

impl Meter {
    fn start(args: &Args) -> Result<Self> {
        let (start, latencies) = (Instant::now(), Histogram::new(3)?);
        let time = Duration::try_from_secs_f64(args.seconds)?;
        Ok(Self { start, end: start + time, cpu: cpu_time(), latencies })
    }

    /// Counts an operation that began then, and says whether there is time for another.
    fn ended(&mut self, begun: Instant) -> Result<bool> {
        let now = Instant::now();
        self.latencies.record((now - begun).as_nanos() as u64)?;
        Ok(now < self.end)
    }

    fn stop(self, stats: Stats) -> Pass {
        let (elapsed, cpu) = (self.start.elapsed(), cpu_time() - self.cpu);
        Pass { latencies: self.latencies, elapsed, cpu, stats }
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A read or a write, and when it began.
type Timed<O> = (O, Instant);

/// Keeps `depth` operations under way until the time is over. `make` makes one at an offset,
/// `change` moves it to another.
fn sweep<O: Operation + 'static>(
    args: &Args,
    measured: &Measured,
    depth: u32,
    make: impl Fn(Arc<File>, AlignedBuf, u64) -> O,
    change: impl Fn(O, u64) -> O,
) -> Result<Pass> {
    let mut queue = Queue::<Timed<O>>::with_capacity(depth)?;
    let mut meter = Meter::start(args)?;
    for _ in 0..depth {
        let (file, offset) = (Arc::clone(&measured.file), measured.random_offset());
        let op = make(file, measured.buffer()?, offset);
        queue.push((op, Instant::now())).map_err(|refused| refused.errno())?;
    }
    while let Some(done) = queue.wait()? {
        let (op, begun) = done.op;
        ensure!(done.result? as usize == measured.block, "a short transfer");
        if meter.ended(begun)? {
            let op = change(op, measured.random_offset());
            queue.push((op, Instant::now())).map_err(|refused| refused.errno())?;
        }
    }
    Ok(meter.stop(queue.stats()))
}

fn reads(args: &Args, measured: &Measured, depth: u32) -> Result<Pass> {
    sweep(args, measured, depth, Read::new, |read, offset| Read { offset, ..read })
}

fn writes(args: &Args, measured: &Measured, depth: u32) -> Result<Pass> {
    sweep(args, measured, depth, Write::new, |write, offset| Write { offset, ..write })
}

/// The same by `pread` or `pwrite`, one after the other.
fn blocking(args: &Args, measured: &Measured) -> Result<Pass> {
    let mut buf = measured.buffer()?;
    let mut meter = Meter::start(args)?;
    loop {
        let (begun, offset) = (Instant::now(), measured.random_offset());
        if args.write {
            measured.file.write_all_at(&buf, offset)?;
        } else {
            measured.file.read_exact_at(&mut buf, offset)?;
        }
        if !meter.ended(begun)? {
            return Ok(meter.stop(Stats::default()));
        }
    }
}

fn run(args: &Args) -> Result<()> {
    ensure!(args.seconds > 0.0, "--seconds wants more than none");
    if args.write && !args.path.is_dir() {
        bail!("{} is not a directory, and what is there is only read", args.path.display());
    }
    let (size, block) = (args.size.as_u64(), args.block.as_u64());
    let measured = Measured::open(&args.path, size, block, args.write)?;
    let mut output = Output::begin(args, &measured)?;
    let name = if args.write { "pwrite" } else { "pread" };
    let asynchronous: fn(&Args, &Measured, u32) -> Result<Pass> =
        if args.write { writes } else { reads };
    output.pass(name, 1, &blocking(args, &measured).context(name)?)?;
    for &depth in &args.depth {
        let pass = asynchronous(args, &measured, depth);
        output.pass("linux-aio", depth, &pass.with_context(|| format!("depth {depth}"))?)?;
    }
    output.end()
}

/// Says how the passes are shown.
enum Output {
    Table(Table),
    Json(Document),
}

impl Output {
    fn begin(args: &Args, measured: &Measured) -> Result<Self> {
        if args.json {
            return Ok(Self::Json(Document::begin(measured, args.write)));
        }
        Ok(Self::Table(Table::begin(measured, args.write)?))
    }

    fn pass(&mut self, method: &str, depth: u32, pass: &Pass) -> Result<()> {
        match self {
            Self::Table(table) => table.row(method, depth, pass)?,
            Self::Json(document) => document.pass(method, depth, pass),
        }
        Ok(())
    }

    fn end(self) -> Result<()> {
        match self {
            Self::Table(_) => Ok(()),
            Self::Json(document) => document.print(),
        }
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aio-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
