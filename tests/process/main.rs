//! What a process does around the library: fork, signals, threads, limits, filters.
#![cfg(feature = "std")]

#[path = "../common/mod.rs"]
mod common;

mod filters;
mod fork;
mod limits;
mod signals;
mod threads;
