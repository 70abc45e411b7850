//! E0499: a buffer that is swapped away is not where the kernel writes

use linux_aio::op::Read;
use linux_aio::{IoContext, Slot};
use std::fs::File;

fn main() {
    let file = File::open("/dev/zero").unwrap();
    let mut context = IoContext::new(2).unwrap();
    let mut owned = vec![0u8; 64];
    let _ = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 2], |io| {
        io.push(Read::new(&file, &mut owned[..], 0)).unwrap();
        std::mem::swap(&mut owned, &mut vec![0u8; 64]); //~
        io.wait().unwrap();
    });
}
