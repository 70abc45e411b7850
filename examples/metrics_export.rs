//! Shows Prometheus where the operations of a driver spend their time.
//!
//! A service calls `export` whenever its metrics are asked for, and sends the text.
//!
//! ```text
//! cargo run --release --features metrics --example metrics_export            # reads its executable
//! cargo run --release --features metrics --example metrics_export -- FILE
//! ```
#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use linux_aio::{AlignedBuf, Driver, File};
use metrics_exporter_prometheus::PrometheusBuilder;
use std::env::{args_os, current_exe};
use std::path::PathBuf;
use std::process::ExitCode;

const BLOCK: usize = 64 << 10;

/// Reads the file to its end, and gives what a scrape would.
async fn read_file(path: PathBuf) -> Result<String> {
    // The recorder of the program. Every library that uses the crate `metrics` is counted by it.
    let prometheus = PrometheusBuilder::new().install_recorder()?;
    let driver = Driver::on_thread(8)?;
    driver.measure(true);

    let file = File::open(&driver, path).await?;
    let mut buf = AlignedBuf::new(BLOCK)?;
    let mut offset = 0;
    loop {
        let (result, back) = file.read_at(buf, offset).await;
        let count = result.with_context(|| format!("reading at {offset}"))?;
        if count == 0 {
            break;
        }
        offset += count as u64;
        buf = back;
    }
    file.sync_data().await?;
    driver.metrics().export("example");
    file.close().await?;
    driver.close().await;
    Ok(prometheus.render())
}

fn main() -> ExitCode {
    let file = args_os().nth(1).map(PathBuf::from).map_or_else(current_exe, Ok);
    match file.map_err(Into::into).and_then(|file| pollster::block_on(read_file(file))) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("metrics_export: {error:#}");
            ExitCode::FAILURE
        }
    }
}
