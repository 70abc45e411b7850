//! `Scope`: operations that borrow, and every way to leave.
#![cfg(feature = "std")]

#[path = "../common/mod.rs"]
mod common;

mod descriptor;
mod leaving;
mod operations;
