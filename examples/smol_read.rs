//! A file read on smol, several blocks at a time, with its checksum: the driver needs three lines
//! for a runtime that it does not know.
//!
//! ```text
//! cargo run --release --features smol --example smol_read             # reads its own executable
//! cargo run --release --features smol --example smol_read -- FILE
//! ```
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use linux_aio::Reactor;
use linux_aio::op::Read;
use linux_aio::{AlignedBuf, Driver, EventFd};
use smol::{Async, block_on, spawn};
use std::collections::VecDeque;
use std::env::{args_os, current_exe};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Tells when the driver's eventfd is readable: that makes the driver one of smol's.
struct SmolReactor(Async<Arc<EventFd>>);

impl Reactor for SmolReactor {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_readable(cx)
    }
}

/// Sets how many blocks are in flight, and how large they are.
const DEPTH: u32 = 8;
const BLOCK: usize = 256 << 10;

/// Opens a file around the page cache, where the kernel reads asynchronously, or else through it.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    let direct = options.clone().custom_flags(libc::O_DIRECT).open(path);
    direct.or_else(|_| options.open(path))
}

/// Reads the file to its end, and gives how many bytes it has, and their checksum.
async fn read_file(path: &Path) -> Result<(u64, u32)> {
    let file = Arc::new(open(path)?);
    let size = file.metadata()?.len();
    let driver = Driver::new(DEPTH, |eventfd| Ok(SmolReactor(Async::new_nonblocking(eventfd)?)))?;

    let mut offsets = (0..size).step_by(BLOCK);
    let mut in_flight = VecDeque::new();
    let (mut bytes, mut checksum) = (0, 0);
    loop {
        while in_flight.len() < DEPTH as usize {
            let Some(offset) = offsets.next() else { break };
            let buf = AlignedBuf::with_alignment(BLOCK, 4096)?;
            // As a task, it starts without being awaited.
            in_flight.push_back(spawn(driver.perform(Read::new(Arc::clone(&file), buf, offset))));
        }
        let Some(oldest) = in_flight.pop_front() else { break };
        let (result, read) = oldest.await;
        let count = result.with_context(|| format!("reading at {}", read.offset))? as usize;
        let expected = (size - read.offset).min(BLOCK as u64) as usize;
        ensure!(count == expected, "{count} bytes instead of {expected} at {}", read.offset);
        checksum = crc32c::crc32c_append(checksum, &read.buf[..count]);
        bytes += count as u64;
    }
    driver.close().await;
    Ok((bytes, checksum))
}

fn main() -> ExitCode {
    let file = args_os().nth(1).map(PathBuf::from).map_or_else(current_exe, Ok);
    let read = file
        .map_err(Into::into)
        .and_then(|file| block_on(read_file(&file)).with_context(|| file.display().to_string()));
    match read {
        Ok((bytes, checksum)) => {
            println!("{bytes} bytes, CRC-32C {checksum:08x}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("smol_read: {error:#}");
            ExitCode::FAILURE
        }
    }
}
