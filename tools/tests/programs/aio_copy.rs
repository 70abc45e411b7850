//! `aio-copy`, run as a program: every size, holes, refusals, interruption at any moment.

use crate::common::device::LoopDevice;
use crate::common::files::{open_direct, pattern, scratch};
use crate::common::held::{HeldFile, short_content};
use crate::common::{Watchdog, is_root, skip};
use crate::program::{Printed, can_mount, command, command_with_tmpfs, kill, names, printed, run};
use crate::program::{open_files, unfinished_file};
use linux_aio::AlignedBuf;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// A directory with a source.
struct Files {
    dir: TempDir,
    source: PathBuf,
    target: PathBuf,
}

impl Files {
    fn new(content: &[u8]) -> Self {
        let dir = scratch();
        let (source, target) = (dir.path().join("source"), dir.path().join("target"));
        fs::write(&source, content).expect("a file");
        Self { dir, source, target }
    }

    fn command(&self, copy: &Path, options: &[&str]) -> Command {
        let mut command = command(copy);
        command.arg(&self.source).arg(&self.target).args(options);
        command
    }

    fn run(&self, copy: &Path, options: &[&str]) -> Printed {
        run(&mut self.command(copy, options))
    }
}

fn assert_silent_success(printed: &Printed) {
    assert_eq!((printed.code, &*printed.out, &*printed.err), (Some(0), "", ""));
}

/// Goal: any size arrives whole and nothing else appears. Method: sizes about those of sectors,
/// pages and blocks, and beyond what is in flight; blocks of the usual size and few small ones;
/// over a target that is longer.
#[test]
fn every_size_arrives_whole() {
    let copy = Path::new(env!("CARGO_BIN_EXE_aio-copy"));
    const MIB: usize = 1 << 20;
    let mut sizes = vec![0, 1, 511, 512, 513, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1];
    sizes.extend([3 * MIB, 3 * MIB + 12_345]);
    for size in sizes {
        let files = Files::new(&pattern(size));
        for options in [&["--verify"][..], &["--verify", "--block", "64KiB", "--depth", "3"]] {
            assert_silent_success(&files.run(copy, options));
            assert!(fs::read(&files.target).expect("a copy") == pattern(size), "{size}");
            assert_eq!(names(files.dir.path()), ["source", "target"]);
            fs::write(&files.target, pattern(size + 10_000)).expect("a longer file");
        }
    }
}

/// Goal: reads that are short in the middle of the file are no end of it, whatever count they give.
///
/// Method: a file system whose reads give half of what they ask for, in multiples of a sector, of
/// which less than the copy's unit remains.
#[test]
fn short_reads_in_the_middle_are_gone_on_with() {
    let _watchdog = Watchdog::new();
    let held = match HeldFile::short() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    let dir = scratch();
    let target = dir.path().join("target");
    let source = held.file().as_raw_fd();
    for options in [&["--block", "64KiB", "--verify"][..], &["--depth", "1"]] {
        let mut command = command(Path::new(env!("CARGO_BIN_EXE_aio-copy")));
        command.arg(format!("/proc/{}/fd/{source}", std::process::id())).arg(&target).args(options);
        assert_silent_success(&run(&mut command));
        assert!(fs::read(&target).expect("a copy") == short_content());
    }
}

/// Goal: holes stay holes, and read as zeros. Method: data at unaligned places of a sparse file.
#[test]
fn holes_stay_holes() {
    let copy = Path::new(env!("CARGO_BIN_EXE_aio-copy"));
    let files = Files::new(b"");
    let source = OpenOptions::new().write(true).open(&files.source).expect("a file");
    source.set_len(50_000_001).expect("a hole");
    for at in [12_345, 7_000_000, 49_999_990] {
        source.write_all_at(b"some data", at).expect("data");
    }
    let allocated = |path: &Path| path.metadata().expect("a file").blocks() * 512;
    if allocated(&files.source) > 10_000_000 {
        skip!("this file system has no holes");
    }
    assert_silent_success(&files.run(copy, &["--verify"]));
    let (expected, found) = (fs::read(&files.source), fs::read(&files.target));
    assert!(expected.expect("a file") == found.expect("a copy"));
    assert!(allocated(&files.target) < 10_000_000, "{}", allocated(&files.target));

    let hole = Files::new(b"");
    let source = OpenOptions::new().write(true).open(&hole.source).expect("a file");
    source.set_len(3_000_001).expect("a hole");
    assert_silent_success(&hole.run(copy, &["--verify"]));
    assert!(fs::read(&hole.target).expect("a copy") == vec![0; 3_000_001]);
}

