//! The programs of this package, under filters that allow only the calls of `docs/seccomp`.

#[path = "../../tests/common/mod.rs"]
mod common;

use common::files::scratch;
use common::filter;
use common::skip;
use std::collections::HashMap;
use std::ffi::CStr;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn recorded(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/seccomp").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Why the lists do not hold on this machine.
fn unlike_here() -> Option<String> {
    if !cfg!(all(target_arch = "x86_64", target_env = "gnu")) {
        return Some("the lists are those of x86-64 with glibc".into());
    }
    // SAFETY: The function has no precondition.
    let version = unsafe { libc::gnu_get_libc_version() };
    // SAFETY: It returns a string that lives as long as the process.
    let version = unsafe { CStr::from_ptr(version) }.to_str().expect("a number");
    let recorded = recorded("recorded-on");
    let same = recorded.trim() == format!("glibc {version}");
    (!same).then(|| format!("the lists were recorded with {}", recorded.trim()))
}

/// The numbers of calls, by the kernel's header.
fn numbers() -> Result<HashMap<String, u32>, String> {
    let header = PathBuf::from("/usr/include/x86_64-linux-gnu/asm/unistd_64.h");
    let text = fs::read_to_string(&header).map_err(|e| format!("{}: {e}", header.display()))?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("#define __NR_"));
    let pairs = lines.filter_map(|line| {
        let (name, number) = line.split_once(' ')?;
        Some((name.to_owned(), number.trim().parse().ok()?))
    });
    Ok(pairs.collect())
}

/// Runs a program that is killed at the first call that is not among `calls`.
fn run(program: &str, calls: &[u32], arguments: &[&str]) -> Output {
    let calls = calls.to_vec();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    // SAFETY: In the child before exec: two system calls and an allocation, which the C library
    // keeps usable there.
    unsafe {
        command.pre_exec(move || {
            filter::allow_only(&calls, filter::KILL);
            Ok(())
        })
    };
    command.output().expect("the program starts")
}

/// Goal: each program works with no other calls than the recorded ones, and needs those of AIO.
/// Method: every other call kills it; then so does `io_submit`.
#[test]
fn the_programs_need_no_other_calls_than_the_recorded_ones() {
    if !filter::filters_work() {
        skip!("this kernel takes no seccomp filters");
    }
    if let Some(reason) = unlike_here() {
        skip!("{reason}");
    }
    let numbers = match numbers() {
        Ok(numbers) => numbers,
        Err(reason) => skip!("{reason}"),
    };
    let dir = scratch();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    fs::write(&source, vec![7; 1 << 20]).expect("it can be written");
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (folder, source, target) = (path(dir.path()), path(&source), path(&target));
    for (name, program, arguments) in [
        ("aio-probe", env!("CARGO_BIN_EXE_aio-probe"), &["--json", &source, "--dir", &folder][..]),
        (
            "aio-bench",
            env!("CARGO_BIN_EXE_aio-bench"),
            &["--size", "1MiB", "--seconds", "0.05", "--depth", "1,8", "--write", &folder],
        ),
        ("aio-copy", env!("CARGO_BIN_EXE_aio-copy"), &["--verify", &source, &target]),
    ] {
        let list = recorded(&format!("{name}.calls"));
        let calls: Vec<u32> = list.lines().map(|name| numbers[name]).collect();
        let output = run(program, &calls, arguments);
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        let fewer: Vec<u32> =
            calls.into_iter().filter(|&call| call != numbers["io_submit"]).collect();
        let killed = run(program, &fewer, arguments).status.signal();
        assert_eq!(killed, Some(libc::SIGSYS), "{name}");
        let profile: serde_json::Value =
            serde_json::from_str(&recorded(&format!("{name}.json"))).expect("JSON");
        let names = profile["syscalls"][0]["names"].as_array().expect("an array");
        let names = names.iter().map(|name| name.as_str().expect("a text"));
        assert!(names.eq(list.lines()), "{name}");
    }
}
