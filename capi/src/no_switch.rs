//! In place of [`switch`](crate::switch), where there is nothing to be turned off.

#[cfg(target_pointer_width = "64")]
use core::ffi::{c_char, c_int};

/// There is nothing that could be turned off.
pub(crate) fn is_on() -> bool {
    true
}

/// Reads nothing when the library is loaded.
///
/// # Safety
/// None of its own.
#[cfg(target_pointer_width = "64")]
pub(crate) unsafe fn loaded(_: c_int, _: *const *const c_char, _: *const *const c_char) {}
