//! E0597: a queue that is forgotten would leave the kernel the number of another file

use linux_aio::Queue;
use linux_aio::op::Read;
use std::fs::File;

fn main() {
    let file = File::open("/dev/zero").unwrap();
    let mut queue = Queue::with_capacity(1).unwrap();
    queue.push(Read::new(&file, [0u8; 64], 0)).unwrap(); //~
}
