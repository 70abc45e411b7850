//! Wakers of one thread.

use std::sync::Arc;
use std::task::{Wake, Waker};

/// A waker that runs code of this thread.
struct Calls(Box<dyn Fn()>);

// SAFETY: The tests call and drop it on one thread.
unsafe impl Send for Calls {}
// SAFETY: As above.
unsafe impl Sync for Calls {}

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// Returns a waker that runs code of this thread. It is not to leave the thread.
pub(crate) fn waker(code: impl Fn() + 'static) -> Waker {
    Arc::new(Calls(Box::new(code))).into()
}
