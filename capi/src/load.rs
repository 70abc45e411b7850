//! Runs when the library is loaded, and in static programs before `main`. It reads what the program
//! may change later.
//!
//! It must never make a system call, nor rely on the C library, which may not be initialized yet.

use core::ffi::{c_char, c_int};

use crate::memory_sanitizer as msan;
use crate::switch;

/// The entry that the linker puts among the constructors.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char) =
    construct;

/// Reads the environment, and looks for MemorySanitizer.
///
/// # Safety
/// Only the dynamic linker and the start-up code of the C library may call it. They pass the
/// arguments of `main`, or none.
unsafe extern "C" fn construct(
    count: c_int,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) {
    // SAFETY: The dynamic linker and the start-up code run constructors before any function of the
    // library is called.
    unsafe { msan::look() };
    // SAFETY: A caller that passes an argument list and the environment behind it passes those of
    // the process.
    unsafe { switch::loaded(count, arguments, environment) };
}
