//! Futures that end in many ways.

use crate::Intended;
use crate::users_code::WakerCode;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Says what becomes of a future that is not ready at its last poll.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Awaited,
    Dropped,
    Forgotten,
    /// It is polled now and then by others.
    Held,
    /// It is polled once with a waker whose clone, call or drop panics, and awaited then.
    Woken(u64),
}

/// A future that lies about.
pub(crate) type Held = Pin<Box<dyn Future<Output = ()>>>;

/// Drops a future, which must not panic.
pub(crate) fn dropped<F>(future: F) {
    assert!(catch_unwind(AssertUnwindSafe(|| drop(future))).is_ok(), "the drop of a future panics");
}

/// Polls a future. `Err` if it panics as the test has it.
pub(crate) fn poll<F: Future + ?Sized>(
    future: &mut Pin<Box<F>>,
    cx: &mut Context<'_>,
) -> Result<Poll<F::Output>, ()> {
    let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
    polled.map_err(|payload| {
        if !payload.is::<Intended>() {
            resume_unwind(payload);
        }
    })
}

pub(crate) fn panicking_waker(which: u64) -> Waker {
    let code = Arc::new(WakerCode::default());
    let waker = code.waker();
    match which {
        0 => &code.clone,
        1 => &code.wake,
        _ => &code.drop,
    }
    .arm(|| panic_any(Intended));
    waker
}
