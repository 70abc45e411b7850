//! Programs whose system calls fail where a test says, by strace's error injection.

#![allow(dead_code, reason = "every test program uses a part of this")]

use linux_aio::Errno;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The environment variables that tell a victim which error to expect, and which calls fail.
pub(crate) const FAULT: &str = "LINUX_AIO_FAULT";
pub(crate) const FAULTY_CALLS: &str = "LINUX_AIO_FAULTY_CALLS";

/// Which calls fail, from the first one on counted by each thread.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// The one of that number alone.
    Only(usize),
    /// That one and all after it.
    From(usize),
    /// All up to that one.
    UpTo(usize),
    /// Every second one.
    EverySecond,
    /// None.
    Never,
}

impl When {
    fn to_text(self) -> String {
        match self {
            Self::Only(at) => format!("{at}"),
            Self::From(at) => format!("{at}+"),
            Self::UpTo(last) => format!("1..{last}"),
            Self::EverySecond => "1+2".to_owned(),
            Self::Never => format!("{}", u16::MAX),
        }
    }
}

/// A system call fails with an error, or returns 0 without having done anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Injection {
    pub(crate) call: &'static str,
    pub(crate) error: Option<Errno>,
    pub(crate) when: When,
}

impl Injection {
    fn to_option(self) -> String {
        let outcome = match self.error {
            Some(errno) => format!("error={errno:?}"),
            None => "retval=0".to_owned(),
        };
        format!("--inject={}:{outcome}:when={}", self.call, self.when.to_text())
    }
}

/// Why strace cannot be used here.
pub(crate) fn missing() -> Option<String> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", "/dev/null", "--inject=io_setup:error=EIO", "true"]);
    match strace.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("strace: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Some(format!("strace: {error}")),
    }
}

/// How a program ended, how often it made the call of the first injection, and how often that
/// failed for it.
pub(crate) struct Struck {
    pub(crate) output: Output,
    pub(crate) calls: usize,
    pub(crate) injected: usize,
}

/// Runs `program` with its arguments under these injections; the log is written to `dir`. One that
/// hangs is ended, far beyond the time that it needs, with status 124.
pub(crate) fn run(program: &Command, injections: &[Injection], dir: &Path) -> Struck {
    let log = dir.join("strace");
    let mut strace = Command::new("timeout");
    strace
        .args(["-k", "10", "60", "strace", "-f", "--seccomp-bpf", "-qq", "-e", "signal=none", "-o"])
        .arg(&log);
    let names: Vec<&str> = injections.iter().map(|injection| injection.call).collect();
    let names = names.join(",");
    strace.arg(format!("--trace={names}"));
    strace.args(injections.iter().map(|&injection| injection.to_option()));
    strace.arg("--").arg(program.get_program()).args(program.get_args());
    let Injection { call, error, .. } = injections[0];
    strace.env(FAULT, error.map_or(0, Errno::as_raw).to_string()).env(FAULTY_CALLS, names);
    strace.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = strace.stdin(Stdio::null()).output().expect("strace starts");
    let log = fs::read_to_string(&log).expect("strace has written its log");
    let calls: Vec<&str> = log.lines().filter(|line| line.contains(call)).collect();
    let injected = calls.iter().filter(|line| line.contains("(INJECTED)")).count();
    Struck { output, calls: calls.len(), injected }
}
