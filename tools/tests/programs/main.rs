//! The programs of this package, run: what they do and print, where calls, devices and memory fail,
//! under signals and filters.

#[path = "../../../tests/common/mod.rs"]
mod common;
#[path = "../../../tests/faults"]
mod faults {
    pub(crate) mod injection;
    pub(crate) mod stops;
    pub(crate) mod strace;
}
#[path = "../../../tests/example/program.rs"]
mod program;

mod aio_bench;
mod aio_copy;
mod aio_probe;
mod faults_copy;
mod faults_killed;
mod faults_memory;
mod sandbox;
mod texts;
