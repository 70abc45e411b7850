//! [`Layer`], which part of the library a target of the simulated kernel drives.

/// What runs over a simulated kernel: `crate::simulated`, with `--cfg linux_aio_simulated`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// A `Reaper` and a `Submitter`.
    Reaper,
    /// A `Scope`.
    Scope,
    /// A `Queue`.
    Queue,
    /// A `Driver`.
    Driver,
}
