//! `aio-bench`, run as a program: its table, and that what is there is only read.

use crate::common::device::LoopDevice;
use crate::common::files::scratch;
use crate::common::skip;
use crate::program::{command, names, run};
use std::fs;
use std::path::Path;

/// Goal: a row of plausible numbers for pread and for each depth, for reads and for writes, and
/// nothing left. Method: a small file, short passes.
#[test]
fn it_prints_a_row_for_each_depth_and_leaves_nothing() {
    let bench = Path::new(env!("CARGO_BIN_EXE_aio-bench"));
    for (options, blocking) in [(&[][..], "pread"), (&["--write"][..], "pwrite")] {
        let dir = scratch();
        let mut command = command(bench);
        command.args(["--size", "1MiB", "--seconds", "0.05", "--depth", "1,16"]).args(options);
        let printed = run(command.arg(dir.path()));
        assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""), "{}", printed.out);
        for (name, depth) in [(blocking, "1"), ("linux-aio", "1"), ("linux-aio", "16")] {
            let of_pass = |line: &&str| {
                let mut cells = line.split_whitespace();
                cells.next() == Some(name) && cells.next() == Some(depth)
            };
            let row = printed.out.lines().find(of_pass);
            let row = row.unwrap_or_else(|| panic!("{name}, {depth}: {}", printed.out));
            let cells = row.split_whitespace().skip(2).filter(|cell| *cell != "–");
            let numbers: Vec<f64> = cells.map(|cell| cell.parse().expect("a number")).collect();
            assert_eq!(numbers.len(), if name == blocking { 7 } else { 9 }, "{row}");
            assert!(numbers[0] > 0.0 && numbers[3..7].is_sorted(), "{row}");
        }
        assert_eq!(names(dir.path()), [""; 0]);
    }
}

/// Goal: the JSON has the passes in order, with numbers that fit each other.
#[test]
fn the_json_has_each_pass() {
    let bench = Path::new(env!("CARGO_BIN_EXE_aio-bench"));
    let dir = scratch();
    let mut command = command(bench);
    command.args(["--json", "--size", "1MiB", "--seconds", "0.05", "--depth", "1,16"]);
    let printed = run(command.arg(dir.path()));
    assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""), "{}", printed.out);
    let document: serde_json::Value = serde_json::from_str(&printed.out).expect("JSON");
    assert_eq!(document["measured"]["block_bytes"], 4096);
    assert_eq!(document["measured"]["size_bytes"], 1 << 20);
    let passes = document["passes"].as_array().expect("an array");
    let name = |pass: &serde_json::Value| (pass["method"].clone(), pass["depth"].clone());
    let names: Vec<_> = passes.iter().map(name).collect();
    assert_eq!(
        names,
        [("pread", 1), ("linux-aio", 1), ("linux-aio", 16)].map(|(m, d)| (m.into(), d.into()))
    );
    for pass in passes {
        let latency = &pass["latency_ns"];
        let latencies = ["p50", "p99", "p99_9", "max"].map(|name| latency[name].as_u64());
        assert!(latencies[0] > Some(0) && latencies.is_sorted(), "{pass}");
        assert!(pass["operations"].as_u64() > Some(0), "{pass}");
        assert_eq!(pass["io_submit_calls"].is_null(), pass["method"] == "pread", "{pass}");
    }
}

/// Goal: a block that the device does not take is refused with one that it takes, which then works.
#[test]
fn a_block_that_is_too_small_is_refused_with_one_that_fits() {
    let bench = Path::new(env!("CARGO_BIN_EXE_aio-bench"));
    let dir = scratch();
    let image = dir.path().join("image");
    fs::write(&image, vec![7; 1 << 20]).expect("it can be written");
    let device = match LoopDevice::with_sectors(&image, 4096) {
        Ok(device) => device,
        Err(reason) => skip!("{reason}"),
    };
    for (block, code) in [("512", 1), ("4096", 0), ("1KiB", 1), ("8KiB", 0)] {
        let mut command = command(bench);
        command.args(["--seconds", "0.05", "--depth", "2", "--block", block]);
        let printed = run(command.arg(&device.path));
        assert_eq!(printed.code, Some(code), "{block}: {}{}", printed.out, printed.err);
        let named = printed.err.contains("multiples of 4096 bytes: try --block 4096");
        assert_eq!(named, code == 1, "{block}: {}", printed.err);
    }
}

/// Goal: a file that is there is read and not changed, and not written to even if asked.
#[test]
fn what_is_there_is_only_read() {
    let bench = Path::new(env!("CARGO_BIN_EXE_aio-bench"));
    let dir = scratch();
    let file = dir.path().join("file");
    let content: Vec<_> = (0..64 << 10).map(|at: u32| at as u8).collect();
    fs::write(&file, &content).expect("it can be written");
    for (options, code) in [(&[][..], 0), (&["--write"][..], 1)] {
        let mut command = command(bench);
        command.args(["--seconds", "0.05", "--depth", "8"]).args(options);
        let printed = run(command.arg(&file));
        assert_eq!(printed.code, Some(code), "{}{}", printed.out, printed.err);
        assert_eq!(fs::read(&file).expect("it is there"), content);
    }
}
