//! SIGKILL at random moments of `aio-copy --verify`: under the target's name there is the old file
//! or the whole copy, and beside it nothing but what the program says it may leave.
//!
//! Eight times; `LINUX_AIO_KILLS` asks for another number.

use crate::common::files::{pattern, scratch};
use crate::common::{self, skip};
use crate::program::{can_mount, command, command_with_tmpfs, kill, names};
use rustix::process::Signal;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

fn kills() -> usize {
    let asked = std::env::var("LINUX_AIO_KILLS").ok();
    asked.map_or(8, |kills| kills.parse().expect("LINUX_AIO_KILLS is a number"))
}

/// Counts how often a kill found the copy at work, and how often it left a temporary name.
#[derive(Default)]
struct Tally {
    killed: usize,
    whole_already: usize,
    temporary: usize,
}

/// Kills `times` copies, each at a moment of its own. `leftover` judges a temporary file by its
/// content, beside the new one's.
fn kill_copies(times: usize, copy: impl Fn(&Path, &Path) -> Command, leftover: fn(&[u8], &[u8])) {
    let dir = scratch();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    let new = pattern((6 << 20) + 321);
    fs::write(&source, &new).expect("a file");
    let command = || {
        let mut command = copy(&source, &target);
        command.args(["--verify", "--block", "64KiB", "--depth", "4"]);
        command
    };
    let start = Instant::now();
    assert!(command().status().expect("it starts").success());
    let whole = start.elapsed();

    let mut tally = Tally::default();
    for _ in 0..times {
        fs::write(&target, "old").expect("a file");
        let mut child = command().spawn().expect("it starts");
        std::thread::sleep(whole.mul_f64(fastrand::f64() * 1.1));
        kill(&child, Signal::KILL);
        let ended = child.wait().expect("a child of ours");
        let found = fs::read(&target).expect("it is there");
        assert!(
            found == b"old" || found == new,
            "{} bytes are under the target's name",
            found.len()
        );
        if ended.signal() == Some(Signal::KILL.as_raw()) {
            tally.killed += 1;
            tally.whole_already += usize::from(found == new);
        } else {
            assert!(ended.success() && found == new, "{ended}");
        }
        for name in names(dir.path()) {
            if name == "source" || name == "target" {
                continue;
            }
            assert!(name.to_string_lossy().starts_with(".copy-"), "{name:?}");
            let path = dir.path().join(name);
            leftover(&fs::read(&path).expect("a file"), &new);
            fs::remove_file(path).expect("it is there");
            tally.temporary += 1;
        }
    }
    let Tally { killed, whole_already, temporary } = tally;
    common::say_count(&format!(
        "{times} copies, {killed} of them killed at work ({whole_already} with the copy in place), \
         {temporary} temporary names left"
    ));
    assert!(killed > 0, "it was always faster than the signal");
}

/// Goal: as above. Method: where files without a name can be made, not even SIGKILL leaves one that
/// is not whole.
#[test]
fn a_killed_copy_leaves_the_old_file_or_the_whole_copy() {
    let copy = Path::new(env!("CARGO_BIN_EXE_aio-copy"));
    let copy = |source: &Path, target: &Path| {
        let mut command = command(copy);
        command.arg(source).arg(target);
        command
    };
    kill_copies(kills(), copy, |left, new| {
        assert!(left == new, "a temporary file of {} bytes is left", left.len());
    });
}

/// Goal: the same where every file has a name from the start; that of an unfinished one may stay.
/// Method: hide /proc, without which a nameless file cannot get its name. Half as often.
#[test]
fn a_killed_copy_without_nameless_files_does_so_too() {
    let copy = Path::new(env!("CARGO_BIN_EXE_aio-copy"));
    if !can_mount() {
        skip!("hiding /proc takes root or user namespaces");
    }
    let copy = |source: &Path, target: &Path| {
        let mut command = command_with_tmpfs(copy, "size=4k", Path::new("/proc"));
        command.arg(source).arg(target);
        command
    };
    kill_copies(kills().div_ceil(2), copy, |left, new| {
        let size = new.len().next_multiple_of(4096);
        assert!(left.len() <= size, "a temporary file of {} bytes is left", left.len());
    });
}
