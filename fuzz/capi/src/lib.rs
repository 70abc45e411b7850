//! The functions of the C drop-in, compiled from its own source files, so that a sanitizer and a
//! fuzzer see into them. Only the symbol versions are left out: they are the linker's business.
//!
//! It must never contain code of its own.

#[path = "../../../capi/src"]
mod source {
    pub mod calls;
    pub mod compat;
    pub mod queue;
    #[cfg(all(feature = "reap", target_pointer_width = "64"))]
    pub(crate) mod reap;
    #[cfg(not(all(feature = "reap", target_pointer_width = "64")))]
    #[path = "no_reap.rs"]
    pub(crate) mod reap;
    pub(crate) mod ring;
    pub(crate) mod table;
}

pub use source::{calls, compat, queue};
use source::{reap, ring, table};
