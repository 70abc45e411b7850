//! Defects that other crates have had, each as a test that passes here.
#![cfg(feature = "std")]

#[path = "../common/mod.rs"]
mod common;

mod crates;
#[cfg(feature = "tokio")]
mod futures;
