//! Reads at random places, one after the other in each of `depth` tasks: the load.

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use linux_aio::AlignedBuf;
use linux_aio::tokio::driver as new_driver;
use linux_aio::{DriverStats, File};
use linux_aio_benches::measure::cpu_time;
use std::io::{Seek, SeekFrom};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// Holds the work.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) file: Arc<std::fs::File>,
    pub(crate) block: usize,
    /// The address of a buffer is a multiple of this.
    pub(crate) memory: usize,
    /// The number of blocks of the file.
    pub(crate) blocks: u64,
    pub(crate) depth: u32,
    pub(crate) time: Duration,
}

impl Load {
    pub(crate) fn buffer(&self) -> Result<AlignedBuf> {
        Ok(AlignedBuf::with_alignment(self.block, self.memory)?)
    }
}

/// Chooses one task's reads, one after the other, and notes how long each took.
pub(crate) struct Watch {
    block: u64,
    blocks: u64,
    end: Instant,
    start: Option<Instant>,
    rng: fastrand::Rng,
    pub(crate) latencies: Histogram<u64>,
}

impl Watch {
    pub(crate) fn start(load: &Load) -> Result<Self> {
        Ok(Self {
            block: load.block as u64,
            blocks: load.blocks,
            end: Instant::now() + load.time,
            start: None,
            rng: fastrand::Rng::new(),
            latencies: histogram()?,
        })
    }

    /// Returns the offset of the next read, unless the time is over. The last one has ended.
    pub(crate) fn next_offset(&mut self) -> Result<Option<u64>> {
        let now = Instant::now();
        if let Some(start) = self.start {
            self.latencies.record((now - start).as_nanos() as u64)?;
        }
        self.start = Some(now);
        Ok((now < self.end).then(|| self.rng.u64(..self.blocks) * self.block))
    }
}

/// Returns the size of a file or a block device.
pub(crate) fn size(mut file: &std::fs::File) -> Result<u64> {
    Ok(file.seek(SeekFrom::End(0))?)
}

/// Holds the results.
pub(crate) struct Outcome {
    pub(crate) latencies: Histogram<u64>,
    elapsed: Duration,
    cpu: Duration,
    pub(crate) stats: Option<DriverStats>,
}

impl Outcome {
    pub(crate) fn reads_per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn cpu_micros_per_read(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.latencies.len() as f64
    }
}

/// Measures time, and the CPU time of the whole process.
pub(crate) struct Meter {
    start: Instant,
    cpu: Duration,
}

impl Meter {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), cpu: cpu_time() }
    }

    pub(crate) fn stop(self, latencies: Histogram<u64>) -> Outcome {
        let (elapsed, cpu) = (self.start.elapsed(), cpu_time() - self.cpu);
        Outcome { latencies, elapsed, cpu, stats: None }
    }
}

/// Nanoseconds, to three digits.
pub(crate) fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new(3)?)
}

/// Reads by the driver, on a runtime of one thread.
pub(crate) fn driver(load: &Load) -> Result<Outcome> {
    Builder::new_current_thread().enable_all().build()?.block_on(by_driver(load))
}

async fn by_driver(load: &Load) -> Result<Outcome> {
    let driver = new_driver(load.depth)?;
    let file = File::from_std(load.file.try_clone()?, &driver)?;
    let meter = Meter::start();
    let latencies = in_tasks(load, || read_by_driver(load.clone(), file.clone())).await?;
    let mut outcome = meter.stop(latencies);
    outcome.stats = Some(driver.stats());
    driver.close().await;
    Ok(outcome)
}

async fn read_by_driver(load: Load, file: File) -> Result<Histogram<u64>> {
    let (mut watch, mut buf) = (Watch::start(&load)?, load.buffer()?);
    while let Some(offset) = watch.next_offset()? {
        let read;
        (read, buf) = file.read_at(buf, offset).await;
        ensure!(read? == load.block, "a short read");
    }
    Ok(watch.latencies)
}

/// Runs as many tasks as reads are to be in flight, and puts their latencies together.
pub(crate) async fn in_tasks<F>(load: &Load, task: impl Fn() -> F) -> Result<Histogram<u64>>
where
    F: Future<Output = Result<Histogram<u64>>> + Send + 'static,
{
    let mut tasks: JoinSet<_> = (0..load.depth).map(|_| task()).collect();
    let mut all = histogram()?;
    while let Some(latencies) = tasks.join_next().await {
        all.add(latencies??)?;
    }
    Ok(all)
}
