//! E0382: the slot owns it

use linux_aio::Queue;
use linux_aio::op::Read;
use std::fs::File;

fn main() {
    let mut queue = Queue::with_capacity(1).unwrap();
    let op = Read::new(File::open("/dev/zero").unwrap(), vec![0u8; 64], 0);
    let _ = queue.push(op);
    println!("{:?}", op.buf); //~
}
