//! Children of `fork`, for what a test process must not do itself.

use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicBool, Ordering};
use std::panic::{catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// Whether this process is one of [`start_child`]'s.
static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// In a child, another thread of the parent may have held any lock at the time of the fork, among
/// them those that the usual hook takes. So a hook that takes none is there before the first fork.
fn print_panics_of_children_without_a_lock() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |info| {
            if !IS_CHILD.load(Ordering::Relaxed) {
                return usual(info);
            }
            let text = format!("in a child: {info}\n");
            // SAFETY: The text lives during the call.
            unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
        }));
    });
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(i32),
    Killed(i32),
}

impl Ended {
    /// Every assertion in the child held.
    pub(crate) const WELL: Self = Self::Exited(0);

    fn from_status(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Killed(libc::WTERMSIG(status))
        } else {
            Self::Exited(libc::WEXITSTATUS(status))
        }
    }
}

/// Runs `body` in a child of `fork` and says how it ended: `Exited(0)` where `body` returned,
/// `Exited(101)` where it panicked, `Killed(SIGALRM)` where it hung.
pub(crate) fn in_child(body: impl FnOnce()) -> Ended {
    let pid = start_child(body);
    wait_for(pid)
}

/// Starts `body` in a child of `fork`, to be waited for by [`wait_for`].
pub(crate) fn start_child(body: impl FnOnce()) -> libc::pid_t {
    print_panics_of_children_without_a_lock();
    // SAFETY: The child runs `body` and leaves by `_exit`. It has one thread; the C library keeps
    // its allocator usable in it, and `alarm` ends it should another lock have been held.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid > 0 {
        return pid;
    }
    // SAFETY: Sets a timer of this process.
    unsafe { libc::alarm(40) };
    IS_CHILD.store(true, Ordering::Relaxed);
    let code = if catch_unwind(AssertUnwindSafe(body)).is_ok() { 0 } else { 101 };
    // SAFETY: Ends the child at once, without the parent's exit handlers.
    unsafe { libc::_exit(code) }
}

/// Waits for a child of [`start_child`].
pub(crate) fn wait_for(pid: libc::pid_t) -> Ended {
    let mut status = 0;
    loop {
        // SAFETY: `status` is valid for a write.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        if waited == pid {
            return Ended::from_status(status);
        }
        let error = std::io::Error::last_os_error();
        assert_eq!(error.raw_os_error(), Some(libc::EINTR), "waitpid: {error}");
    }
}