/// Goal: the copy has the permissions of the source, but those that would lend ours to others.
#[test]
fn the_permissions_are_kept_but_not_set_user_id() {
    let copy = Path::new(env!("CARGO_BIN_EXE_aio-copy"));
    for (mode, expected) in [(0o640, 0o640), (0o444, 0o444), (0o755, 0o755), (0o4755, 0o755)] {
        let files = Files::new(b"data");
        fs::set_permissions(&files.source, Permissions::from_mode(mode)).expect("our file");
        assert_silent_success(&files.run(copy, &[]));
        let found = files.target.metadata().expect("a copy").mode() & 0o7777;
        assert_eq!(found, expected, "{mode:o}");
    }
}

/// Goal: a target is replaced and not written into; through a link, what it points to is. Method:
/// another name of the old file keeps the old content.
#[test]
fn a_target_is_replaced_also_behind_a_link() {
    let copy = Path::new(env!("CARGO_BIN_EXE_aio-copy"));
    let files = Files::new(b"new");
    let (old, link) = (files.dir.path().join("old"), files.dir.path().join("link"));
    fs::write(&files.target, "old content").expect("a file");
    fs::hard_link(&files.target, &old).expect("another name");
    symlink("target", &link).expect("a link");
    assert_silent_success(&run(command(copy).arg(&files.source).arg(&link)));
    assert_eq!(fs::read(&files.target).expect("a copy"), b"new");
    assert_eq!(fs::read(&old).expect("it is kept"), b"old content");
    assert_eq!(fs::read_link(&link).expect("it is kept"), Path::new("target"));
}

/// Goal: what must not be copied, or not be replaced, is refused by name and left alone.
#[test]
fn what_must_not_be_copied_or_replaced_is_refused() {
    let copy = Path::new(env!("CARGO_BIN_EXE_aio-copy"));
    let _watchdog = Watchdog::new();
    let files = Files::new(b"precious");
    let path = |name: &str| files.dir.path().join(name);
    fs::hard_link(&files.source, path("hard")).expect("another name");
    symlink("source", path("soft")).expect("a link");
    symlink("nothing", path("dangling")).expect("a link");
    fs::create_dir(path("dir")).expect("a directory");
    let made = Command::new("mkfifo").arg(path("fifo")).status().expect("mkfifo starts");
    assert!(made.success());
    let before = names(files.dir.path());

    let cases = [
        ("source", "source", "is the source itself"),
        ("source", "hard", "is the source itself"),
        ("source", "soft", "is the source itself"),
        ("soft", "hard", "is the source itself"),
        ("source", "dir", "is a directory; name the file in it"),
        ("source", ".", "is a directory; name the file in it"),
        ("source", "fifo", "is not a file; only files are replaced"),
        ("source", "dangling", "is a link to nothing"),
        ("source", "new/", "is no name for a file"),
        ("source", "missing/new", "no file can be made in"),
        ("source", "source/new", "Not a directory"),
        ("dir", "new", "is a directory; only files are copied"),
        ("fifo", "new", "is neither a file nor a block device"),
        ("/dev/zero", "new", "is neither a file nor a block device"),
        ("missing", "new", "No such file or directory"),
    ];
    for (source, target, message) in cases {
        let printed = run(command(copy).arg(path(source)).arg(path(target)));
        assert_eq!((printed.code, &*printed.out), (Some(1), ""), "{source} to {target}");
        assert!(printed.err.starts_with("aio-copy: "), "{}", printed.err);
        assert!(printed.err.contains(message), "{source} to {target}: {}", printed.err);
        assert_eq!(names(files.dir.path()), before, "{source} to {target}");
        assert_eq!(fs::read(&files.source).expect("a file"), b"precious");
    }
}

