//! The C drop-in: the functions of libaio 0.3.113, for programs that nobody recompiles.
//!
//! It stands on the system calls of `linux-aio` and on nothing else: no C library, no allocation,
//! and no state but the table of the process's contexts and what was found out about the process.
//! What is there of a C library (`environ`) and of MemorySanitizer is used, by weak symbols. Each
//! function takes what its namesake takes and returns what it returns, a negative errno on failure,
//! and never touches `errno`. The layout of what C passes is the kernel's.
//!
//! It must never panic, never unwind, and never call `memcpy` and its like: the libraries have no
//! undefined symbols but weak ones, which the tests check.
//!
//! | module | functions |
//! |---|---|
//! | [`calls`] | the six system calls: `io_setup`, `io_destroy`, `io_submit`, `io_cancel`, `io_getevents`, `io_pgetevents` |
//! | [`queue`] | the convenience layer: `io_queue_init`, `io_queue_release`, `io_queue_run`, `io_queue_wait` |
//! | [`compat`] | three functions as LIBAIO_0.1 had them, hidden behind their version |
//! | `time64` | 32-bit targets only: `io_getevents_time64`, `io_pgetevents_time64` |
//!
//! Which C name and version each of them has is said in `versions.rs`, and nowhere else in the
//! source.

#![no_std]

mod by_name;
pub mod calls;
pub mod compat;
pub mod context;
#[cfg(target_pointer_width = "64")]
mod load;
#[cfg(target_pointer_width = "64")]
mod memory_sanitizer;
#[cfg(not(target_pointer_width = "64"))]
#[path = "no_memory_sanitizer.rs"]
mod memory_sanitizer;
pub mod queue;
// Gates and events are made of atomic words of 64 bits. All Linux targets with 64 bits have those;
// of the ones with 32 bits some have, and none was tested.
#[cfg(all(feature = "reap", target_pointer_width = "64"))]
mod gate;
#[cfg(not(all(feature = "reap", target_pointer_width = "64")))]
#[path = "no_gate.rs"]
mod gate;
#[cfg(all(feature = "reap", target_pointer_width = "64"))]
mod primitive;
#[cfg(all(feature = "reap", target_pointer_width = "64"))]
mod reap;
#[cfg(not(all(feature = "reap", target_pointer_width = "64")))]
#[path = "no_reap.rs"]
mod reap;
mod ring;
#[cfg(all(feature = "reap", target_pointer_width = "64"))]
mod switch;
#[cfg(not(all(feature = "reap", target_pointer_width = "64")))]
#[path = "no_switch.rs"]
mod switch;
mod table;
#[cfg(target_pointer_width = "32")]
pub mod time64;
#[cfg(all(feature = "reap", target_pointer_width = "64"))]
mod valgrind;
mod versions;

/// What rustc wants in every library without std. Nothing here panics, so it is dropped; a test
/// sees to it that no object has it.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
