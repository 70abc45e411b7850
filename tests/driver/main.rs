//! `Driver` and its futures, on each runtime.
#![cfg(feature = "std")]

#[path = "../common/mod.rs"]
mod common;

mod announcing;
mod deadlines;
mod each;
#[cfg(feature = "metrics")]
mod export;
mod hooks;
mod hostile;
mod metrics;
mod runtimes;
mod silent_ends;
#[cfg(feature = "tokio")]
mod tokio;
#[cfg(feature = "tracing")]
mod tracing;
mod users_code;
