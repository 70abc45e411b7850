//! Runs the example `quickstart` as a program: its table, its notes, its errors, and that nothing
//! is left of it.

use crate::NOT_BUILT;
use crate::common::files::scratch;
use crate::common::{Watchdog, filter, skip};
use crate::program::unfinished_file;
use crate::program::{can_mount, command, command_with_tmpfs, example, kill, names, printed, run};
use rustix::process::Signal;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;

/// Goal: a pipe gets the introduction and a row for each pass, in plain text, and the directory is
/// left as it was. Method: a small file.
#[test]
fn it_prints_a_table_and_leaves_nothing() {
    let Some(quickstart) = example("quickstart") else { skip!("{NOT_BUILT}") };
    let dir = scratch();
    let printed = run(command(&quickstart).args(["--size", "2MiB"]).arg(dir.path()));
    assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""), "{}", printed.out);
    assert!(!printed.out.contains('\x1b'), "{}", printed.out);
    assert!(printed.out.starts_with("Writes 2 MiB to a nameless file"), "{}", printed.out);
    for header in ["operations/s", "MB/s", "p50", "p99", "max", "io_submit", "no system call"] {
        assert!(printed.out.contains(header), "{header}: {}", printed.out);
    }
    let rows = [("write 1 MiB", "8"), ("read 16 KiB", "1"), ("read 16 KiB", "4")];
    for (name, depth) in rows.into_iter().chain([("read 16 KiB", "16"), ("read 16 KiB", "64")]) {
        let of_pass = |line: &&str| {
            let rest = line.strip_prefix(name).unwrap_or_default();
            rest.split_whitespace().next() == Some(depth)
        };
        let row = printed.out.lines().find(of_pass);
        let row = row.unwrap_or_else(|| panic!("{name}, {depth}: {}", printed.out));
        let cells = row[name.len()..].split_whitespace().filter(|cell| *cell != "%");
        let numbers: Vec<f64> = cells.map(|cell| cell.parse().expect("a number")).collect();
        assert_eq!(numbers.len(), 9, "{row}");
        assert!(numbers[1] > 0.0 && numbers[3] <= numbers[4] && numbers[4] <= numbers[5], "{row}");
        assert!((0.0..=100.0).contains(&numbers[8]), "{row}");
    }
    assert!(printed.out.contains("128 blocks were read 4 times; every checksum is right."));
    assert_eq!(names(dir.path()), [""; 0]);
}

/// Returns whether this process ignores a signal, and so its children do: a shell has programs in
/// the background ignore SIGINT.
fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("/proc");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask");
    let mask = u64::from_str_radix(mask.trim(), 16).expect("a number");
    mask >> (signal.as_raw() - 1) & 1 != 0
}

/// Goal: nothing is left however it is ended. Method: signals while the file is open.
#[test]
fn killed_it_leaves_nothing() {
    let Some(quickstart) = example("quickstart") else { skip!("{NOT_BUILT}") };
    let _watchdog = Watchdog::new();
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        if is_ignored(signal) {
            continue;
        }
        let dir = scratch();
        let mut command = command(&quickstart);
        let mut child = command.args(["--size", "1GiB"]).arg(dir.path()).spawn().expect("starts");
        let caught = unfinished_file(&mut child, dir.path());
        assert!(caught.is_some(), "{:?}", child.wait_with_output());
        kill(&child, signal);
        let status = child.wait().expect("a child of ours");
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
        assert_eq!(names(dir.path()), [""; 0], "{signal:?}");
    }
}