/// Goal: options that make no sense are usage errors.
#[test]
fn options_that_make_no_sense_are_usage_errors() {
    let copy = Path::new(env!("CARGO_BIN_EXE_aio-copy"));
    let files = Files::new(b"data");
    for options in [["--block", "1000"], ["--block", "0"], ["--block", "2GiB"], ["--depth", "0"]] {
        let printed = files.run(copy, &options);
        assert_eq!((printed.code, &*printed.out), (Some(2), ""), "{options:?}");
        assert!(printed.err.contains(options[0]), "{}", printed.err);
    }
    assert_eq!(names(files.dir.path()), ["source"]);
}

/// Goal: a directory that cannot be written to is an error that names it. Method: as root, who may
/// write anywhere, by running as somebody else.
#[test]
fn a_directory_that_cannot_be_written_to_is_an_error() {
    let copy = Path::new(env!("CARGO_BIN_EXE_aio-copy"));
    let files = Files::new(b"data");
    let dir = files.dir.path().join("dir");
    fs::create_dir(&dir).expect("a directory");
    fs::set_permissions(&dir, Permissions::from_mode(0o555)).expect("our directory");
    fs::set_permissions(files.dir.path(), Permissions::from_mode(0o755)).expect("ours too");
    fs::set_permissions(&files.source, Permissions::from_mode(0o644)).expect("our file");
    let mut command = command(copy);
    command.arg(&files.source).arg(dir.join("target"));
    if is_root() {
        command.uid(65_534);
    }
    let printed = match command.output() {
        Ok(output) => printed(&output),
        Err(error) => skip!("another user cannot run the example here: {error}"),
    };
    if printed.err.contains("source: Permission denied") {
        skip!("another user cannot read here: {}", printed.err);
    }
    assert_eq!(printed.code, Some(1));
    assert!(printed.err.contains("no file can be made in"), "{}", printed.err);
    assert!(printed.err.contains("dir: Permission denied"), "{}", printed.err);
    assert_eq!(names(&dir), [""; 0]);
}

/// Goal: whenever it is ended, the target's name is of the old file or of the whole copy, and
/// nothing is left beside it. Method: signals at random moments of a copy that takes a while.
/// (SIGKILL between two system calls may leave the whole copy's temporary name.)
#[test]
fn ended_at_any_moment_it_leaves_no_half_file() {
    let copy = Path::new(env!("CARGO_BIN_EXE_aio-copy"));
    let _watchdog = Watchdog::new();
    let new = pattern(40 << 20);
    let files = Files::new(&new);
    let mut interrupted = 0;
    for turn in 0..12 {
        let signal = [Signal::INT, Signal::TERM, Signal::KILL][turn % 3];
        fs::write(&files.target, "old").expect("a file");
        let mut child = files.command(copy, &["--block", "64KiB"]).spawn().expect("it starts");
        // The first turn of each signal catches it in the act; the others do as they may.
        if turn < 3 {
            unfinished_file(&mut child, files.dir.path());
        } else {
            std::thread::sleep(Duration::from_micros(fastrand::u64(0..200_000)));
        }
        kill(&child, signal);
        let output = child.wait_with_output().expect("a child of ours");
        let found = fs::read(&files.target).expect("it is there");
        if output.status.success() {
            assert!(found == new);
        } else {
            interrupted += 1;
            assert!(found == b"old" || (signal == Signal::KILL && found == new), "{output:?}");
            let by_signal = output.status.signal() == Some(signal.as_raw());
            assert!(by_signal || output.status.code() == Some(130), "{output:?}");
        }
        let mut left = names(files.dir.path());
        if signal == Signal::KILL {
            left.retain(|name| !is_whole_temporary(&files, name, &new));
        }
        assert_eq!(left, ["source", "target"], "{signal:?}");
    }
    assert!(interrupted > 0, "it was always faster than the signal");
}

/// Returns true if it is a temporary name of the whole copy. Removes it.
fn is_whole_temporary(files: &Files, name: &std::ffi::OsStr, new: &[u8]) -> bool {
    let path = files.dir.path().join(name);
    let is_temporary = name.to_string_lossy().starts_with(".copy-");
    let is_whole = is_temporary && fs::read(&path).expect("a file") == new;
    if is_whole {
        fs::remove_file(path).expect("it is there");
    }
    is_whole
}

