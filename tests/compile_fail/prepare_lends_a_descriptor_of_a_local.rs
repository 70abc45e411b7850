//! E0515: the file is closed when the kernel looks for it

use linux_aio::{Operation, Prepared};
use std::fs::File;
use std::os::fd::AsFd;

struct Op(Vec<u8>);

impl Operation for Op {
    fn prepare(&mut self) -> Prepared<'_> {
        let file = File::open("/dev/zero").unwrap();
        Prepared::read(file.as_fd().into(), &mut self.0, 0) //~
    }
}

fn main() {}
