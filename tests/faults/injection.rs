//! Every answer that a call may give instead of what it does, and runs of programs that are struck
//! by them.

#![allow(dead_code, reason = "every test program uses a part of this")]

use super::strace::{self, Injection, Struck, When};
use crate::common;
use linux_aio::Errno;
use std::process::Command;
use tempfile::TempDir;

/// The calls and what they may answer. `None` is a return value of 0 with nothing done.
///
/// Left out are the answers that say what is not so, and that nothing could be made of: EINVAL of
/// io_cancel (the operation has ended, its event is there), and counts of events or operations that
/// are none.
pub(crate) const CALLS: [(&str, &[Option<Errno>]); 6] = {
    use Errno as E;
    const WAITING: &[Option<Errno>] =
        &[None, Some(E::EFAULT), Some(E::EINTR), Some(E::EINVAL), Some(E::ENOSYS), Some(E::EPERM)];
    [
        (
            "io_setup",
            &[
                Some(E::EAGAIN),
                Some(E::EFAULT),
                Some(E::EINTR),
                Some(E::EINVAL),
                Some(E::ENOMEM),
                Some(E::ENOSYS),
                Some(E::EPERM),
            ],
        ),
        (
            "io_submit",
            &[
                None,
                Some(E::EAGAIN),
                Some(E::EBADF),
                Some(E::EFAULT),
                Some(E::EINTR),
                Some(E::EINVAL),
                Some(E::ENOMEM),
                Some(E::ENOSYS),
                Some(E::EOPNOTSUPP),
                Some(E::EPERM),
            ],
        ),
        ("io_getevents", WAITING),
        ("io_pgetevents", WAITING),
        ("io_cancel", &[Some(E::EAGAIN), Some(E::EFAULT), Some(E::ENOSYS), Some(E::EPERM)]),
        ("io_destroy", &[Some(E::EFAULT), Some(E::EINVAL), Some(E::ENOSYS), Some(E::EPERM)]),
    ]
};

/// Runs under injections, counted for the report.
pub(crate) struct Bench {
    dir: TempDir,
    runs: usize,
    pub(crate) calls: usize,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { dir: common::files::scratch(), runs: 0, calls: 0 }
    }

    /// How often a program makes a call when none fails.
    pub(crate) fn count(&self, command: &Command, call: &'static str) -> usize {
        let injection = [Injection { call, error: None, when: When::Never }];
        let struck = strace::run(command, &injection, self.dir.path());
        assert_well(&struck, &injection);
        struck.calls
    }

    /// One run. `None` where there was no such call to fail.
    pub(crate) fn run(&mut self, command: &Command, injections: &[Injection]) -> Option<Struck> {
        let struck = strace::run(command, injections, self.dir.path());
        if struck.injected == 0 {
            assert_well(&struck, injections);
            return None;
        }
        self.runs += 1;
        self.calls += struck.injected;
        Some(struck)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        common::say_count(&format!("{} runs, {} calls failed", self.runs, self.calls));
    }
}

pub(crate) fn assert_well(struck: &Struck, injections: &[Injection]) {
    let output = &struck.output;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{injections:?}: {}\n{out}\n{err}", output.status);
}

/// The injections of each call with each of its errors.
pub(crate) fn each_error() -> impl Iterator<Item = (&'static str, Option<Errno>)> {
    CALLS.iter().flat_map(|&(call, errors)| errors.iter().map(move |&error| (call, error)))
}

/// How much is injected: `LINUX_AIO_FAULTS` is `each`, `all`, or not set.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Effort {
    /// Each error strikes one occurrence, and every third program for good.
    Sample,
    /// Each error strikes somewhere, and each occurrence is struck by some error.
    Each,
    /// Each error strikes at each occurrence. That takes minutes.
    All,
}

pub(crate) fn effort() -> Effort {
    match std::env::var("LINUX_AIO_FAULTS").as_deref() {
        Ok("each") => Effort::Each,
        Ok("all") => Effort::All,
        Ok(other) => panic!("LINUX_AIO_FAULTS={other}: neither \"each\" nor \"all\""),
        Err(_) => Effort::Sample,
    }
}

/// Returns those of many runs that are made: every third of a sample, or all.
pub(crate) fn sample<T>(runs: impl Iterator<Item = T>, offset: usize) -> impl Iterator<Item = T> {
    let (offset, step) = if effort() == Effort::Sample { (offset % 3, 3) } else { (0, 1) };
    runs.skip(offset).step_by(step)
}

/// Which errors strike which occurrences of a call that is made `calls` times.
pub(crate) fn single_strikes<'a>(
    errors: &'a [Option<Errno>],
    calls: usize,
) -> impl Iterator<Item = (Option<Errno>, When)> + 'a {
    let effort = effort();
    let all = errors.len() * calls;
    let turns = match effort {
        Effort::Sample => all.min(errors.len()),
        Effort::Each => all.min(errors.len().max(calls)),
        Effort::All => all,
    };
    (0..turns).map(move |turn| {
        let at = match effort {
            Effort::Sample => turn * calls / turns,
            Effort::Each => turn % calls,
            Effort::All => turn / errors.len(),
        };
        (errors[turn % errors.len()], When::Only(at + 1))
    })
}
