//! E0277: a queue is used by one thread at a time

use linux_aio::Queue;
use linux_aio::op::Read;
use std::fs::File;

fn need<T: Sync>() {}

fn main() {
    need::<Queue<Read<File, Vec<u8>>>>(); //~
}
