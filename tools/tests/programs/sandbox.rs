//! The programs of this package, and a program for each layer of the library, under filters that
//! allow only the calls of `docs/seccomp`.

use crate::common::files::scratch;
use crate::common::filter;
use crate::common::skip;
use crate::program::example;
use std::collections::HashMap;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn recorded(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/seccomp").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Why the lists do not hold on this machine.
#[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
fn unlike_here() -> Option<String> {
    Some("the lists are those of x86-64 with glibc".into())
}

/// Why the lists do not hold on this machine.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
fn unlike_here() -> Option<String> {
    // SAFETY: The function has no precondition.
    let version = unsafe { libc::gnu_get_libc_version() };
    // SAFETY: It returns a string that lives as long as the process.
    let version = unsafe { std::ffi::CStr::from_ptr(version) }.to_str().expect("a number");
    let recorded = recorded("recorded-on");
    let same = recorded.trim() == format!("glibc {version}");
    (!same).then(|| format!("the lists were recorded with {}", recorded.trim()))
}

/// The list of that name, as Docker and podman take it. systemd's is the same.
fn list(name: &str) -> Vec<String> {
    let profile: serde_json::Value =
        serde_json::from_str(&recorded(&format!("{name}.json"))).expect("JSON");
    let names = profile["syscalls"][0]["names"].as_array().expect("an array");
    let names: Vec<_> = names.iter().map(|name| name.as_str().expect("a text")).collect();
    let unit = recorded(&format!("{name}.conf"));
    let lines = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
    assert!(lines.eq(names.iter().copied()), "{name}");
    names.into_iter().map(Into::into).collect()
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
    let mut numbers: HashMap<_, _> = pairs.collect();
    // Headers of a kernel before 6.5 have no name for it.
    numbers.entry("cachestat".into()).or_insert(451);
    Ok(numbers)
}

/// Runs a program that is killed at the first call that is not among `calls`.
fn run(program: &Path, calls: &[u32], arguments: &[&str]) -> Output {
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

/// Why nothing can be checked here, or the numbers of calls.
fn numbers_here() -> Result<HashMap<String, u32>, String> {
    if !filter::filters_work() {
        return Err("this kernel takes no seccomp filters".into());
    }
    unlike_here().map_or_else(numbers, Err)
}

/// Checks that a program works with the calls of its list, and not without `io_submit`.
fn check(numbers: &HashMap<String, u32>, name: &str, program: &Path, arguments: &[&str]) {
    let calls: Vec<u32> = list(name).iter().map(|name| numbers[name]).collect();
    let output = run(program, &calls, arguments);
    assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
    let fewer: Vec<u32> = calls.into_iter().filter(|&call| call != numbers["io_submit"]).collect();
    let killed = run(program, &fewer, arguments).status.signal();
    assert_eq!(killed, Some(libc::SIGSYS), "{name}");
}

/// The path as text.
fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Goal: each program works with no other calls than the recorded ones, and needs those of AIO.
/// Method: every other call kills it; then so does `io_submit`.
#[test]
fn the_programs_need_no_other_calls_than_the_recorded_ones() {
    let numbers = match numbers_here() {
        Ok(numbers) => numbers,
        Err(reason) => skip!("{reason}"),
    };
    let dir = scratch();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    fs::write(&source, vec![7; 1 << 20]).expect("it can be written");
    let (folder, source, target) = (text(dir.path()), text(&source), text(&target));
    let check = |name, program: &str, arguments: &[&str]| {
        check(&numbers, name, Path::new(program), arguments);
    };
    check("aio-probe", env!("CARGO_BIN_EXE_aio-probe"), &["--json", source, "--dir", folder]);
    let bench = ["--size", "1MiB", "--seconds", "0.05", "--depth", "1,8", "--write", folder];
    check("aio-bench", env!("CARGO_BIN_EXE_aio-bench"), &bench);
    check("aio-copy", env!("CARGO_BIN_EXE_aio-copy"), &["--verify", source, target]);
}

/// Goal: each layer of the library works with no other calls than the recorded ones. Method: as
/// above, with a program that uses the layer.
#[test]
fn the_layers_need_no_other_calls_than_the_recorded_ones() {
    let numbers = match numbers_here() {
        Ok(numbers) => numbers,
        Err(reason) => skip!("{reason}"),
    };
    let Some(layers) = example("layers") else { skip!("the example was not built with this test") };
    let dir = scratch();
    let file = dir.path().join("file");
    fs::write(&file, vec![7; 1 << 20]).expect("it can be written");
    let names = "raw scope queue local-driver driver driver-tokio driver-smol file";
    for layer in names.split(' ') {
        check(&numbers, layer, &layers, &[layer, text(&file)]);
    }
}

/// Goal: the same for a C program on the drop-in. Method: the drop-in is built, and the program
/// linked with it.
#[test]
fn the_drop_in_needs_no_other_calls_than_the_recorded_ones() {
    let numbers = match numbers_here() {
        Ok(numbers) => numbers,
        Err(reason) => skip!("{reason}"),
    };
    for tool in ["make", "cc"] {
        if Command::new(tool).arg("--version").output().is_err() {
            skip!("{tool} is not installed");
        }
    }
    let dir = scratch();
    let (built, program, file) =
        (dir.path().join("libaio"), dir.path().join("drop_in"), dir.path().join("file"));
    fs::write(&file, vec![7; 1 << 20]).expect("it can be written");
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = Command::new("make")
        .args(["-s", "-C", text(&package.join("../capi")), &format!("O={}", text(&built))])
        .output();
    let made = made.expect("make starts");
    assert!(made.status.success(), "{made:?}");
    let linked = Command::new("cc")
        .arg(format!("-I{}", text(&package.join("../capi/include"))))
        .arg(package.join("tests/sandbox/drop_in.c"))
        .arg(built.join("libaio.so.1"))
        .arg(format!("-Wl,-rpath,{}", text(&built)))
        .args(["-o", text(&program)])
        .output();
    let linked = linked.expect("cc starts");
    assert!(linked.status.success(), "{linked:?}");
    check(&numbers, "drop-in", &program, &[text(&file)]);
}
