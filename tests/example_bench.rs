//! The example `bench`, run as a program: its table, and that what is there is only read.
#![cfg(feature = "std")]

mod common;
#[path = "example/program.rs"]
mod program;

use common::files::scratch;
use common::skip;
use program::{command, example, names, run};
use std::fs;

const NOT_BUILT: &str = "the examples were not built with this test";

/// Goal: a row of plausible numbers for pread and for each depth, for reads and for writes, and
/// nothing left. Method: a small file, short passes.
#[test]
fn it_prints_a_row_for_each_depth_and_leaves_nothing() {
    let Some(bench) = example("bench") else { skip!("{NOT_BUILT}") };
    for (options, blocking) in [(&[][..], "pread"), (&["--write"][..], "pwrite")] {
        let dir = scratch();
        let mut command = command(&bench);
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

/// Goal: a file that is there is read and not changed, and not written to even if asked.
#[test]
fn what_is_there_is_only_read() {
    let Some(bench) = example("bench") else { skip!("{NOT_BUILT}") };
    let dir = scratch();
    let file = dir.path().join("file");
    let content: Vec<_> = (0..64 << 10).map(|at: u32| at as u8).collect();
    fs::write(&file, &content).expect("it can be written");
    for (options, code) in [(&[][..], 0), (&["--write"][..], 1)] {
        let mut command = command(&bench);
        command.args(["--seconds", "0.05", "--depth", "8"]).args(options);
        let printed = run(command.arg(&file));
        assert_eq!(printed.code, Some(code), "{}{}", printed.out, printed.err);
        assert_eq!(fs::read(&file).expect("it is there"), content);
    }
}
