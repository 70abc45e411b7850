#![doc = include_str!("guide.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod calls;
mod check;
mod choices;
mod context;
mod descriptor;
mod disk;
mod execute;
mod executor;
mod faults;
mod files;
#[doc(hidden)]
pub mod harness;
mod inode;
mod memory;
mod monitor;
mod random;
mod ring;
mod seam;
mod shared;
mod sim;
mod threads;
mod watch;
mod world;

pub use check::{Failure, check, check_seeds};
pub use executor::Executor;
pub use faults::Faults;
pub use sim::{Entered, Sim};

/// Compiles and runs the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
