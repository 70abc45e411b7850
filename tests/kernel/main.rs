//! What the kernel does with each call, which the library relies on.
#![cfg(feature = "std")]

#[path = "../common/mod.rs"]
mod common;

mod destroy;
mod eventfd;
mod flags;
mod fork;
mod getevents;
mod held_file;
mod mapping;
mod poll;
mod ring;
mod setup;
mod submit;
