//! Runs the examples that show what a driver does, as programs.

use crate::NOT_BUILT;
use crate::common::files::{file_with, pattern};
use crate::common::{Watchdog, skip};
use crate::program::{command, example, run};

/// Goal: the recorder of Prometheus has the numbers of the driver. Method: the text of
/// `metrics_export` for a file of known size.
#[test]
fn metrics_export_prints_what_prometheus_sees() {
    let Some(export) = example("metrics_export") else { skip!("{NOT_BUILT}") };
    let _watchdog = Watchdog::new();
    let (_dir, path, _file) = file_with(&pattern(200_000));
    let printed = run(command(&export).arg(&path));
    assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""));
    for line in [
        "# HELP linux_aio_operations_total Operations that have completed.",
        "# TYPE linux_aio_operations_total counter",
        "linux_aio_operations_total{driver=\"example\",operation=\"fdsync\"} 1",
        "linux_aio_failed_operations_total{driver=\"example\",operation=\"fdsync\"} 0",
        "# TYPE linux_aio_in_kernel_seconds_p99 gauge",
    ] {
        assert!(printed.out.lines().any(|found| found == line), "{line} in {}", printed.out);
    }
}

/// Goal: each operation is a span with its outcome, inside of the caller's. Method: the lines of
/// `tracing_spans`, which performs known operations.
#[test]
fn tracing_spans_prints_each_operation() {
    let Some(spans) = example("tracing_spans") else { skip!("{NOT_BUILT}") };
    let _watchdog = Watchdog::new();
    let (_dir, path, _file) = file_with(&pattern(6000));
    let printed = run(command(&spans).arg(&path));
    assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""));
    let of_request = format!("request{{path={}}}:operation{{", path.display());
    let operations: Vec<_> = printed
        .out
        .lines()
        .filter_map(|line| line.split_once(&of_request))
        .map(|it| it.1)
        .collect();
    let due = [
        ("kind=\"pread\"", "offset=0 length=4096 result=4096}"),
        ("kind=\"pread\"", "offset=4096 length=4096 result=1904}"),
        ("kind=\"fsync\"", "result=0}"),
        ("kind=\"fsync\"", "error=EINVAL}"),
        ("kind=\"poll\"", "left=\"deadline\"}"),
    ];
    assert_eq!(operations.len(), due.len(), "{}", printed.out);
    for (operation, (kind, end)) in operations.iter().zip(due) {
        assert!(operation.starts_with(kind) && operation.contains(end), "{operation}");
    }
}
