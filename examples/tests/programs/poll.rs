//! Runs the example `poll` as a program, without a terminal.

use crate::NOT_BUILT;
use crate::common::files::file_with;
use crate::common::{Watchdog, skip};
use crate::program::{command, example, printed, run};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

/// Goal: the file is read whole beside two POLLs, which are cancelled at its end. Method: a
/// standard input that stays open and silent, and a file of a known size.
#[test]
fn the_end_of_the_file_ends_it_and_cancels_the_polls() {
    let Some(poll) = example("poll") else { skip!("{NOT_BUILT}") };
    let _watchdog = Watchdog::new();
    let (_dir, path, _file) = file_with(&[7; 200_000]);
    let mut command = command(&poll);
    let mut child = command.arg(&path).stdin(Stdio::piped()).spawn().expect("it starts");
    let silent = child.stdin.take();
    let printed = printed(&child.wait_with_output().expect("a child of ours"));
    drop(silent);
    assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""));
    assert!(printed.out.contains("200000 bytes read: the file has ended\n"), "{}", printed.out);
    for poll in ["no longer waiting for a tick\n", "no longer waiting for a line\n"] {
        assert!(printed.out.contains(poll), "{}", printed.out);
    }
}

/// Goal: a tick and a line come through while the disk is kept busy. Method: a file without end,
/// a line once a tick was seen.
#[test]
fn a_line_ends_it_while_it_reads_and_ticks() {
    let Some(poll) = example("poll") else { skip!("{NOT_BUILT}") };
    let _watchdog = Watchdog::new();
    let mut command = command(&poll);
    let mut child = command.arg("/dev/zero").stdin(Stdio::piped()).spawn().expect("it starts");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    out.read_line(&mut line).expect("UTF-8");
    assert!(line.starts_with("tick: "), "{line}");
    child.stdin.take().expect("a pipe").write_all(b"\n").expect("it reads");
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("UTF-8");
    assert!(rest.contains("bytes read: a line has come\n"), "{rest}");
    assert!(rest.ends_with("no longer waiting for a tick\n"), "{rest}");
    assert!(child.wait().expect("a child of ours").success());
}

/// Goal: an input that has ended, or cannot be polled, does not stop it. Method: /dev/null.
#[test]
fn the_end_of_the_input_is_no_line() {
    let Some(poll) = example("poll") else { skip!("{NOT_BUILT}") };
    let (_dir, path, _file) = file_with(&[7; 1 << 20]);
    let printed = run(command(&poll).arg(&path));
    assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""));
    assert!(printed.out.contains("1048576 bytes read: the file has ended\n"), "{}", printed.out);
    assert!(printed.out.contains("standard input has ended"), "{}", printed.out);
}

/// Goal: what cannot be read is named.
#[test]
fn a_file_that_is_not_there_is_an_error() {
    let Some(poll) = example("poll") else { skip!("{NOT_BUILT}") };
    for (path, message) in [("/nonexistent", "No such file"), ("/proc", "is a directory")] {
        let printed = run(command(&poll).arg(path));
        assert_eq!((printed.code, printed.out.as_str()), (Some(1), ""));
        assert!(printed.err.starts_with(&format!("poll: {path}")), "{}", printed.err);
        assert!(printed.err.contains(message), "{}", printed.err);
    }
}
