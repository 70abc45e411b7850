//! Shows an introduction and the table.

use crate::scratch::Scratch;
use crate::{BLOCK, READ_DEPTHS, size};
use anyhow::Result;
use linux_aio::Stats;
use std::io::{Write, stdout};
use std::time::{Duration, Instant};

/// Holds the measurements of one pass over the file.
pub(crate) struct Pass {
    name: String,
    depth: u32,
    bytes_per_operation: usize,
    start: Instant,
    elapsed: Duration,
    /// Of each operation, sorted when the pass has ended.
    latencies: Vec<Duration>,
    stats: Stats,
}

impl Pass {
    pub(crate) fn start(verb: &str, bytes_per_operation: usize, depth: u32) -> Self {
        Self {
            name: format!("{verb} {}", size::text(bytes_per_operation as u64)),
            depth,
            bytes_per_operation,
            start: Instant::now(),
            elapsed: Duration::ZERO,
            latencies: Vec::new(),
            stats: Stats::default(),
        }
    }

    /// Counts an operation that took `latency` from push to completion.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.latencies.push(latency);
    }

    pub(crate) fn finish(&mut self, stats: Stats) {
        self.elapsed = self.start.elapsed();
        self.stats = stats;
        self.latencies.sort_unstable();
    }

    fn per_second(&self, amount: f64) -> f64 {
        amount / self.elapsed.as_secs_f64()
    }

    fn latency_us(&self, quantile: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * quantile).round() as usize;
        self.latencies.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    }

    /// Returns `count` for each operation.
    fn per_operation(&self, count: u64) -> f64 {
        count as f64 / self.latencies.len() as f64
    }
}

pub(crate) struct Report {
    has_header: bool,
}

impl Report {
    pub(crate) fn begin(scratch: &Scratch, size: u64) -> Result<Self> {
        let mut out = stdout().lock();
        writeln!(
            out,
            "Writes {} to a nameless file in {}, reads it back in random order in blocks of {},",
            size::text(size),
            scratch.directory.display(),
            size::text(BLOCK as u64),
        )?;
        writeln!(
            out,
            "and verifies every block. Depth is the number of operations that the kernel has at a \
             time."
        )?;
        if !scratch.is_direct {
            writeln!(
                out,
                "\nNote: this file system has no O_DIRECT. Going on through the page cache, where \
                 io_submit does\nthe whole work itself: expect memory's speed, and no gain from \
                 depth."
            )?;
        }
        Ok(Self { has_header: false })
    }

    pub(crate) fn note_synchronous(&mut self) -> Result<()> {
        writeln!(
            stdout().lock(),
            "\nNote: operations on this file system are complete when io_submit returns: it takes \
             O_DIRECT but has\nno asynchronous path. Going on; expect no gain from depth."
        )?;
        Ok(())
    }

    pub(crate) fn row(&mut self, pass: &Pass) -> Result<()> {
        let mut out = stdout().lock();
        if !self.has_header {
            self.has_header = true;
            write_header(&mut out)?;
        }
        let operations = pass.latencies.len();
        let bytes = operations as f64 * pass.bytes_per_operation as f64;
        writeln!(
            out,
            "{:<14} {:>5}  {:>12.0}  {:>6.0}  {:>7.0} {:>7.0} {:>7.0}  {:>10.0} {:>12.0}  {:>12.1} %",
            pass.name,
            pass.depth,
            pass.per_second(operations as f64),
            pass.per_second(bytes / 1e6),
            pass.latency_us(0.50),
            pass.latency_us(0.99),
            pass.latency_us(1.0),
            pass.per_operation(pass.stats.submit_calls) * 1e3,
            pass.per_operation(pass.stats.getevents_calls) * 1e3,
            pass.per_operation(pass.stats.events_by_ring) * 100.0,
        )?;
        Ok(())
    }

    pub(crate) fn end(&self, blocks: usize) -> Result<()> {
        writeln!(
            stdout().lock(),
            "\n{blocks} blocks were read {} times; every checksum is right. Nothing is left on \
             the disk.",
            READ_DEPTHS.len(),
        )?;
        Ok(())
    }
}

fn write_header(out: &mut impl Write) -> Result<()> {
    writeln!(
        out,
        "\n{:<14} {:>5}  {:>12}  {:>6}  {:>23}  {:>23}  {:>14}",
        "", "", "", "", "latency in µs", "calls per 1000 ops", "complete with"
    )?;
    writeln!(
        out,
        "{:<14} {:>5}  {:>12}  {:>6}  {:>7} {:>7} {:>7}  {:>10} {:>12}  {:>14}",
        "",
        "depth",
        "operations/s",
        "MB/s",
        "p50",
        "p99",
        "max",
        "io_submit",
        "io_getevents",
        "no system call"
    )?;
    Ok(())
}
