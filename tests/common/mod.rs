//! What the test programs share: contexts that wait for room, files and pipes, children, signals,
//! filters, watchdogs, and skips that are seen.

#![allow(dead_code, reason = "every test program uses a part of this")]

pub(crate) mod child;
pub(crate) mod descriptor;
pub(crate) mod device;
pub(crate) mod files;
pub(crate) mod filter;
pub(crate) mod held;
pub(crate) mod hogs;
pub(crate) mod local_waker;
pub(crate) mod panics;
pub(crate) mod raw;
pub(crate) mod signal;
pub(crate) mod texts;
pub(crate) mod users_code;

use core::mem::MaybeUninit;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use linux_aio::{Errno, IoContext, IoEvent, Operation, PollEvents, Queue, SetupError};
use std::io::Write;
use std::sync::mpsc;
use std::thread;

/// Ends the test with a reason that is printed also where output is captured.
#[allow(unused_macros, reason = "every test program uses a part of this")]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::common::say_skipped(&format!($($reason)*));
        return;
    }};
}
#[allow(unused_imports, reason = "every test program uses a part of this")]
pub(crate) use skip;

pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

pub(crate) fn say_skipped(reason: &str) {
    say("SKIPPED", reason);
}

/// Says how often a test did what it does, also where output is captured.
pub(crate) fn say_count(count: &str) {
    say("COUNT", count);
}

/// Writes to the standard error itself: the test runner captures only the printing macros.
fn say(what: &str, text: &str) {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "{what} {name}: {text}");
}

/// Ends the whole program if the test has not ended in time. A hang becomes a failure.
#[must_use]
pub(crate) struct Watchdog {
    _alive: mpsc::Sender<()>,
}

impl Watchdog {
    /// Far above what the slowest machine needs with other tests beside, so that time is never what
    /// is tested.
    pub(crate) fn new() -> Self {
        let name = thread::current().name().unwrap_or("a test").to_owned();
        let (alive, ended) = mpsc::channel();
        thread::spawn(move || {
            if ended.recv_timeout(Duration::from_secs(300)) == Err(mpsc::RecvTimeoutError::Timeout)
            {
                let _ = writeln!(std::io::stderr(), "WATCHDOG: {name} hangs");
                std::process::abort();
            }
        });
        Self { _alive: alive }
    }
}

/// A context, when the system has room for one: a test that uses up `fs.aio-max-nr` may be running.
///
/// With `LINUX_AIO_RING=off` in the environment its events are taken by system call, as valgrind
/// wants it.
pub(crate) fn context(nr_events: u32) -> IoContext {
    let mut context = with_room(|| IoContext::new(nr_events));
    if std::env::var_os("LINUX_AIO_RING").is_some_and(|ring| ring == "off") {
        context.use_ring(false);
    }
    context
}

/// A queue over such a context.
pub(crate) fn queue<O: Operation>(capacity: u32) -> Queue<O> {
    Queue::new(context(capacity), capacity).expect("a fresh context")
}

fn with_room<T>(mut make: impl FnMut() -> Result<T, SetupError>) -> T {
    for _ in 0..300 {
        match make() {
            Ok(made) => return made,
            Err(error) if error.errno() == Errno::EAGAIN => {
                thread::sleep(Duration::from_millis(100));
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("fs.aio-max-nr has been used up for half a minute");
}

/// Room for events.
pub(crate) fn room<const N: usize>() -> [MaybeUninit<IoEvent>; N] {
    [const { MaybeUninit::uninit() }; N]
}

/// Whether a POLL ended with all of `events`. A wake-up may report more than was asked for.
pub(crate) fn holds(result: Result<u32, Errno>, events: PollEvents) -> bool {
    result.is_ok_and(|seen| PollEvents::from_bits_retain(seen).contains(events))
}

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    // SAFETY: The call takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}
