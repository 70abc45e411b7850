//! Fuzz targets of linux-aio. Each is a function over the bytes of an input that compares what was
//! observed with a model, so that it runs under libFuzzer, under AFL++, over a corpus as an
//! ordinary test, and over random inputs (`hammer`).

pub mod capi;
pub mod divergence;
pub mod files;
pub mod input;
mod layer;
pub mod memory;
pub mod model;
pub mod queue;
pub mod ring;
pub mod scope;
#[cfg(linux_aio_simulated)]
pub mod simulated;
pub mod submit;
mod target;
mod watchdog;

pub use layer::Layer;
pub use target::{Runner, Target, check, directory, replay};
