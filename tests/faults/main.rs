//! Faults of calls, limits, devices and files: nothing is lost, and each error says its cause.
#![cfg(feature = "std")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../example/program.rs"]
mod program;

mod devices;
mod injected;
mod injection;
mod limits;
mod stopped;
mod stops;
mod strace;
mod truncated;
mod victim;

/// What other tests run: under strace, in limits, stopped. If nothing fails, everything must
/// succeed.
#[test]
#[ignore = "a victim of the other tests"]
fn a_victim() {
    victim::run_chosen();
}
