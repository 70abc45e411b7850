//! Examples as programs: found beside the test, started, looked into, and killed.

#![allow(dead_code, reason = "every test program uses a part of this")]

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The example, where `cargo test` builds it along with the tests; a test with a name of its own
/// (`--test`) does not have it built.
pub(crate) fn example(name: &str) -> Option<PathBuf> {
    let this_test = std::env::current_exe().expect("the path of this program");
    let path = this_test.parent()?.parent()?.join("examples").join(name);
    path.is_file().then_some(path)
}

/// A command for it, without input and with its output kept.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    piped(&mut command);
    command
}

/// The same for a command that is there.
pub(crate) fn piped(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped())
}

/// What it printed, as text.
pub(crate) struct Printed {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: Option<i32>,
}

/// Runs it to its end.
pub(crate) fn run(command: &mut Command) -> Printed {
    printed(&command.output().expect("the example starts"))
}

pub(crate) fn printed(output: &Output) -> Printed {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    Printed { out: text(&output.stdout), err: text(&output.stderr), code: output.status.code() }
}

/// Sends a signal to a child that has not been waited for.
pub(crate) fn kill(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("a child of ours");
}

/// The open files of a child, by descriptor: where they are, as /proc shows it.
pub(crate) fn open_files(child: &Child) -> Vec<(PathBuf, PathBuf)> {
    let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", child.id())) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter_map(|path| Some((path.clone(), fs::read_link(path).ok()?))).collect()
}

/// The descriptor, in /proc, of a file in `dir` that has no name, or an unfinished one; waits for
/// it. `None` where the child has ended before.
pub(crate) fn unfinished_file(child: &mut Child, dir: &Path) -> Option<PathBuf> {
    let dir = dir.canonicalize().expect("it is there");
    while child.try_wait().expect("a child of ours").is_none() {
        let files = open_files(child).into_iter();
        let mut there = files.filter(|(_, path)| path.parent() == Some(&dir));
        let unfinished = there.find(|(_, path)| {
            let path = path.to_string_lossy();
            path.ends_with(" (deleted)") || path.contains("/.copy-")
        });
        if let Some((descriptor, _)) = unfinished {
            return Some(descriptor);
        }
        std::thread::yield_now();
    }
    None
}

/// The names in a directory, sorted.
pub(crate) fn names(dir: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
    names.sort();
    names
}

/// Whether this process may mount in a mount namespace of its own.
pub(crate) fn can_mount() -> bool {
    let tried = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// A command that mounts a tmpfs, seen by itself alone, and then becomes `program`.
pub(crate) fn command_with_tmpfs(program: &Path, options: &str, at: &Path) -> Command {
    let mut command = command(Path::new("unshare"));
    let script = "mount -t tmpfs -o \"$0\" none \"$1\" && shift && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, options]).arg(at).arg(program);
    command
}
