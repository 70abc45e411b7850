//! Turns of tasks that read from the page cache, which would not wait otherwise.

use core::cell::Cell;
use core::future::poll_fn;
use core::task::Poll;
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

/// Lets other tasks run if this thread has copied much.
pub(super) async fn turn() {
    if COPIED.with(Cell::get) < TURN {
        return;
    }
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
