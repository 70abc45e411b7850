//! `tokio_random_read`, run as a program.

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/example/program.rs"]
mod program;

use common::files::{file_with, open_direct};
use common::{Watchdog, skip};
use program::{command, run};
use std::path::Path;

/// Goal: `tokio_random_read` makes its file and reports in each way. Method: short runs of each.
#[test]
fn tokio_random_read_reports() {
    let read = Path::new(env!("CARGO_BIN_EXE_tokio_random_read"));
    let _watchdog = Watchdog::new();
    let (dir, probe, _file) = file_with(&[0; 4096]);
    if open_direct(&probe).is_none() {
        skip!("no O_DIRECT here");
    }
    let path = dir.path().join("made");
    for options in [&[][..], &["--buffered"]] {
        let load = ["--size", "1MiB", "--depth", "4", "--seconds", "1"];
        let printed = run(command(read).arg(&path).args(load).args(options));
        assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""));
        for part in ["reads/s", "99 % within", "calls of io_submit"] {
            assert!(printed.out.contains(part), "{}", printed.out);
        }
        assert_eq!(std::fs::metadata(&path).expect("the file").len(), 1 << 20);
    }
}
