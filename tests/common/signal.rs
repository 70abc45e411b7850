//! Signals: handlers that do nothing, and a thread that sends one until it is told to stop.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

static HANDLED: [AtomicUsize; 65] = [const { AtomicUsize::new(0) }; 65];

/// How often [`ignore_politely`]'s handler ran for this signal.
pub(crate) fn handled(signal: i32) -> usize {
    HANDLED[signal as usize].load(Ordering::Relaxed)
}

extern "C" fn count(signal: i32) {
    HANDLED[signal as usize].fetch_add(1, Ordering::Relaxed);
}

/// Handles `signal` by counting it, without `SA_RESTART`: it interrupts, and does nothing else.
pub(crate) fn ignore_politely(signal: i32) {
    // SAFETY: A `sigaction` of zeros is a valid one.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    action.sa_sigaction = count as extern "C" fn(i32) as usize;
    // SAFETY: The handler does nothing that a handler must not do; `action` lives in the call.
    let set = unsafe { libc::sigaction(signal, &raw const action, core::ptr::null_mut()) };
    assert_eq!(set, 0, "sigaction: {}", std::io::Error::last_os_error());
}

/// Sends a signal to the thread that made it, again and again, until it is dropped.
pub(crate) struct Pester {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pester {
    /// Signals the calling thread, which must drop this before it ends.
    pub(crate) fn this_thread(signal: i32) -> Self {
        ignore_politely(signal);
        // A number to carry to another thread: with musl it is a pointer.
        // SAFETY: No argument.
        let victim = unsafe { libc::pthread_self() } as usize;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // SAFETY: The thread lives until this one has been joined.
                unsafe { libc::pthread_kill(victim as libc::pthread_t, signal) };
                thread::sleep(Duration::from_millis(1));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Pester {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Blocks or unblocks one signal for the calling thread.
pub(crate) fn block(signal: i32, blocked: bool) {
    // SAFETY: A set of zeros is valid, and is emptied at once.
    let mut set: libc::sigset_t = unsafe { core::mem::zeroed() };
    // SAFETY: `set` is valid.
    unsafe { libc::sigemptyset(&raw mut set) };
    // SAFETY: `set` is valid.
    unsafe { libc::sigaddset(&raw mut set, signal) };
    let how = if blocked { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
    // SAFETY: `set` is valid, and the old one is not asked for.
    let done = unsafe { libc::pthread_sigmask(how, &raw const set, core::ptr::null_mut()) };
    assert_eq!(done, 0);
}

/// Whether the calling thread blocks the signal.
pub(crate) fn is_blocked(signal: i32) -> bool {
    // SAFETY: A set of zeros is valid.
    let mut set: libc::sigset_t = unsafe { core::mem::zeroed() };
    // SAFETY: `set` is valid for a write, and nothing is changed.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, core::ptr::null(), &raw mut set) };
    // SAFETY: `set` is valid.
    unsafe { libc::sigismember(&raw const set, signal) == 1 }
}

/// Sends `signal` to the calling thread.
pub(crate) fn raise_here(signal: i32) {
    // SAFETY: No argument.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: The calling thread lives.
    let sent = unsafe { libc::pthread_kill(this, signal) };
    assert_eq!(sent, 0);
}
