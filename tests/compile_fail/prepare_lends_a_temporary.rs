//! E0515: a temporary is gone when the kernel writes

use linux_aio::{Fd, Operation, Prepared};

struct Op<'fd>(Fd<'fd>);

impl Operation for Op<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        Prepared::read(self.0, &mut vec![0u8; 64], 0) //~
    }
}

fn main() {}
