//! What a Linux program needs in place of a C library: the entry point, the memory functions that
//! the compiler calls, a few system calls, and a way to print.
//!
//! A program defines `program`, and is entered there with its arguments:
//!
//! ```ignore
//! // SAFETY: The only function of this name, with the signature that `start` declares.
//! #[unsafe(no_mangle)]
//! fn program(arguments: Arguments) -> i32 { 0 }
//! ```
#![no_std]

pub mod kernel;
mod memory;
mod pattern;
pub mod print;
mod start;
pub mod transfer;

pub use pattern::{fill, filled_with};
pub use start::{AT_PAGESZ, Arguments};
