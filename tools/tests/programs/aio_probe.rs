//! `aio-probe`, run as a program: its report, its JSON, its exit codes.

use crate::common::files::file_with;
use crate::common::filter;
use crate::common::skip;
use serde_json::Value;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn aio_probe() -> Command {
    Command::new(env!("CARGO_BIN_EXE_aio-probe"))
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("the program runs")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)))
}

/// Goal: the JSON parses and says what is so. Method: a file of known size, a directory, the
/// standard input, a path that is not there.
#[test]
fn the_json_says_what_is_so() {
    let (dir, path, _file) = file_with(&[7; 8192]);
    let known = run(aio_probe().args(["--json", "-", "--dir"]).arg(dir.path()).arg(&path));
    assert_eq!(known.status.code(), Some(0), "{}", String::from_utf8_lossy(&known.stderr));
    let report = json(&known);
    assert_eq!(report["kernel"]["usable"], true);
    assert_eq!(report["kernel"]["calls"]["io_submit"], "there");
    assert_eq!(report["kernel"]["operations"]["PREAD"], "accepted");
    assert_eq!(report["files"][0]["answer"]["kind"], "null device");
    assert_eq!(report["files"][1]["answer"]["size"], 8192);
    assert_eq!(report["files"][1]["path"], path.to_string_lossy().as_ref());
    assert_eq!(report["directories"][0]["answer"]["buffered"]["fsync"], "accepted");
    assert_eq!(report["directories"][0]["error"], Value::Null);

    let missing = run(aio_probe().args(["--json", "/nonexistent"]));
    assert_eq!(missing.status.code(), Some(2));
    let error = &json(&missing)["files"][0]["error"];
    assert!(error.as_str().is_some_and(|text| text.contains("No such file")), "{error}");
}

/// Goal: the text has the answers, and a FIFO is not opened, since that could wait without end.
#[test]
fn the_report_is_readable() {
    let (dir, path, _file) = file_with(&[7; 8192]);
    let fifo = dir.path().join("fifo");
    make_fifo(&fifo);
    let output = run(aio_probe().args([&path, &fifo]));
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    for part in
        ["AIO             usable", "io_submit, ", "regular file of 8192 bytes", "a pipe can"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

fn make_fifo(path: &Path) {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).expect("no zero byte");
    // SAFETY: The name lives during the call.
    let made = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
    assert_eq!(made, 0, "mkfifo: {}", std::io::Error::last_os_error());
}

/// Goal: the exit code says that AIO is not usable, and the report why and what to do. Method: a
/// filter as a container has it.
#[test]
fn the_exit_code_says_that_aio_is_refused() {
    if !filter::filters_work() {
        skip!("this kernel takes no seccomp filters");
    }
    let numbers: Vec<u32> = filter::aio_calls().into_iter().map(|(_, number)| number).collect();
    let mut command = outside_of_containers();
    // SAFETY: In the child before exec: two system calls and an allocation, which the C library
    // keeps usable there.
    unsafe {
        command.pre_exec(move || {
            filter::install(&numbers, filter::errno(libc::EPERM));
            Ok(())
        })
    };
    let output = run(&mut command);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let cure = "not usable: io_setup is refused by a seccomp filter (EPERM): allow io_setup in";
    assert!(text.contains(cure), "{text}");
    assert!(text.contains("\nwhat to change   "), "{text}");
}

/// Goal: in a container, pod or service the report names the setting of that one, and in the JSON,
/// too. Method: the variables that Kubernetes and systemd set, and a filter that hides a call.
#[test]
fn the_report_names_the_setting_to_change() {
    if !filter::filters_work() {
        skip!("this kernel takes no seccomp filters");
    }
    let numbers: Vec<u32> = filter::aio_calls().into_iter().map(|(_, number)| number).collect();
    for (variable, setting) in [
        ("KUBERNETES_SERVICE_HOST", "securityContext.seccompProfile"),
        ("INVOCATION_ID", "SystemCallFilter=@aio"),
    ] {
        let mut command = outside_of_containers();
        command.arg("--json").env(variable, "1");
        let numbers = numbers.clone();
        // SAFETY: In the child before exec: two system calls and an allocation, which the C library
        // keeps usable there.
        unsafe {
            command.pre_exec(move || {
                filter::install(&numbers, filter::errno(libc::ENOSYS));
                Ok(())
            })
        };
        let report = json(&run(&mut command));
        assert_eq!(report["place"]["filtered"], true);
        if Path::new("/run/.containerenv").exists() || Path::new("/.dockerenv").exists() {
            continue;
        }
        let cure = report["place"]["cure"].as_str().expect("a text");
        assert!(cure.contains(setting), "{variable}: {cure}");
    }
}

/// Without the variables by which the program knows where it runs.
fn outside_of_containers() -> Command {
    let mut command = aio_probe();
    command.env_remove("KUBERNETES_SERVICE_HOST").env_remove("INVOCATION_ID");
    command
}
