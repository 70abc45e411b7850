//! Turns of tasks that read from the page cache, which would not wait otherwise.

use crate::driver::users_code::catch_and_forget;
use core::cell::Cell;
use core::future::poll_fn;
use core::mem;
use core::task::{Context, Poll};
use std::thread_local;

/// The number of bytes that a thread copies before its tasks take turns: two reads of a page.
///
/// A change of tasks takes about as long as one of these copies. Measured with 32 tasks that read 4
/// KiB at a time: with turns of 8 KiB, one read in a hundred waits for 95 µs or more. With turns of
/// 32 KiB it is 181 µs, and a sixth more is read.
const TURN: usize = 8 << 10;

thread_local! {
    /// The bytes that this thread has copied since its tasks took turns.
    static COPIED: Cell<usize> = const { Cell::new(0) };
}

/// Notes that this thread has copied so many bytes.
pub(super) fn copied(count: usize) {
    COPIED.with(|copied| copied.set(copied.get().saturating_add(count)));
}

/// Returns whether this thread has copied so much that other tasks should run.
///
/// It is always so in a simulation, since what the thread has copied before would be part of the
/// trace.
pub(super) fn is_due() -> bool {
    #[cfg(feature = "sim")]
    if crate::sys::sim::now().is_some() {
        return true;
    }
    COPIED.with(Cell::get) >= TURN
}

/// Lets other tasks run: the caller's poll is to return `Pending`, and comes again.
#[cold]
pub(super) fn turn(cx: &mut Context<'_>) {
    COPIED.with(|copied| copied.set(0));
    // As anywhere else, the panic of a waker's call costs no request.
    catch_and_forget(|| cx.waker().wake_by_ref());
}

/// Lets other tasks run.
pub(super) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        turn(cx);
        Poll::Pending
    })
    .await;
}
