//! Runs the example `callbacks` as a program.

use crate::NOT_BUILT;
use crate::common::files::{pattern, scratch};
use crate::common::{Watchdog, skip};
use crate::program::{command, example, kill, open_files, printed, run};
use rustix::process::Signal;
use std::fs;
use std::path::Path;

/// Goal: each chain sums its own file, in the order of the arguments. Method: files of sizes about
/// the block's, among them an empty one and one that ends with a block.
#[test]
fn every_file_has_its_checksum() {
    let Some(callbacks) = example("callbacks") else { skip!("{NOT_BUILT}") };
    let _watchdog = Watchdog::new();
    let dir = scratch();
    let mut command = command(&callbacks);
    let mut expected = String::new();
    for size in [0, 1, 65_535, 65_536, 65_537, 1_000_000] {
        let path = dir.path().join(size.to_string());
        let content = pattern(size);
        fs::write(&path, &content).expect("a file");
        command.arg(&path);
        expected += &format!("{:08x}  {}\n", crc32c::crc32c(&content), path.display());
    }
    let printed = run(&mut command);
    assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""));
    assert_eq!(printed.out, expected);
}

/// Goal: a file that cannot be read fails alone. Method: the memory of the process, in which
/// nothing is mapped at zero.
#[test]
fn a_file_that_fails_does_not_keep_the_others() {
    let Some(callbacks) = example("callbacks") else { skip!("{NOT_BUILT}") };
    let dir = scratch();
    let good = dir.path().join("good");
    fs::write(&good, "123456789").expect("a file");
    let printed = run(command(&callbacks).arg("/proc/self/mem").arg(&good));
    assert_eq!(printed.code, Some(1));
    assert_eq!(printed.out, format!("e3069283  {}\n", good.display()));
    assert!(printed.err.starts_with("callbacks: /proc/self/mem: E"), "{}", printed.err);

    let printed = run(command(&callbacks).arg(&good).arg("/nonexistent"));
    assert_eq!((printed.code, printed.out.as_str()), (Some(1), ""));
    assert!(printed.err.starts_with("callbacks: /nonexistent: No such file"), "{}", printed.err);
}

/// Goal: Ctrl-C comes through the queue and ends the chain that would not end. Method: a file
/// without end, and the signal once it is open.
#[test]
fn an_interrupt_ends_a_chain_without_end() {
    let Some(callbacks) = example("callbacks") else { skip!("{NOT_BUILT}") };
    let _watchdog = Watchdog::new();
    let mut child = command(&callbacks).arg("/dev/zero").spawn().expect("it starts");
    // The handler is there before the file is opened.
    while !open_files(&child).iter().any(|(_, path)| path == Path::new("/dev/zero")) {
        assert!(child.try_wait().expect("a child of ours").is_none(), "it has ended");
    }
    kill(&child, Signal::INT);
    let printed = printed(&child.wait_with_output().expect("a child of ours"));
    assert_eq!((printed.code, printed.out.as_str()), (Some(1), ""));
    assert_eq!(printed.err, "callbacks: /dev/zero: interrupted\n");
}
