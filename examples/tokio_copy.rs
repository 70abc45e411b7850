//! A file copied on tokio, several blocks at a time, beside whatever else the runtime does.
//!
//! Each block is a task: it reads, then writes what it has read from the same buffer. The driver
//! lets as many run as it has slots; a semaphore bounds the buffers. A file that is opened through
//! the page cache, where a read or write may block, falls back to two threads.
//!
//! ```text
//! cargo run --release --features tokio --example tokio_copy -- SOURCE TARGET
//! ```
#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use linux_aio::AlignedBuf;
use linux_aio::tokio::{Fallback, File, driver};
use std::env::args_os;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// What an operation's address, length and offset are multiples of.
const ALIGNMENT: usize = 4096;
const BLOCK: usize = 256 << 10;
/// How many blocks are under way at a time.
const DEPTH: u32 = 16;

/// Around the page cache if the file system can, else through it.
fn open(options: &mut OpenOptions, path: &Path) -> Result<std::fs::File> {
    let direct = options.clone().custom_flags(libc::O_DIRECT).open(path);
    direct.or_else(|_| options.open(path)).with_context(|| path.display().to_string())
}

/// A buffer of which what has been done already is not offered again.
struct Rest {
    buf: AlignedBuf,
    from: usize,
}

impl AsMut<[u8]> for Rest {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.from..]
    }
}

impl AsRef<[u8]> for Rest {
    fn as_ref(&self) -> &[u8] {
        &self.buf[self.from..]
    }
}

/// Reads one block and writes it; the last is written with zeros up to the alignment.
async fn copy_block(source: &File, target: &File, offset: u64, count: usize) -> Result<()> {
    let buf = AlignedBuf::with_alignment(count.next_multiple_of(ALIGNMENT), ALIGNMENT)?;
    let mut block = Rest { buf, from: 0 };
    // A count may be short: what the page cache had.
    while block.from < count {
        let at = offset + block.from as u64;
        let read;
        (read, block) = source.read_at(block, at).await;
        let read = read?;
        ensure!(read > 0, "the source has become shorter");
        block.from += read;
    }
    block.buf[count..].fill(0);
    block.from = 0;
    while block.from < block.buf.len() {
        let at = offset + block.from as u64;
        let written;
        (written, block) = target.write_at(block, at).await;
        block.from += written?;
    }
    Ok(())
}

/// Copies a file to a new one.
async fn copy(source: &Path, target: &Path) -> Result<u64> {
    let (driver, fallback) = (driver(DEPTH)?, Fallback::new(1)?);
    let old = open(OpenOptions::new().read(true), source)?;
    ensure!(old.metadata()?.is_file(), "{} is no regular file", source.display());
    let size = old.metadata()?.len();
    let new = open(OpenOptions::new().write(true).create_new(true), target)?;
    let source = File::new(old, &driver)?.fall_back_to(&fallback);
    let target = File::new(new, &driver)?.fall_back_to(&fallback);

    let buffers = Arc::new(Semaphore::new(DEPTH as usize));
    let mut blocks = JoinSet::new();
    for offset in (0..size).step_by(BLOCK) {
        let buffer = Arc::clone(&buffers).acquire_owned().await?;
        let (source, target) = (source.clone(), target.clone());
        let count = (size - offset).min(BLOCK as u64) as usize;
        blocks.spawn(async move {
            let copied = copy_block(&source, &target, offset, count).await;
            drop(buffer);
            copied.with_context(|| format!("the block at {offset}"))
        });
    }
    while let Some(copied) = blocks.join_next().await {
        copied??;
    }
    target.get_ref().set_len(size)?;
    target.sync_all().await?;
    driver.close().await;
    fallback.close().await;
    Ok(size)
}

#[tokio::main]
async fn main() -> ExitCode {
    let paths: Vec<PathBuf> = args_os().skip(1).map(PathBuf::from).collect();
    let [source, target] = paths.as_slice() else {
        eprintln!("usage: tokio_copy SOURCE TARGET");
        return ExitCode::from(2);
    };
    match copy(source, target).await {
        Ok(size) => {
            println!("{size} bytes copied");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tokio_copy: {error:#}");
            ExitCode::FAILURE
        }
    }
}
