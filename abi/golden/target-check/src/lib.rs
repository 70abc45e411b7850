//! Compiles only where `linux-aio-abi` says what the golden file of the target says.
//!
//! It must never contain anything but the assertions that `build.rs` writes.

#![no_std]
#![allow(clippy::unnecessary_cast, reason = "the constants are of several types")]

#[allow(unused_imports, reason = "a target without Linux has no assertions")]
use linux_aio_abi as abi;

include!(concat!(env!("OUT_DIR"), "/assertions.rs"));
