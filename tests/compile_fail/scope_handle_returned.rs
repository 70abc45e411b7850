//! lifetime may not live long enough: a scope ends with its closure

use linux_aio::op::Read;
use linux_aio::{IoContext, Slot};
use std::fs::File;

fn main() {
    let file = File::open("/dev/zero").unwrap();
    let mut context = IoContext::new(2).unwrap();
    let io = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
        io.push(Read::new(&file, [0u8; 64], 0)).unwrap();
        io //~
    });
    io.unwrap().wait().unwrap();
}
