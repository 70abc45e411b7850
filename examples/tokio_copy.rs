//! Copies a file on tokio, several blocks at a time, beside whatever else the runtime does.
//!
//! Each block is a task: it reads, then writes what it has read from the same buffer. A semaphore
//! bounds the buffers. No block, offset or length is aligned here: `File` sees to that.
//!
//! ```text
//! cargo run --release --features tokio --example tokio_copy -- SOURCE TARGET
//! ```
#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use linux_aio::tokio::driver;
use linux_aio::{AlignedBuf, File};
use std::env::args_os;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const BLOCK: usize = 256 << 10;
/// Sets how many blocks are under way at a time.
const DEPTH: u32 = 16;

/// Reads one block and writes it.
async fn copy_block(source: &File, target: &File, offset: u64, count: usize) -> Result<()> {
    let (read, block) = source.read_exact_at(AlignedBuf::new(count)?, offset).await;
    read.context("the source cannot be read")?;
    target.write_all_at(block, offset).await.0?;
    Ok(())
}

/// Copies a file to a new one.
async fn copy(source: &Path, target: &Path) -> Result<u64> {
    let driver = driver(DEPTH)?;
    let source_file = File::open(&driver, source).await?;
    let metadata = source_file.metadata()?;
    ensure!(metadata.is_file(), "{} is no regular file", source.display());
    let size = metadata.len();
    let options = File::options().write(true).create_new(true);
    let target = options.open(&driver, target).await?;

    let buffers = Arc::new(Semaphore::new(DEPTH as usize));
    let mut blocks = JoinSet::new();
    for offset in (0..size).step_by(BLOCK) {
        let buffer = Arc::clone(&buffers).acquire_owned().await?;
        let (source, target) = (source_file.clone(), target.clone());
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
    target.sync_all().await?;
    target.close().await?;
    driver.close().await;
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
