//! E0515: a local is gone when the kernel writes

use linux_aio::{Fd, Operation, Prepared};

struct Op<'fd>(Fd<'fd>);

impl Operation for Op<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        let mut local = [0u8; 64];
        Prepared::read(self.0, &mut local, 0) //~
    }
}

fn main() {}
