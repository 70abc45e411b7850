//! E0515: what was taken out of the operation is not kept by its slot

use std::cell::Cell;
use linux_aio::{Fd, Operation, Prepared};

struct Op<'fd>(Fd<'fd>, Cell<Vec<u8>>);

impl Operation for Op<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        let mut taken = self.1.take();
        Prepared::read(self.0, &mut taken, 0) //~
    }
}

fn main() {}
