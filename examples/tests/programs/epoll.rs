//! Runs the example `epoll` as a program.

use crate::NOT_BUILT;
use crate::common::files::file_with;
use crate::common::{Watchdog, skip};
use crate::program::{command, example, run};
use std::io::{BufRead, BufReader};

/// Goal: every byte is read, once, and then the program ends. Method: files whose sizes lie on,
/// below and above the blocks and the depth, and none at all.
#[test]
fn a_file_is_read_whole() {
    let Some(epoll) = example("epoll") else { skip!("{NOT_BUILT}") };
    let _watchdog = Watchdog::new();
    let block = 64 << 10;
    for size in [0, 1, block - 1, block, block + 1, 8 * block, 9 * block + 7, 40 * block] {
        let (_dir, path, _file) = file_with(&vec![7; size]);
        let printed = run(command(&epoll).arg(&path));
        assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""));
        assert!(printed.out.ends_with(&format!("{size} bytes read\n")), "{}", printed.out);
    }
}

/// Goal: the timer comes through while the disk never rests. Method: a file without end, until two
/// ticks were seen.
#[test]
fn the_timer_ticks_while_it_reads() {
    let Some(epoll) = example("epoll") else { skip!("{NOT_BUILT}") };
    let _watchdog = Watchdog::new();
    let mut child = command(&epoll).arg("/dev/zero").spawn().expect("it starts");
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    let lines: Vec<String> = out.lines().take(2).map(|line| line.expect("UTF-8")).collect();
    child.kill().expect("a child of ours");
    child.wait().expect("a child of ours");
    let bytes = lines.iter().map(|line| {
        let bytes = line.strip_prefix("tick: ").and_then(|line| line.strip_suffix(" bytes read"));
        bytes.and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or_else(|| panic!("{line}"))
    });
    assert!(bytes.is_sorted_by(|earlier, later| earlier < later), "{lines:?}");
}

/// Goal: what cannot be read is named.
#[test]
fn a_file_that_is_not_there_is_an_error() {
    let Some(epoll) = example("epoll") else { skip!("{NOT_BUILT}") };
    for (path, message) in [("/nonexistent", "No such file"), ("/proc", "is a directory")] {
        let printed = run(command(&epoll).arg(path));
        assert_eq!((printed.code, printed.out.as_str()), (Some(1), ""));
        assert!(printed.err.starts_with(&format!("epoll: {path}")), "{}", printed.err);
        assert!(printed.err.contains(message), "{}", printed.err);
    }
}
