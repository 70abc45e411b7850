//! `aio-copy` where calls and devices fail, and where it is stopped at any moment: the copy is
//! whole, or there is an error and the target is as it was.

use crate::common::device::LoopDevice;
use crate::common::files::{pattern, scratch};
use crate::common::{self, Watchdog, skip};
use crate::faults::injection::{Bench, CALLS, Effort, assert_well, effort, single_strikes};
use crate::faults::stops::pester;
use crate::faults::strace::{self, Injection, When};
use crate::program::{self, names};
use linux_aio::Errno;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const COPY: &str = env!("CARGO_BIN_EXE_aio-copy");

/// The copy of a few blocks.
struct Copy {
    dir: TempDir,
    target: PathBuf,
    content: Vec<u8>,
    command: Command,
}

impl Copy {
    fn new() -> Self {
        let dir = scratch();
        let (source, target) = (dir.path().join("source"), dir.path().join("target"));
        let content = pattern(5 * 4096 + 77);
        fs::write(&source, &content).expect("a file");
        let mut command = Command::new(COPY);
        command.arg(&source).arg(&target);
        Self { dir, target, content, command }
    }
}

/// Goal: a program on the queue ends well, or with the error by name and the target as it was.
/// Method: `aio-copy --verify` of a few blocks over an old file, each call failing once and for
/// good.
#[test]
fn a_copy_is_whole_or_an_error_whatever_call_fails() {
    if let Some(reason) = strace::missing() {
        skip!("{reason}");
    }
    let Copy { dir, target, content, mut command } = Copy::new();
    command.args(["--verify", "--block", "4KiB", "--depth", "2"]);
    let mut bench = Bench::new();
    for (call, errors) in CALLS {
        fs::write(&target, "old").expect("a file");
        let calls = bench.count(&command, call);
        let for_good = errors.iter().filter(|&&error| error != Some(Errno::EINTR));
        // Without resources for good the copy gives up after 30 seconds.
        let is_quick = |error| call != "io_submit" || !matches!(error, None | Some(Errno::EAGAIN));
        let for_good = for_good.filter(|&&error| effort() != Effort::Sample || is_quick(error));
        let for_good = for_good.map(|&error| (error, When::From(1)));
        for (error, when) in single_strikes(errors, calls).chain(for_good) {
            fs::write(&target, "old").expect("a file");
            let injection = Injection { call, error, when };
            let Some(struck) = bench.run(&command, &[injection]) else { continue };
            let found = fs::read(&target).expect("it is there");
            let text = String::from_utf8_lossy(&struck.output.stderr).into_owned();
            match struck.output.status.code() {
                Some(0) => assert!(found == content, "{injection:?}"),
                Some(1) => {
                    assert_eq!(found, b"old", "{injection:?}: {text}");
                    assert!(text.starts_with("aio-copy: "), "{injection:?}: {text}");
                    let of_return_value_0 = error.is_none() && text.contains("ETIMEDOUT");
                    let name = format!("{:?}", error.unwrap_or(Errno::EAGAIN));
                    assert!(text.contains(&name) || of_return_value_0, "{injection:?}: {text}");
                }
                _ => panic!("{injection:?}: {}: {text}", struck.output.status),
            }
            assert_eq!(names(dir.path()), ["source", "target"], "{injection:?}");
        }
    }
}

/// Goal: a signal during a call that reserves, truncates, flushes or names a file does not end the
/// copy: the call is made again. Method: each such call is interrupted once.
#[test]
fn an_interrupted_call_is_made_again() {
    if let Some(reason) = strace::missing() {
        skip!("{reason}");
    }
    let Copy { dir: _dir, target, content, command } = Copy::new();
    let mut bench = Bench::new();
    for call in ["fallocate", "ftruncate", "fsync", "linkat"] {
        let injection = Injection { call, error: Some(Errno::EINTR), when: When::Only(1) };
        if let Some(struck) = bench.run(&command, &[injection]) {
            assert_well(&struck, &[injection]);
        }
        assert!(fs::read(&target).expect("it is there") == content, "{call}");
    }
    assert!(bench.calls >= 3, "{} calls were interrupted", bench.calls);
}

/// Goal: a storm of stops, as by a debugger or a freezer, loses nothing of a copy. Method:
/// `aio-copy --verify`.
#[test]
fn a_copy_under_a_storm_of_stops_is_whole() {
    let _watchdog = Watchdog::new();
    let dir = scratch();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    let content = pattern((4 << 20) + 5);
    fs::write(&source, &content).expect("a file");
    let mut stops = 0;
    for _ in 0..10 {
        let mut command = program::command(Path::new(COPY));
        command.arg(&source).arg(&target).args(["--verify", "--block", "64KiB", "--depth", "4"]);
        let mut child = command.spawn().expect("it starts");
        stops += pester(&mut child);
        let printed = program::printed(&child.wait_with_output().expect("a child of ours"));
        assert_eq!((printed.code, &*printed.err), (Some(0), ""));
        assert!(fs::read(&target).expect("a copy") == content);
    }
    common::say_count(&format!("{stops} stops"));
}

/// Goal: a source that cannot be read to its end is an error that names it, and nothing is left.
/// Method: a loop device whose file was truncated to a quarter.
#[test]
fn a_copy_of_a_device_that_lost_its_end_is_an_error() {
    let dir = scratch();
    let backing = dir.path().join("backing");
    fs::write(&backing, pattern(2 << 20)).expect("a file");
    let device = match LoopDevice::over(&backing) {
        Ok(device) => device,
        Err(reason) => skip!("{reason}"),
    };
    let file = OpenOptions::new().write(true).open(&backing).expect("it is there");
    file.set_len(512 << 10).expect("a truncation");
    let target = dir.path().join("target");
    let printed = program::run(program::command(Path::new(COPY)).arg(&device.path).arg(&target));
    assert_eq!(printed.code, Some(1));
    assert!(printed.err.contains("reading") && printed.err.contains("EIO"), "{}", printed.err);
    assert_eq!(names(dir.path()), ["backing"]);
}
