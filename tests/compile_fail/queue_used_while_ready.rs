//! E0499: the slot could be given out twice

use linux_aio::Queue;
use linux_aio::op::Read;
use std::fs::File;

fn use_up(queue: &mut Queue<Read<File, Vec<u8>>>) {
    let ready = queue.wait_ready().unwrap().unwrap();
    let again = queue.ready(); //~
    drop((ready, again));
}

fn main() {
    let _ = use_up;
}
