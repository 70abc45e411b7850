//! Attacks on the count of memory that is not initialised, and on transfers that go on: by the
//! kernel's events and by safe code. Each byte that a program could see is looked at, so that Miri
//! reports a byte that the kernel never wrote:
//!
//! ```text
//! RUSTFLAGS='--cfg linux_aio_simulated' \
//! MIRIFLAGS='-Zmiri-permissive-provenance -Zmiri-disable-isolation -Zmiri-ignore-leaks' \
//!     cargo +nightly miri test --manifest-path fuzz/Cargo.toml --test hostile_buffers
//! ```
//!
//! The [kernel] has no ring and does nothing but what a test tells it.
#![cfg(linux_aio_simulated)]

mod counts;
mod kernel;
mod transfers;
mod vectors;
