//! E0502: the kernel may be writing

use linux_aio::op::Read;
use linux_aio::{IoContext, Slot, Spare};
use std::fs::File;

fn main() {
    let file = File::open("/dev/zero").unwrap();
    let mut bytes = Vec::with_capacity(64);
    let mut context = IoContext::new(2).unwrap();
    let _ = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 2], |io| {
        io.push(Read::new(&file, Spare::new(&mut bytes), 0)).unwrap();
        println!("{:?}", bytes); //~
        io.wait().unwrap();
    });
}
