//! E0277: a scope belongs to one thread

use linux_aio::op::Read;
use linux_aio::{IoContext, Slot};
use std::fs::File;

fn main() {
    let file = File::open("/dev/zero").unwrap();
    let mut context = IoContext::new(2).unwrap();
    let _ = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
        std::thread::scope(|threads| {
            threads.spawn(|| io.push(Read::new(&file, [0u8; 64], 0)).is_ok()); //~
        });
    });
}
