//! E0499: two operations must not write one buffer

use linux_aio::op::Read;
use linux_aio::{IoContext, Slot};
use std::fs::File;

fn main() {
    let file = File::open("/dev/zero").unwrap();
    let mut context = IoContext::new(2).unwrap();
    let mut buf = [0u8; 64];
    let _ = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 2], |io| {
        io.push(Read::new(&file, &mut buf[..], 0)).unwrap();
        io.push(Read::new(&file, &mut buf[..], 64)).unwrap(); //~
    });
}
