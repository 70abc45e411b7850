//! E0499: a slot holds one operation

use linux_aio::op::Read;
use linux_aio::{IoContext, Slot};
use std::fs::File;

fn main() {
    let file = File::open("/dev/zero").unwrap();
    let (mut first, mut second) = (IoContext::new(2).unwrap(), IoContext::new(2).unwrap());
    let mut slots = [const { Slot::new() }; 2];
    let _ = linux_aio::scope(&mut first, &mut slots, |outer| { //~
        let _ = linux_aio::scope(&mut second, &mut slots, |inner| {
            inner.push(Read::new(&file, [0u8; 64], 0)).unwrap();
        });
        outer.wait().unwrap();
    });
}
