//! A memory-limited cgroup: work that needs less than the limit is done, since the kernel writes
//! back and forgets what is cached; who needs more is killed, and leaves nothing half.

use crate::common::files::{pattern, scratch};
use crate::common::{Watchdog, is_root, skip};
use crate::program::{self, names};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A cgroup whose processes together have this much memory; gone with the value.
struct Cgroup(PathBuf);

impl Cgroup {
    /// One of version 1 or 2, or why there is none here.
    fn with_memory(bytes: u64) -> Result<Self, String> {
        if !is_root() {
            return Err("making a cgroup needs root".to_owned());
        }
        let name = format!("linux-aio-test-{}", std::process::id());
        let root = Path::new("/sys/fs/cgroup");
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        let (path, limits) = if root.join("memory/memory.limit_in_bytes").exists() {
            (
                root.join("memory").join(name),
                ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"],
            )
        } else if controllers.split(' ').any(|controller| controller.trim() == "memory") {
            let _ = fs::write(root.join("cgroup.subtree_control"), "+memory");
            (root.join(name), ["memory.max", "memory.swap.max"])
        } else {
            return Err("there is no memory cgroup".to_owned());
        };
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let cgroup = Self(path);
        let limit = cgroup.0.join(limits[0]);
        fs::write(&limit, bytes.to_string()).map_err(|e| format!("{}: {e}", limit.display()))?;
        // Without swap there is no such file, and no need for it.
        let swap = if limits[1].starts_with("memory.swap") { 0 } else { bytes };
        let _ = fs::write(cgroup.0.join(limits[1]), swap.to_string());
        Ok(cgroup)
    }

    /// Runs a program in it.
    fn run(&self, program: &Command) -> Output {
        let mut shell = program::command(Path::new("sh"));
        shell.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(self.0.join("cgroup.procs"));
        shell.arg(program.get_program()).args(program.get_args());
        shell.output().expect("it starts")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Goal: a copy through a window of 8 MiB is whole in a cgroup of 32 MiB, though the file is
/// larger; one with a larger block than that is killed there, with the old target and no other file
/// left. Method: `aio-copy --verify`, which reads holes, too.
#[test]
fn a_copy_in_little_memory_is_whole_or_not_there() {
    let copy = Path::new(env!("CARGO_BIN_EXE_aio-copy"));
    let _watchdog = Watchdog::new();
    let cgroup = match Cgroup::with_memory(32 << 20) {
        Ok(cgroup) => cgroup,
        Err(reason) => skip!("{reason}"),
    };
    let dir = scratch();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    let content = pattern(48 << 20);
    fs::write(&source, &content).expect("a file");
    fs::write(&target, "old").expect("a file");
    let command = |source: &Path, options: [&str; 4]| {
        let mut command = Command::new(copy);
        command.arg(source).arg(&target).arg("--verify").args(options);
        command
    };
    let holes = dir.path().join("holes");
    fs::File::create_new(&holes).and_then(|file| file.set_len(512 << 20)).expect("a file");
    let killed = cgroup.run(&command(&holes, ["--block", "128MiB", "--depth", "2"]));
    assert_eq!(killed.status.signal(), Some(libc::SIGKILL), "{killed:?}");
    assert_eq!(fs::read(&target).expect("it is there"), b"old");
    assert_eq!(names(dir.path()), ["holes", "source", "target"]);

    let whole = cgroup.run(&command(&source, ["--block", "1MiB", "--depth", "8"]));
    assert!(whole.status.success(), "{whole:?}");
    assert!(fs::read(&target).expect("a copy") == content);
    assert_eq!(names(dir.path()), ["holes", "source", "target"]);
}
