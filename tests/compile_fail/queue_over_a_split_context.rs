//! E0505: a reaper beside the queue would take its events

use linux_aio::op::Read;
use linux_aio::{IoContext, Queue};
use std::fs::File;

fn main() {
    let mut context = IoContext::new(2).unwrap();
    let (_, reaper) = context.split();
    let queue = Queue::<Read<File, Vec<u8>>>::new(context, 2); //~
    drop((queue, reaper));
}
