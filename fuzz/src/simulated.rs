//! Targets over a simulated kernel, for layers that must bear more than the running one shows:
//! submits that are taken in part, `EAGAIN`, `EINTR`, late and reordered events, events of nobody,
//! short transfers, a head out of the ring, and calls that a filter refuses, `io_destroy` among
//! them. Only with `--cfg linux_aio_simulated`.
//!
//! The kernel is that of `linux-aio-sim`, without its clock: what it does next is its [`Script`]'s
//! choice, which comes from a seed or from an input. The same script gives the same answers. It
//! does the I/O when it delivers the event, in the buffers themselves: one that was given back too
//! early is found out, by its [watch](memory::watch) and by a sanitizer. Each operation carries a
//! number in `aio_rw_flags`, under which the kernel keeps a [`Record`] of what it made of it.

pub mod driver;
mod layer;
pub mod memory;
pub mod operation;
pub mod queue;
pub mod reaper;
pub mod scope;

pub use linux_aio_sim::harness::{Counts, Fault, Filters, Kernel, Killed, Object, Record, Script};

use crate::divergence::{Divergence, Verdict};
use crate::layer::Layer;

/// Makes a kernel that may touch the [watched](memory::watch) buffers, and no others.
pub fn kernel(script: Script) -> Kernel {
    Kernel::new(script, memory::is_watched)
}

/// The verdict on what was done to a kernel.
pub(crate) fn judge(checked: Result<(), String>) -> Verdict {
    checked.map_err(Divergence)
}

/// Runs the inputs of one target.
#[derive(Debug)]
pub struct Simulated {
    layer: Layer,
    /// Operations so far.
    pub operations: u64,
}

impl Simulated {
    /// A target over that layer.
    pub fn new(layer: Layer) -> Self {
        scope::hide_panics();
        Self { layer, operations: 0 }
    }

    /// Runs one input: two bytes say how many belong to the kernel's script, which follows; the
    /// rest are the steps.
    pub fn run(&mut self, data: &[u8]) -> Verdict {
        let (length, rest) = data.split_at(data.len().min(2));
        let length = length.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
        let (script, steps) = rest.split_at(length % (rest.len() + 1));
        let script = Script::from_bytes(script.to_vec());
        self.operations += match self.layer {
            Layer::Reaper => reaper::run(steps, script),
            Layer::Scope => scope::run(steps, script),
            Layer::Queue => queue::run(steps, script),
            Layer::Driver => driver::run(steps, script),
        }?;
        Ok(())
    }
}

fn report(text: impl Into<String>) -> Divergence {
    Divergence(text.into())
}
