//! The functions of the C drop-in, compiled from its own source files, so that a sanitizer and a
//! fuzzer see into them. Only the symbol versions are left out: they are the linker's business.
//!
//! It must never contain code of its own.

#[path = "../../../capi/src/calls.rs"]
pub mod calls;
#[path = "../../../capi/src/compat.rs"]
pub mod compat;
#[path = "../../../capi/src/queue.rs"]
pub mod queue;
#[path = "../../../capi/src/no_reap.rs"]
mod reap;
#[path = "../../../capi/src/ring.rs"]
mod ring;
