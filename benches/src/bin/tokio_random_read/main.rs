//! A load generator: random reads of a file around the page cache, with their latencies; and a
//! comparison of ways to do them.
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml --bin tokio_random_read -- FILE --depth 32
//! cargo run --release --manifest-path benches/Cargo.toml --bin tokio_random_read -- FILE --compare
//! cargo run --release --manifest-path benches/Cargo.toml --bin tokio_random_read -- FILE --buffered
//! ```
//!
//! The file is made, of random bytes, if it is not there. `load.rs` is the loop on tokio and what
//! it measures; `blocking.rs` and `uring.rs` are other ways to do the same.

mod blocking;
mod load;
// tokio-uring does not build with musl.
#[cfg(target_env = "gnu")]
mod uring;

use anyhow::{Context, Result, ensure};
use bytesize::ByteSize;
use clap::Parser;
use load::{Load, Outcome};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Reads a file at random places, with a number of reads in flight.
#[derive(Parser)]
struct Args {
    /// The file, or a block device.
    path: PathBuf,
    /// Size of the file that is made if it is not there.
    #[arg(long, default_value = "256MiB")]
    size: ByteSize,
    /// Size of a read.
    #[arg(long, default_value = "4KiB")]
    block: ByteSize,
    /// Reads in flight.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    depth: u32,
    /// For how long.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Compare ways to read, each at depth 1, 8, 32 and 128.
    #[arg(long)]
    compare: bool,
    /// Read through the page cache, which is emptied of the file first: what is
    /// not there is read by a thread.
    #[arg(long, conflicts_with = "compare")]
    buffered: bool,
}

/// The file, opened around the page cache if not otherwise asked for; made if it is not there.
fn open(args: &Args) -> Result<File> {
    if !args.path.exists() {
        fill(&args.path, args.size.as_u64())?;
    }
    if args.buffered {
        let file = File::open(&args.path)?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        return Ok(file);
    }
    let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&args.path);
    direct.context("opening it with O_DIRECT")
}

/// Returns what the address of a buffer must be a multiple of. Fails if the block is none that the
/// file can be read in.
fn memory_alignment(args: &Args, file: &File) -> Result<usize> {
    let direct_io = linux_aio::geometry::Geometry::of(file).direct_io;
    if let Some(alignment) = direct_io.alignment().filter(|_| !args.buffered) {
        let unit = alignment.read_offset;
        let fits = args.block.as_u64() % u64::from(unit) == 0;
        let path = args.path.display();
        ensure!(fits, "{path} takes multiples of {unit} bytes: try --block {unit}");
    }
    Ok(direct_io.memory())
}

/// Writes random bytes: a hole would be read without the disk.
fn fill(path: &Path, size: u64) -> Result<()> {
    let mut file = File::create_new(path)?;
    let (mut rng, mut rest, mut chunk) = (fastrand::Rng::new(), size, vec![0; 1 << 20]);
    while rest > 0 {
        let count = rest.min(chunk.len() as u64) as usize;
        rng.fill(&mut chunk[..count]);
        file.write_all(&chunk[..count])?;
        rest -= count as u64;
    }
    Ok(file.sync_all()?)
}

/// Names a way to read.
type Way = (&'static str, fn(&Load) -> Result<Outcome>);

const WAYS: &[Way] = &[
    ("linux-aio, tokio", load::driver),
    ("tokio, spawn_blocking", blocking::spawn_blocking),
    #[cfg(target_env = "gnu")]
    ("tokio-uring", uring::tokio_uring),
    #[cfg(target_env = "gnu")]
    ("io-uring, plain loop", uring::plain_loop),
];

fn run(args: &Args) -> Result<()> {
    let file = Arc::new(open(args)?);
    let (size, block) = (load::size(&file)?, args.block.as_u64());
    ensure!(block > 0, "a block has at least one byte");
    ensure!(size >= block, "{} has less than one block", args.path.display());
    let memory = memory_alignment(args, &file)?;
    let time = Duration::from_secs(args.seconds);
    let (block, blocks) = (block as usize, size / block);
    let load = |depth| Load { file: Arc::clone(&file), block, memory, blocks, depth, time };
    if !args.compare {
        let outcome = load::driver(&load(args.depth))?;
        print_latencies(&outcome);
        return Ok(());
    }
    println!(
        "| way | depth | reads/s | CPU µs a read | p50 µs | p99 µs |\n|---|---|---|---|---|---|"
    );
    for (name, way) in WAYS {
        for depth in [1, 8, 32, 128] {
            match way(&load(depth)) {
                Ok(outcome) => print_row(name, depth, &outcome),
                Err(error) => println!("| {name} | {depth} | {error:#} | | | |"),
            }
        }
    }
    Ok(())
}

fn print_row(name: &str, depth: u32, outcome: &Outcome) {
    let micros = |quantile| outcome.latencies.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "| {name} | {depth} | {:.0} | {:.1} | {:.0} | {:.0} |",
        outcome.reads_per_second(),
        outcome.cpu_micros_per_read(),
        micros(0.5),
        micros(0.99),
    );
}

fn print_latencies(outcome: &Outcome) {
    println!(
        "{:.0} reads/s, {:.1} µs of CPU a read",
        outcome.reads_per_second(),
        outcome.cpu_micros_per_read(),
    );
    for quantile in [0.5, 0.9, 0.99, 0.999, 1.0] {
        let nanos = outcome.latencies.value_at_quantile(quantile);
        println!("{:>6} % within {:?}", quantile * 100.0, Duration::from_nanos(nanos));
    }
    if let Some(driver) = &outcome.stats {
        let calls = driver.queue.submit_calls;
        println!(
            "{calls} calls of io_submit, the longest {:?}, {} above a millisecond",
            driver.longest_submit, driver.blocked,
        );
    }
}

fn main() -> ExitCode {
    let Err(error) = run(&Args::parse()) else { return ExitCode::SUCCESS };
    eprintln!("tokio_random_read: {error:#}");
    ExitCode::FAILURE
}
