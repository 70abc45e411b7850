//! The public API: what compiles and what must not, its texts, and what each function does after a
//! fork.
#![cfg(feature = "std")]

#[path = "../common/mod.rs"]
mod common;

mod chains;
mod compile;
mod diagnose;
mod fork_complete;
mod texts;
