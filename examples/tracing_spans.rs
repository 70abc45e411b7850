//! A line for each operation of a driver, when it has ended: what was asked for, of which request,
//! the outcome, and how long it took.
//!
//! ```text
//! cargo run --release --features tracing --example tracing_spans             # reads its executable
//! cargo run --release --features tracing --example tracing_spans -- FILE
//! ```
#![forbid(unsafe_code)]

use anyhow::Result;
use linux_aio::op::{Fsync, Poll, Read};
use linux_aio::{AlignedBuf, Driver, EventFd, PollEvents};
use std::env::{args_os, current_exe};
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tracing::{Instrument, Level, info_span};
use tracing_subscriber::fmt::format::FmtSpan;

/// Reads the beginning of the file.
async fn request(driver: &Driver, path: PathBuf) -> Result<()> {
    let file = Arc::new(File::open(path)?);
    for offset in [0, 4096] {
        let read = Read::new(Arc::clone(&file), AlignedBuf::new(4096)?, offset);
        driver.perform(read).await.0?;
    }
    // A file that nobody writes may be synced, and a device without a disk may not.
    driver.perform(Fsync::new(file)).await.0?;
    driver.perform(Fsync::new(File::open("/dev/zero")?)).await.0.unwrap_err();
    // Nothing ever happens here.
    let silent = driver.perform(Poll::new(EventFd::new()?, PollEvents::IN));
    silent.timeout(Duration::from_millis(5)).await.unwrap_err();
    Ok(())
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .init();
    let run = || -> Result<()> {
        let path = args_os().nth(1).map(PathBuf::from).map_or_else(current_exe, Ok)?;
        let driver = Driver::on_thread(8)?;
        let span = info_span!("request", path = %path.display());
        pollster::block_on(request(&driver, path).instrument(span))?;
        pollster::block_on(driver.close());
        Ok(())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tracing_spans: {error:#}");
            ExitCode::FAILURE
        }
    }
}
