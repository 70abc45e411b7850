//! E0277: the operations move with their queue

use linux_aio::Queue;
use linux_aio::op::Read;
use std::fs::File;
use std::rc::Rc;

fn main() {
    let queue = Queue::<Read<Rc<File>, Vec<u8>>>::with_capacity(1).unwrap();
    std::thread::spawn(move || drop(queue)); //~
}
