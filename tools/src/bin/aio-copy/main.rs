//! A fast file copy: many large blocks in flight by one [`LocalDriver`], around the page cache
//! where the file systems allow it.
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
//! `copy.rs` moves the bytes, `target.rs` sees to the name, `monitor.rs` to signals.
#![forbid(unsafe_code)]

mod copy;
mod monitor;
mod target;

use anyhow::Result;
use bytesize::ByteSize;
use clap::Parser;
use copy::Copy;
use linux_aio::LocalDriver;
use monitor::{Interrupted, Monitor};
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

fn run(args: &Args) -> Result<()> {
    let monitor = Monitor::new()?;
    let driver = LocalDriver::new(args.depth)?;
    let copy = driver.block_on(Copy::open(&driver, args, &monitor))?;
    let target = Target::create(&driver, &args.target, &copy.metadata)?;
    driver.block_on(async {
        copy.to(&target).await?;
        if args.verify { copy.verify(&target).await } else { Ok(()) }
    })?;
    copy.ensure_unchanged()?;
    monitor.ensure_not_interrupted()?;
    target.publish()
}

fn parse_block(text: &str) -> Result<usize, String> {
    match text.parse::<ByteSize>()?.as_u64() {
        block if block > 0 && block % 4096 == 0 && block <= 1 << 30 => Ok(block as usize),
        _ => Err("not a multiple of 4 KiB up to 1 GiB, such as 64KiB or 1MiB".into()),
    }
}

fn main() -> ExitCode {
    let Err(error) = run(&Args::parse()) else { return ExitCode::SUCCESS };
    eprintln!("aio-copy: {error:#}");
    ExitCode::from(if error.is::<Interrupted>() { Interrupted::EXIT_CODE } else { 1 })
}
