//! The asynchronous examples, run as programs.

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/example/program.rs"]
mod program;

use common::files::{file_with, pattern};
use common::{Watchdog, skip};
use program::{command, example, run};

const NOT_BUILT: &str = "the examples were not built with this test";

/// Goal: `tokio_copy` copies what is there, and no more. Method: files whose ends are not aligned,
/// one that is empty, and a target that exists already.
#[test]
fn tokio_copy_copies_all() {
    let Some(copy) = example("tokio_copy") else { skip!("{NOT_BUILT}") };
    let _watchdog = Watchdog::new();
    for len in [0, 1, 4096, 3 * (256 << 10), 1_000_003] {
        let (dir, path, _file) = file_with(&pattern(len));
        let target = dir.path().join("target");
        let printed = run(command(&copy).args([&path, &target]));
        assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""));
        assert_eq!(printed.out, format!("{len} bytes copied\n"));
        assert!(std::fs::read(&target).expect("the target") == pattern(len));
        let again = run(command(&copy).args([&path, &target]));
        assert_eq!(again.code, Some(1));
        assert!(std::fs::read(&target).expect("the target") == pattern(len));
    }
}

/// Goal: `smol_read` reads all, in order. Method: the checksum of what was written.
#[test]
fn smol_read_reads_all() {
    let Some(read) = example("smol_read") else { skip!("{NOT_BUILT}") };
    let _watchdog = Watchdog::new();
    for len in [0, 1, 256 << 10, 5_000_001] {
        let (_dir, path, _file) = file_with(&pattern(len));
        let printed = run(command(&read).arg(&path));
        assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""));
        let checksum = crc32c::crc32c(&pattern(len));
        assert_eq!(printed.out, format!("{len} bytes, CRC-32C {checksum:08x}\n"));
    }
}
