//! E0499: a reaper beside the scope would take its events

use linux_aio::op::Read;
use linux_aio::{IoContext, Slot};
use std::fs::File;

fn main() {
    let file = File::open("/dev/zero").unwrap();
    let mut context = IoContext::new(2).unwrap();
    let (_, reaper) = context.split();
    let _ = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| { //~
        io.push(Read::new(&file, [0u8; 64], 0)).unwrap();
    });
    drop(reaper);
}
