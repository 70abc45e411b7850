//! Turns of tasks that read from the page cache, which would not wait otherwise.

use core::cell::Cell;
use core::future::poll_fn;
use core::task::{Context, Poll};
use std::thread_local;

/// The number of bytes that a thread copies before its tasks take turns. A copy of so many bytes
/// takes about as long as a change of tasks.
const TURN: usize = 32 << 10;

thread_local! {
    /// The bytes that this thread has copied since its tasks took turns.
    static COPIED: Cell<usize> = const { Cell::new(0) };
}

/// Notes that this thread has copied so many bytes.
pub(super) fn copied(count: usize) {
    COPIED.with(|copied| copied.set(copied.get().saturating_add(count)));
}

/// Awaits what `poll` polls, and counts it as so many bytes if it completes at once. If it does
/// not, the task gives way to others anyhow.
pub(super) async fn counted<T>(
    cost: usize,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> T {
    let mut at_once = true;
    let output = poll_fn(|cx| {
        let polled = poll(cx);
        at_once &= polled.is_ready();
        polled
    });
    let output = output.await;
    if at_once {
        copied(cost);
    }
    output
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

/// Lets other tasks run.
pub(super) async fn turn() {
    COPIED.with(|copied| copied.set(0));
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
