//! A fast file copy: many large blocks in flight through one [`Queue`](linux_aio::Queue), around
//! the page cache (`O_DIRECT`) where the file systems allow it.
//!
//! ```text
//! aio-copy SOURCE TARGET --verify
//! ```
//!
//! Under the target's name there is always a whole file: the old one until the copy is complete and
//! on the disk, then the copy. SIGKILL may leave a `.copy-*` beside it: the whole copy, or, where
//! the file system has no files without a name, an unfinished one. Holes stay holes, and the
//! permissions are the source's.
//!
//! `transfer.rs` is the asynchronous part, a read and a write taking turns with one buffer;
//! `verify.rs` compares. `source.rs` and `target.rs` see to the files, `block.rs` is the buffer.
#![forbid(unsafe_code)]

mod block;
mod direct;
mod monitor;
mod source;
mod target;
mod transfer;
mod verify;

use anyhow::Result;
use block::ALIGNMENT;
use bytesize::ByteSize;
use clap::Parser;
use monitor::{Interrupted, Monitor};
use source::Source;
use std::path::PathBuf;
use std::process::ExitCode;
use target::Target;

/// Copies a file around the page cache, with many blocks in flight.
///
/// The target appears, or is replaced, when the copy is complete and on the disk. Until then, and
/// if anything fails, the old target stays.
#[derive(Parser)]
#[command(name = "aio-copy", version, max_term_width = 100)]
#[command(
    after_help = "Exit code: 0 the copy is on the disk, 1 it failed, 130 it was interrupted.\n\
    Example: aio-copy --verify disk.img /mnt/backup/disk.img"
)]
struct Args {
    /// A file or block device.
    source: PathBuf,
    /// The name of the copy. An existing file of that name is replaced.
    target: PathBuf,
    /// Read both files from the disk again and compare them, before the target appears.
    #[arg(long)]
    verify: bool,
    /// The number of blocks in flight, up to 4096.
    #[arg(long, value_name = "N", default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    depth: u32,
    /// The size of a block: a multiple of 4 KiB, up to 1 GiB.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = parse_block)]
    block: usize,
}

/// How the work is cut: `depth` blocks of `block` bytes.
#[derive(Clone, Copy)]
struct Shape {
    depth: u32,
    block: usize,
}

fn run(args: &Args) -> Result<()> {
    let shape = Shape { depth: args.depth, block: args.block };
    let monitor = Monitor::new()?;
    let source = Source::open(&args.source)?;
    let mut target = Target::create(&args.target, &source)?;
    let data = source.data()?;
    target.reserve(source.size, &data)?;

    let bytes = data.iter().map(|range| range.end - range.start).sum();
    monitor.begin("copying", bytes);
    transfer::copy(&source, &target, &data, shape, &monitor)?;
    target.complete(&source)?;
    if args.verify {
        monitor.begin("verifying", source.size);
        verify::compare(&source, &target, shape, &monitor)?;
    }
    source.ensure_unchanged()?;
    monitor.ensure_not_interrupted()?;
    target.publish()
}

fn parse_block(text: &str) -> Result<usize, String> {
    let block = text.parse::<ByteSize>()?.as_u64();
    if block == 0 || block % ALIGNMENT as u64 != 0 || block > 1 << 30 {
        return Err("not a multiple of 4 KiB up to 1 GiB, such as 64KiB or 1MiB".into());
    }
    usize::try_from(block).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let Err(error) = run(&Args::parse()) else { return ExitCode::SUCCESS };
    eprintln!("aio-copy: {error:#}");
    if error.is::<Interrupted>() {
        return ExitCode::from(Interrupted::EXIT_CODE);
    }
    ExitCode::FAILURE
}
