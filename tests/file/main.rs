//! `File` and its futures, on each runtime and file system.
#![cfg(feature = "std")]

#[path = "../common/mod.rs"]
mod common;

mod attack;
mod blocking;
mod buffers;
mod deadlines;
mod drivers;
mod edges;
mod forks;
mod handles;
mod model;
mod ranges;
mod reader;
mod requests;
mod rounds;
mod turns;
mod users_code;
mod writer;
