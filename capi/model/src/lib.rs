//! Loom models of `capi/src/gate.rs`: the file itself, over loom's atomics, with a ring and a
//! kernel beside it.
//!
//! ```sh
//! RUSTFLAGS='--cfg loom' cargo test --release --manifest-path capi/Cargo.toml -p linux-aio-capi-model
//! ```
//!
//! Without `--cfg loom` there is nothing here.

#![cfg(loom)]

#[allow(dead_code, reason = "what only the library calls")]
#[path = "../../src/gate.rs"]
mod gate;
mod primitive;
#[cfg(test)]
mod ring;
#[cfg(test)]
mod tests;
