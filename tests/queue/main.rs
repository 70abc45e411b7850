//! `Queue`: what it does with operations, files, the ring and the code of its users.
#![cfg(feature = "std")]

#[path = "../common/mod.rs"]
mod common;

mod callbacks;
mod cancel;
mod descriptor;
mod descriptor_random;
mod descriptor_room;
mod files;
mod lifecycle;
mod operations;
mod panics;
mod ready;
mod ring;
mod room;
mod users_code;
mod wait;
