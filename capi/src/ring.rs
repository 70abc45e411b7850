//! Whether a completion ring is empty.
//!
//! It must never write to the ring, which is for `reap` to do, and never look at one of another
//! process.

use core::sync::atomic::Ordering::Relaxed;

use crate::context::io_context_t;
use crate::table;

/// A `struct timespec`, of either width.
pub(crate) trait Time: Copy {
    /// Whether it asks not to wait at all.
    fn is_zero(self) -> bool;
}

impl Time for linux_aio_raw::abi::__kernel_old_timespec {
    fn is_zero(self) -> bool {
        // C's tv_nsec is a long; on x32 the rest of the kernel's field is padding, and ignored
        // there too.
        self.tv_sec == 0 && self.tv_nsec as core::ffi::c_long == 0
    }
}

#[cfg(all(target_pointer_width = "32", not(target_arch = "x86_64")))]
impl Time for linux_aio_raw::abi::__kernel_timespec {
    fn is_zero(self) -> bool {
        // C's tv_nsec is a long of 32 bits; the rest of the kernel's field is padding, and ignored
        // there too.
        self.tv_sec == 0 && self.tv_nsec as core::ffi::c_long == 0
    }
}

/// Whether a call that takes events would return 0 at once: `timeout` is zero and the ring of `ctx`
/// is empty. `false` where `ctx` is not known to be a context of this process; then the kernel is
/// to be asked.
///
/// Relaxed loads do: no event is read on the strength of them, and "empty" is what the kernel could
/// have said a moment ago.
///
/// # Safety
/// - `timeout` must be null or valid for reads.
/// - If `*timeout` is zero, no other thread may be in `io_destroy` of `ctx`.
#[inline(always)]
pub(crate) unsafe fn zero_timeout_and_empty<T: Time>(ctx: io_context_t, timeout: *const T) -> bool {
    if timeout.is_null() {
        return false;
    }
    // SAFETY: Valid for reads, says the caller; C may have it at any address.
    let timeout = unsafe { timeout.read_unaligned() };
    if !timeout.is_zero() || !table::has(ctx) {
        return false;
    }
    // SAFETY: The ring of a context that this process has made, and that nobody ends meanwhile,
    // says the caller. All fields are atomic, so that others may write meanwhile, and every bit
    // pattern is allowed.
    let ring = unsafe { &*ctx };
    ring.head.load(Relaxed) == ring.tail.load(Relaxed)
}
