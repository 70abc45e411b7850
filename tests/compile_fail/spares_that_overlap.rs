//! E0499: of two spares of one read, each would count bytes that are the other's as well

use linux_aio::op::ReadV;
use linux_aio::{Operation, Spare};
use std::fs::File;
use std::mem::MaybeUninit;

fn push(_: impl Operation) {}

fn main() {
    let zero = File::open("/dev/zero").unwrap();
    let mut memory = [MaybeUninit::uninit(); 64];
    let first = Spare::new(&mut memory[..40]);
    let second = Spare::new(&mut memory[24..]); //~
    push(ReadV::new(zero, [first, second], 0));
}
