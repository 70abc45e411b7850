//! E0515: a room of a local ends before the kernel is done

use linux_aio::{Fd, Filled, Operation, Prepared, Room};
use std::mem::MaybeUninit;

struct Op<'fd>(Fd<'fd>, Filled);

impl Operation for Op<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        let mut local = [MaybeUninit::uninit(); 64];
        Prepared::read_to(self.0, Room::uninit(&mut local, &mut self.1), 0) //~
    }
}

fn main() {}
