//! The result for programs: the numbers of the table, without rounding, each with its unit.

use crate::Pass;
use crate::file::Measured;
use anyhow::Result;
use serde_json::{Value, json};
use std::io::{Write, stdout};

/// Collects the passes, since one document is printed at the end.
pub(crate) struct Document {
    measured: Value,
    passes: Vec<Value>,
}

impl Document {
    pub(crate) fn begin(measured: &Measured, writes: bool) -> Self {
        let measured = json!({
            "path": measured.path.to_string_lossy(),
            "temporary_file": measured.is_scratch,
            "direct": measured.is_direct,
            "size_bytes": measured.size,
            "block_bytes": measured.block,
            "writes": writes,
        });
        Self { measured, passes: Vec::new() }
    }

    pub(crate) fn pass(&mut self, method: &str, depth: u32, pass: &Pass) {
        let operations = pass.latencies.len();
        let seconds = pass.elapsed.as_secs_f64();
        let nanos = |quantile| pass.latencies.value_at_quantile(quantile);
        let calls = |calls: u64| (pass.stats.operations != 0).then_some(calls);
        self.passes.push(json!({
            "method": method,
            "depth": depth,
            "operations": operations,
            "seconds": seconds,
            "operations_per_second": operations as f64 / seconds,
            "cpu_seconds": pass.cpu.as_secs_f64(),
            "latency_ns": {
                "p50": nanos(0.5),
                "p99": nanos(0.99),
                "p99_9": nanos(0.999),
                "max": nanos(1.0),
            },
            "io_submit_calls": calls(pass.stats.submit_calls),
            "io_getevents_calls": calls(pass.stats.getevents_calls),
        }));
    }

    pub(crate) fn print(self) -> Result<()> {
        let Self { measured, passes } = self;
        writeln!(stdout().lock(), "{:#}", json!({ "measured": measured, "passes": passes }))?;
        Ok(())
    }
}
