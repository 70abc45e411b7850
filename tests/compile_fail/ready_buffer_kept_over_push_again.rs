//! E0505: the kernel has the buffer again

use linux_aio::Queue;
use linux_aio::op::Read;
use std::fs::File;

fn use_up(queue: &mut Queue<Read<File, Vec<u8>>>) {
    let ready = queue.wait_ready().unwrap().unwrap();
    let buf = &ready.op().buf;
    ready.push_again(); //~
    println!("{buf:?}");
}

fn main() {
    let _ = use_up;
}
