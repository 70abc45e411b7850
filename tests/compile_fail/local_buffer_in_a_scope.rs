//! E0597: a local of the closure ends before the scope waits

use linux_aio::op::Read;
use linux_aio::{IoContext, Slot};
use std::fs::File;

fn main() {
    let file = File::open("/dev/zero").unwrap();
    let mut context = IoContext::new(2).unwrap();
    let _ = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 2], |io| {
        let mut local = [0u8; 64];
        io.push(Read::new(&file, &mut local[..], 0)).unwrap(); //~
    });
}
