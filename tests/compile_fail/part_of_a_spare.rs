//! E0277: a part that does not begin at the start would leave a gap

use linux_aio::op::Read;
use linux_aio::{Operation, Slice, Spare};
use std::fs::File;

fn push(_: impl Operation) {}

fn main() {
    let part = Spare::new(Vec::<u8>::with_capacity(64)).part(8..);
    let zero = File::open("/dev/zero").unwrap();
    push(Read::new(zero, part, 0)); //~
}
