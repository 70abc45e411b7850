//! Shows asynchronous disk I/O in one page. It writes a file through a [`Queue`] with `O_DIRECT`,
//! and reads it back in random order at several queue depths. It verifies every block, and shows
//! what it cost.
//!
//! ```text
//! cargo run --release --example quickstart
//! cargo run --release --example quickstart -- --size 1GiB /mnt/disk
//! ```
//!
//! `write_file` and `read_back` are what to copy. `scratch.rs` makes the file, `report.rs` and
//! `size.rs` print.
#![forbid(unsafe_code)]

mod report;
mod scratch;
mod size;

use anyhow::{Context, Result, ensure};
use linux_aio::op::{Read, Write};
use linux_aio::{AlignedBuf, Queue};
use report::{Pass, Report};
use scratch::Scratch;
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// Bytes of one read: a page of many a database.
const BLOCK: usize = 16 << 10;
/// Bytes of one write; a whole number of blocks.
const CHUNK: usize = 1 << 20;
/// Sets how many writes are in flight.
const WRITE_DEPTH: u32 = 8;
/// Sets how many reads are in flight, pass by pass.
const READ_DEPTHS: [u32; 4] = [1, 4, 16, 64];

/// Writes the file, a chunk at a time, and returns the checksum of every block.
fn write_file(file: &Arc<File>, size: u64, pass: &mut Pass) -> Result<Vec<u32>> {
    let mut queue = Queue::with_capacity(WRITE_DEPTH)?;
    let mut checksums = Vec::new();
    let mut offsets = (0..size).step_by(CHUNK);

    for offset in offsets.by_ref().take(queue.capacity()) {
        let mut buf = AlignedBuf::new(CHUNK)?;
        fill(&mut buf, &mut checksums);
        queue.push((Write::new(file.clone(), buf, offset), Instant::now()))?;
    }
    while let Some(done) = queue.wait()? {
        let (mut write, start) = done.op;
        let written = done.result.with_context(|| format!("writing at {}", write.offset))?;
        ensure!(written as usize == CHUNK, "only {written} bytes written at {}", write.offset);
        pass.record(start.elapsed());
        if let Some(offset) = offsets.next() {
            fill(&mut write.buf, &mut checksums);
            queue.push((Write { offset, ..write }, Instant::now()))?;
        }
    }
    file.sync_data().context("flushing the file to the disk")?;
    pass.finish(queue.stats());
    Ok(checksums)
}

/// Reads every block once, in random order, with `depth` reads in flight, and verifies it.
fn read_back(file: &Arc<File>, checksums: &[u32], depth: u32, pass: &mut Pass) -> Result<()> {
    let mut queue = Queue::with_capacity(depth)?;
    let mut offsets = shuffled_offsets(checksums.len()).into_iter();

    for offset in offsets.by_ref().take(queue.capacity()) {
        let buf = AlignedBuf::new(BLOCK)?;
        queue.push((Read::new(file.clone(), buf, offset), Instant::now()))?;
    }
    while let Some(done) = queue.wait()? {
        let (read, start) = done.op;
        let count = done.result.with_context(|| format!("reading at {}", read.offset))?;
        pass.record(start.elapsed());
        verify(&read.buf[..count as usize], read.offset, checksums)?;
        if let Some(offset) = offsets.next() {
            queue.push((Read { offset, ..read }, Instant::now()))?;
        }
    }
    pass.finish(queue.stats());
    Ok(())
}

/// Fills a chunk with random bytes and appends the checksums of its blocks.
fn fill(chunk: &mut [u8], checksums: &mut Vec<u32>) {
    fastrand::fill(chunk);
    checksums.extend(chunk.chunks(BLOCK).map(crc32c::crc32c));
}

fn verify(bytes: &[u8], offset: u64, checksums: &[u32]) -> Result<()> {
    let expected = checksums[(offset / BLOCK as u64) as usize];
    ensure!(bytes.len() == BLOCK, "only {} bytes read at {offset}", bytes.len());
    ensure!(crc32c::crc32c(bytes) == expected, "the block at {offset} is not what was written");
    Ok(())
}

fn shuffled_offsets(blocks: usize) -> Vec<u64> {
    let mut offsets: Vec<_> = (0..blocks as u64).map(|block| block * BLOCK as u64).collect();
    fastrand::shuffle(&mut offsets);
    offsets
}

const USAGE: &str = "\
Writes a file asynchronously with O_DIRECT, reads it back in random order at several queue depths,
and verifies every block.

Usage: quickstart [--size SIZE] [DIRECTORY]

  DIRECTORY    on the disk to try; the current one if not given. The file never has a name there and
               is gone when the program ends, however it ends.
  --size SIZE  of the file: a multiple of 1 MiB, such as 64MiB or 1GiB; 256MiB if not given";

struct Args {
    path: PathBuf,
    size: u64,
}

impl Args {
    /// `Err` says what is wrong with them, or nothing where help is asked for.
    fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, Option<String>> {
        let (mut path, mut size) = (None, 256 << 20);
        while let Some(argument) = arguments.next() {
            if argument == "--help" || argument == "-h" {
                return Err(None);
            }
            if argument == "--size" {
                let text = arguments.next().unwrap_or_default();
                size = parse_size(&text.to_string_lossy()).ok_or_else(|| {
                    format!(
                        "--size {}: not a multiple of 1 MiB, such as 1GiB",
                        text.to_string_lossy()
                    )
                })?;
            } else if path.replace(PathBuf::from(argument)).is_some() {
                return Err(Some("one directory at most".to_owned()));
            }
        }
        Ok(Self { path: path.unwrap_or_else(|| ".".into()), size })
    }
}

fn parse_size(text: &str) -> Option<u64> {
    size::parse(text).filter(|&size| size > 0 && size % CHUNK as u64 == 0)
}

fn run(args: &Args) -> Result<()> {
    let scratch = Scratch::create(&args.path, args.size)?;
    let mut report = Report::begin(&scratch, args.size)?;

    let mut pass = Pass::start("write", CHUNK, WRITE_DEPTH);
    let checksums = write_file(&scratch.file, args.size, &mut pass)?;
    if scratch.is_direct && !scratch::is_asynchronous(&scratch.file)? {
        report.note_synchronous()?;
    }
    report.row(&pass)?;
    for depth in READ_DEPTHS {
        let mut pass = Pass::start("read", BLOCK, depth);
        read_back(&scratch.file, &checksums, depth, &mut pass)?;
        report.row(&pass)?;
    }
    report.end(checksums.len())
}

fn main() -> ExitCode {
    let args = match Args::parse(env::args_os().skip(1)) {
        Ok(args) => args,
        Err(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(Some(error)) => {
            eprintln!("quickstart: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error:#}");
            ExitCode::FAILURE
        }
    }
}
