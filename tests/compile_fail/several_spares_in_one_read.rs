//! E0277: the count of a vectored read is that of all buffers together

use linux_aio::op::ReadV;
use linux_aio::{Operation, Spare};
use std::fs::File;

fn push(_: impl Operation) {}

fn main() {
    let bufs = [(); 2].map(|()| Spare::new(Vec::<u8>::with_capacity(64)));
    let zero = File::open("/dev/zero").unwrap();
    push(ReadV::new(zero, bufs, 0)); //~
}
