//! The functions of the C drop-in, compiled from its own source files, so that a sanitizer and a
//! fuzzer see into them. Only the symbol versions are left out: they are the linker's business. So
//! the functions that call each other by their C names call those of this crate.
//!
//! It must never contain code of its own.

#[path = "../../../capi/src"]
mod source {
    pub mod calls;
    pub mod compat;
    pub mod context;
    #[cfg(all(feature = "reap", target_pointer_width = "64"))]
    pub(crate) mod gate;
    #[cfg(not(all(feature = "reap", target_pointer_width = "64")))]
    #[path = "no_gate.rs"]
    pub(crate) mod gate;
    #[cfg(target_pointer_width = "64")]
    pub(crate) mod load;
    #[cfg(target_pointer_width = "64")]
    pub(crate) mod memory_sanitizer;
    #[cfg(not(target_pointer_width = "64"))]
    #[path = "no_memory_sanitizer.rs"]
    pub(crate) mod memory_sanitizer;
    #[cfg(all(feature = "reap", target_pointer_width = "64"))]
    pub(crate) mod primitive;
    pub mod queue;
    #[cfg(all(feature = "reap", target_pointer_width = "64"))]
    pub(crate) mod reap;
    #[cfg(not(all(feature = "reap", target_pointer_width = "64")))]
    #[path = "no_reap.rs"]
    pub(crate) mod reap;
    pub(crate) mod ring;
    #[cfg(all(feature = "reap", target_pointer_width = "64"))]
    pub(crate) mod switch;
    #[cfg(not(all(feature = "reap", target_pointer_width = "64")))]
    #[path = "no_switch.rs"]
    pub(crate) mod switch;
    pub(crate) mod table;
    #[cfg(all(feature = "reap", target_pointer_width = "64"))]
    pub(crate) mod valgrind;
}

/// Stands for the linker, which binds the names.
use source::calls as by_name;

pub use source::{calls, compat, context, queue};
use source::{gate, memory_sanitizer, reap, ring, switch, table};
