//! The tables that are shown.

use crate::Pass;
use crate::file::Measured;
use anyhow::Result;
use bytesize::ByteSize;
use std::io::{Write, stdout};

pub(crate) struct Table {
    block: usize,
}

impl Table {
    pub(crate) fn begin(measured: &Measured, writes: bool) -> Result<Self> {
        let mut out = stdout().lock();
        let verb = if writes { "writes to" } else { "reads of" };
        let what = if measured.is_scratch { "a nameless file in " } else { "" };
        let (block, size) = (size_text(measured.block as u64), size_text(measured.size));
        let path = measured.path.display();
        writeln!(out, "Random {verb} {what}{path}, {size}, in blocks of {block}.")?;
        if !measured.is_direct {
            writeln!(
                out,
                "Note: there is no O_DIRECT here. Through the page cache io_submit does the whole work \
                 itself: expect\nmemory's speed, and no gain from depth."
            )?;
        }
        writeln!(
            out,
            "\n{:<10} {:>5}  {:>12}  {:>7}  {:>9}  {:>35}  {:>23}",
            "", "", "", "", "processor", "latency in µs", "calls per 1000 ops"
        )?;
        writeln!(
            out,
            "{:<10} {:>5}  {:>12}  {:>7}  {:>9}  {:>8} {:>8} {:>8} {:>8}  {:>10} {:>12}",
            "",
            "depth",
            "operations/s",
            "MB/s",
            "µs per op",
            "p50",
            "p99",
            "p99.9",
            "max",
            "io_submit",
            "io_getevents"
        )?;
        Ok(Self { block: measured.block })
    }

    pub(crate) fn row(&self, name: &str, depth: u32, pass: &Pass) -> Result<()> {
        let operations = pass.latencies.len() as f64;
        let seconds = pass.elapsed.as_secs_f64();
        let micros = |quantile| pass.latencies.value_at_quantile(quantile) as f64 / 1e3;
        let in_1000 = |calls: u64| format!("{:.0}", calls as f64 / operations * 1e3);
        let (submits, waits) = match pass.stats.operations {
            0 => ("–".into(), "–".into()),
            _ => (in_1000(pass.stats.submit_calls), in_1000(pass.stats.getevents_calls)),
        };
        writeln!(
            stdout().lock(),
            "{name:<10} {depth:>5}  {:>12.0}  {:>7.0}  {:>9.2}  {:>8.1} {:>8.1} {:>8.1} {:>8.1}  \
             {submits:>10} {waits:>12}",
            operations / seconds,
            operations * self.block as f64 / seconds / 1e6,
            pass.cpu.as_secs_f64() * 1e6 / operations,
            micros(0.5),
            micros(0.99),
            micros(0.999),
            micros(1.0),
        )?;
        Ok(())
    }
}

/// Returns a size as "256 MiB" or "1.5 GiB".
fn size_text(bytes: u64) -> String {
    ByteSize(bytes).to_string().replace(".0 ", " ")
}
