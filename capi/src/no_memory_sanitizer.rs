//! Does nothing, in place of [`memory_sanitizer`](crate::memory_sanitizer): no machine with 32 bits
//! has MemorySanitizer.

use core::ffi::c_long;

use linux_aio_raw::abi::iocb;

/// Returns `false`.
pub(crate) fn is_there() -> bool {
    false
}

/// Does nothing.
pub(crate) fn wrote<T>(_start: *const T, _count: usize) {}

/// Does nothing.
///
/// # Safety
/// None of its own.
pub(crate) unsafe fn will_write(_nr: c_long, _ios: *const *mut iocb) {}

/// Does nothing.
pub(crate) fn will_pass(_count: usize) {}
