//! E0277: the owner of a cell may look at it while the kernel writes

use linux_aio::op::Read;
use linux_aio::{Operation, Shared};
use std::cell::Cell;
use std::fs::File;

fn push(_: impl Operation) {}

fn main() {
    let cells: &'static [Cell<u8>] = Vec::leak(vec![Cell::new(0); 64]);
    let zero = File::open("/dev/zero").unwrap();
    push(Read::new(zero, Shared(cells), 0)); //~
}