/// Goal: a file system without nameless files serves as well. Method: hide /proc, without which
/// such a file cannot get its name. The temporary name goes on success and on a signal.
#[test]
fn without_nameless_files_nothing_is_left_either() {
    let copy = Path::new(env!("CARGO_BIN_EXE_aio-copy"));
    if !can_mount() {
        skip!("hiding /proc takes root or user namespaces");
    }
    let _watchdog = Watchdog::new();
    let new = pattern((16 << 20) + 1);
    let files = Files::new(&new);
    let start = |options: &[&str]| {
        let mut command = command_with_tmpfs(copy, "size=4k", Path::new("/proc"));
        command.arg(&files.source).arg(&files.target).args(options).spawn().expect("it starts")
    };
    let whole = start(&["--verify"]).wait_with_output().expect("a child of ours");
    assert_silent_success(&printed(&whole));
    assert!(fs::read(&files.target).expect("a copy") == new);
    assert_eq!(names(files.dir.path()), ["source", "target"]);

    fs::write(&files.target, "old").expect("a file");
    let mut child = start(&["--block", "4KiB", "--depth", "1"]);
    // At first it makes a nameless one, which it cannot use.
    let mut has_temporary = || {
        let unfinished = unfinished_file(&mut child, files.dir.path()).expect("it is under way");
        fs::read_link(unfinished).is_ok_and(|path| path.to_string_lossy().contains("/.copy-"))
    };
    while !has_temporary() {
        std::thread::yield_now();
    }
    kill(&child, Signal::INT);
    let printed = printed(&child.wait_with_output().expect("a child of ours"));
    assert_eq!(printed.code, Some(130), "{}", printed.err);
    assert_eq!(printed.err, "aio-copy: interrupted; the target was not touched\n");
    assert_eq!(fs::read(&files.target).expect("it is kept"), b"old");
    assert_eq!(names(files.dir.path()), ["source", "target"]);
}

/// Starts a slow copy of a long file and stops it when it has written its first block and not yet
/// read its last one.
fn stopped_in_the_middle(files: &Files, copy: &Path) -> Child {
    let last_but_one = files.source.metadata().expect("a file").len() - 2 * 4096;
    let slow = ["--block", "4KiB", "--depth", "1"];
    for _ in 0..20 {
        let mut child = files.command(copy, &slow).spawn().expect("it starts");
        let unfinished = unfinished_file(&mut child, files.dir.path());
        // It may be published, and closed, before this opens it.
        if let Some(target) = unfinished.and_then(|descriptor| File::open(descriptor).ok()) {
            while !is_written(&target, 0) && child.try_wait().expect("a child").is_none() {
                std::thread::yield_now();
            }
            if stop(&child) && !is_written(&target, last_but_one) {
                return child;
            }
        }
        kill(&child, Signal::KILL);
        child.wait().expect("a child of ours");
        fs::remove_file(&files.target).ok();
    }
    panic!("it is always faster than the signal");
}

/// Returns true if `pattern`, which is never zero, has arrived there in a file of zeros.
fn is_written(target: &File, at: u64) -> bool {
    let mut byte = [0];
    target.read_at(&mut byte, at).expect("a file") == 1 && byte != [0]
}

/// Stops a child, and waits until it has: false where it ended before.
fn stop(child: &Child) -> bool {
    kill(child, Signal::STOP);
    let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::Pid(Pid::from_child(child)), options).expect("a child of ours");
    status.expect("it was waited for").stopped()
}

/// Goal: a source that changes under it is an error, and there is no target. Method: stop it in the
/// middle, and extend, truncate or write the source.
#[test]
fn a_source_that_changes_is_an_error() {
    let copy = Path::new(env!("CARGO_BIN_EXE_aio-copy"));
    let _watchdog = Watchdog::new();
    const SIZE: u64 = 8 << 20;
    type Change = fn(&File) -> std::io::Result<()>;
    let changes: [(Change, &str); 4] = [
        (|file| file.set_len(SIZE + 1), "changed from 8388608 to 8388609 bytes while"),
        (|file| file.set_len(0), "ended at"),
        (|file| file.set_len(SIZE - 1), "ended at 8388607 while"),
        (|file| file.write_all_at(b"other", SIZE / 2), "was written while it was copied"),
    ];
    for (change, message) in changes {
        let files = Files::new(&pattern(SIZE as usize));
        // Not in the tick of the clock in which it is written below.
        let source = OpenOptions::new().write(true).open(&files.source).expect("a file");
        source.set_modified(SystemTime::UNIX_EPOCH).expect("a file of ours");
        let child = stopped_in_the_middle(&files, copy);
        change(&source).expect(message);
        kill(&child, Signal::CONT);
        let printed = printed(&child.wait_with_output().expect("a child of ours"));
        assert_eq!(printed.code, Some(1), "{message}");
        assert!(printed.err.contains(message), "{}", printed.err);
        assert_eq!(names(files.dir.path()), ["source"]);
    }
}

