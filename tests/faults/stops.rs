//! Programs that are stopped and continued at any moment.

#![allow(dead_code, reason = "every test program uses a part of this")]

use core::time::Duration;
use std::process::Child;
use std::thread::sleep;

pub(crate) fn send(pid: libc::pid_t, signal: i32) {
    // SAFETY: Numbers; the process is a child that has not been waited for.
    let sent = unsafe { libc::kill(pid, signal) };
    assert_eq!(sent, 0, "kill: {}", std::io::Error::last_os_error());
}

/// Stops and continues a program at random moments until it ends; how often.
pub(crate) fn pester(child: &mut Child) -> usize {
    let pid = child.id() as libc::pid_t;
    for stops in 0.. {
        if child.try_wait().expect("a child of ours").is_some() {
            return stops;
        }
        send(pid, libc::SIGSTOP);
        sleep(Duration::from_micros(fastrand::u64(0..500)));
        send(pid, libc::SIGCONT);
        sleep(Duration::from_micros(fastrand::u64(0..2_000)));
    }
    unreachable!("more stops than there are numbers")
}