/// Goal: a path that cannot be used is refused by name, with the cure. Method: a file, a directory
/// that is not there, one that cannot be written to.
#[test]
fn a_path_that_will_not_do_is_an_error_with_a_cure() {
    let Some(quickstart) = example("quickstart") else { skip!("{NOT_BUILT}") };
    let dir = scratch();
    let file = dir.path().join("file");
    fs::write(&file, "precious").expect("a file");
    let missing = dir.path().join("no/where");
    let cases = [
        (file.as_path(), "will not be touched (name a directory)"),
        (missing.as_path(), "is not there (name a directory)"),
        (Path::new("/proc"), "no file can be made in /proc (name a directory"),
    ];
    for (path, message) in cases {
        let printed = run(command(&quickstart).arg(path));
        assert_eq!((printed.code, printed.out.as_str()), (Some(1), ""));
        assert!(printed.err.starts_with("quickstart: "), "{}", printed.err);
        assert!(printed.err.contains(message), "{}", printed.err);
    }
    assert_eq!(fs::read(&file).expect("it is still there"), b"precious");

    let new = dir.path().join("new");
    let printed = run(command(&quickstart).args(["--size", "1MiB"]).arg(&new));
    assert_eq!(printed.code, Some(0), "{}", printed.err);
    assert_eq!(names(dir.path()), ["file"]);
}

/// Goal: a size that is no number of chunks is refused before anything is done.
#[test]
fn a_size_that_will_not_do_is_a_usage_error() {
    let Some(quickstart) = example("quickstart") else { skip!("{NOT_BUILT}") };
    for size in ["0", "1000", "3MB", "many"] {
        let printed = run(command(&quickstart).args(["--size", size]));
        assert_eq!((printed.code, printed.out.as_str()), (Some(2), ""), "{size}");
        assert!(printed.err.contains("--size"), "{}", printed.err);
    }
}

/// Goal: where AIO is refused, it says by whom and what to do. Method: a filter as containers have.
#[test]
fn without_aio_it_names_cause_and_cure() {
    let Some(quickstart) = example("quickstart") else { skip!("{NOT_BUILT}") };
    if !filter::filters_work() {
        skip!("this kernel takes no seccomp filters");
    }
    let cases = [
        (libc::EPERM, "a seccomp filter refuses io_setup; allow it"),
        (libc::ENOSYS, "this kernel has no AIO"),
    ];
    for (errno, message) in cases {
        let dir = scratch();
        let numbers: Vec<u32> = filter::aio_calls().into_iter().map(|(_, nr)| nr).collect();
        let mut command = command(&quickstart);
        command.args(["--size", "1MiB"]).arg(dir.path());
        // SAFETY: In the child before exec: two system calls and an allocation, which the C
        // library keeps usable there.
        unsafe {
            command.pre_exec(move || {
                filter::install(&numbers, filter::errno(errno));
                Ok(())
            })
        };
        let printed = run(&mut command);
        assert_eq!(printed.code, Some(1), "{}", printed.out);
        assert!(printed.err.contains(message), "{}", printed.err);
        assert_eq!(names(dir.path()), [""; 0]);
    }
}

/// Goal: a file system where nothing is asynchronous is named as such, and the rest goes on; one
/// that is full is an error that names the sizes. Method: tmpfs, which has no O_DIRECT before Linux
/// 6.6 and completes everything inside of io_submit after it.
#[test]
fn a_file_system_in_memory_gets_a_note_and_a_full_one_an_error() {
    let Some(quickstart) = example("quickstart") else { skip!("{NOT_BUILT}") };
    if !can_mount() {
        skip!("mounting a tmpfs takes root or user namespaces");
    }
    let dir = scratch();
    let on_tmpfs = |size| {
        let mut command = command_with_tmpfs(&quickstart, "size=8m", dir.path());
        printed(&command.args(["--size", size]).arg(dir.path()).output().expect("it starts"))
    };
    let small = on_tmpfs("2MiB");
    assert_eq!(small.code, Some(0), "{}", small.err);
    assert!(small.out.contains("no gain from depth."), "{}", small.out);
    assert!(small.out.contains("every checksum is right"), "{}", small.out);

    let large = on_tmpfs("9MiB");
    assert_eq!((large.code, large.out.as_str()), (Some(1), ""));
    assert!(large.err.contains("9 MiB do not fit, 8 MiB are free (name"), "{}", large.err);
}
