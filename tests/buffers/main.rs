//! The buffers of operations: parts, vectors with a count of run time, memory that others use,
//! memory that is not initialised, pools; and transfers that go on.
#![cfg(feature = "std")]

#[path = "../common/mod.rs"]
mod common;

mod part;
mod pool;
mod shared;
mod spare;
mod vectors;
mod whole;

use linux_aio::{Completion, Operation};

/// Runs one operation in a queue of its own.
fn run<O: Operation + 'static>(op: O) -> Completion<O> {
    let mut queue = common::queue(1);
    queue.push(op).map_err(|error| error.errno()).expect("a slot");
    queue.wait().expect("a wait").expect("a completion")
}
