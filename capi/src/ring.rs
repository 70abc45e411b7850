//! The completion ring's header, and whether the ring is empty.
//!
//! It must never write to the ring, which is for `reap` to do, and never look at one of another
//! process.

use core::mem::{offset_of, size_of};
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use linux_aio_raw::abi::{AIO_RING_INCOMPAT_FEATURES, AIO_RING_MAGIC, aio_ring};
use static_assertions::const_assert_eq;

use crate::calls::io_context_t;
use crate::table;

/// [`aio_ring`] as memory that the kernel and other threads write while we read it.
#[repr(C)]
pub struct Header {
    id: AtomicU32,
    pub(crate) nr: AtomicU32,
    pub(crate) head: AtomicU32,
    pub(crate) tail: AtomicU32,
    magic: AtomicU32,
    compat_features: AtomicU32,
    incompat_features: AtomicU32,
    header_length: AtomicU32,
}

const_assert_eq!(size_of::<Header>(), size_of::<aio_ring>());
const_assert_eq!(offset_of!(Header, head), offset_of!(aio_ring, head));
const_assert_eq!(offset_of!(Header, tail), offset_of!(aio_ring, tail));
const_assert_eq!(offset_of!(Header, magic), offset_of!(aio_ring, magic));
const_assert_eq!(offset_of!(Header, incompat_features), offset_of!(aio_ring, incompat_features));

impl Header {
    /// Whether the kernel says that it is a ring, as gVisor does not, and one without features that
    /// are unknown to us.
    ///
    /// The page may be a read-only one, where only relaxed loads are allowed.
    pub(crate) fn is_understood(&self) -> bool {
        self.magic.load(Relaxed) == AIO_RING_MAGIC
            && self.incompat_features.load(Relaxed) == AIO_RING_INCOMPAT_FEATURES
            && self.header_length.load(Relaxed) as usize == size_of::<Self>()
    }
}

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
