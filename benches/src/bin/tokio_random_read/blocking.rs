//! Reads in the usual way on tokio, that of `tokio::fs`: each read blocks a thread of a pool.

use crate::load::{Load, Meter, Outcome, Watch, in_tasks};
use anyhow::Result;
use hdrhistogram::Histogram;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use tokio::runtime::Builder;
use tokio::task::spawn_blocking as block;

/// Reads by a pool of as many threads as reads are in flight.
pub(crate) fn spawn_blocking(load: &Load) -> Result<Outcome> {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.max_blocking_threads(load.depth as usize).enable_all().build()?;
    runtime.block_on(async {
        let meter = Meter::start();
        let latencies = in_tasks(load, || read_blocking(load.clone())).await?;
        Ok(meter.stop(latencies))
    })
}

async fn read_blocking(load: Load) -> Result<Histogram<u64>> {
    let (mut watch, mut buf) = (Watch::start(&load)?, load.buffer()?);
    while let Some(offset) = watch.next_offset()? {
        let file = Arc::clone(&load.file);
        let read = block(move || file.read_exact_at(&mut buf, offset).map(|()| buf));
        buf = read.await??;
    }
    Ok(watch.latencies)
}
