//! E0597: a queue that is forgotten would leave the kernel a buffer that ends

use linux_aio::Queue;
use linux_aio::op::Read;
use std::fs::File;

fn main() {
    let mut buf = [0u8; 64];
    let mut queue = Queue::with_capacity(1).unwrap();
    queue.push(Read::new(File::open("/dev/zero").unwrap(), &mut buf[..], 0)).unwrap(); //~
}