/// Goal: a source that gives fewer bytes than it has, but is as long as before, is an error that
/// names the offset. Method: a file of sysfs, which has the length of a page and a few bytes.
#[test]
fn a_source_that_gives_no_bytes_before_its_end_is_an_error() {
    let copy = Path::new(env!("CARGO_BIN_EXE_aio-copy"));
    let files = ["/sys/kernel/uevent_seqnum", "/sys/kernel/fscaps"].map(Path::new);
    let short = |path: &&Path| {
        let (metadata, bytes) = (path.metadata(), fs::read(path));
        metadata.is_ok_and(|metadata| bytes.is_ok_and(|bytes| metadata.len() > bytes.len() as u64))
    };
    let Some(source) = files.into_iter().find(short) else {
        skip!("sysfs has no such file here");
    };
    let dir = tempfile::tempdir().expect("a directory");
    let target = dir.path().join("target");
    let printed = run(command(copy).args([source, &target]));
    assert_eq!(printed.code, Some(1), "{}", printed.err);
    let (name, at) = (source.display(), fs::read(source).expect("a file").len());
    let text = format!("reading {name}: no bytes can be read at offset {at}, though");
    assert!(printed.err.contains(&text), "{}", printed.err);
    assert!(!printed.err.contains("ended at"), "{}", printed.err);
    assert_eq!(names(dir.path()), [""; 0]);
}

/// Goal: --verify notices a copy that is not what was read. Method: spoil the first page of the
/// target again and again while it is written and verified.
#[test]
fn verify_notices_a_difference() {
    let copy = Path::new(env!("CARGO_BIN_EXE_aio-copy"));
    let _watchdog = Watchdog::new();
    let content = pattern(40 << 20);
    let files = Files::new(&content);
    let mut child = files.command(copy, &["--verify"]).spawn().expect("it starts");
    let descriptor = unfinished_file(&mut child, files.dir.path()).expect("it is under way");
    // Not through the page cache, which must not be used beside O_DIRECT.
    let target = open_direct(&descriptor);
    let target = target.or_else(|| OpenOptions::new().write(true).open(descriptor).ok());
    let target = target.expect("an open file can be opened again");
    let mut spoiled = AlignedBuf::new(4096).expect("memory");
    spoiled.fill(!content[0]);
    while open_files(&child).iter().any(|(_, path)| path.ends_with("source")) {
        target.write_all_at(&spoiled, 0).expect("an open file");
    }
    let printed = printed(&child.wait_with_output().expect("a child of ours"));
    assert_eq!(printed.code, Some(1), "{}", printed.err);
    assert!(printed.err.contains("the copy differs: "), "{}", printed.err);
    assert!(printed.err.ends_with("target at 0\n"), "{}", printed.err);
    assert_eq!(names(files.dir.path()), ["source"]);
}

/// Goal: a block device is copied whole, to a file that is ours alone. Method: a loop device.
#[test]
fn a_block_device_is_copied_whole() {
    let copy = Path::new(env!("CARGO_BIN_EXE_aio-copy"));
    let content = pattern((3 << 20) + 512);
    let files = Files::new(&content);
    let device = match LoopDevice::over(&files.source) {
        Ok(device) => device,
        Err(reason) => skip!("{reason}"),
    };
    let printed = run(command(copy).arg(&device.path).arg(&files.target).arg("--verify"));
    assert_silent_success(&printed);
    assert!(fs::read(&files.target).expect("a copy") == content);
    assert_eq!(files.target.metadata().expect("a copy").mode() & 0o777, 0o600);
}
