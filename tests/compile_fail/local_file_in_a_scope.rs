//! E0597: a file that is closed leaves its number to another

use linux_aio::op::Read;
use linux_aio::{IoContext, Slot};
use std::fs::File;

fn main() {
    let file = File::open("/dev/zero").unwrap();
    let mut context = IoContext::new(2).unwrap();
    let mut buf = [0u8; 64];
    let _ = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 2], |io| {
        let local = File::open("/dev/zero").unwrap();
        io.push(Read::new(&local, &mut buf[..], 0)).unwrap(); //~
    });
}
