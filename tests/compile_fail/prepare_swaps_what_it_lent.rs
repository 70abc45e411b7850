//! E0499: the kernel would write a buffer that is elsewhere

use linux_aio::{Fd, Operation, Prepared};

struct Op<'fd>(Fd<'fd>, Vec<u8>);

impl Operation for Op<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        let prepared = Prepared::read(self.0, &mut self.1, 0);
        std::mem::swap(&mut self.1, &mut vec![0u8; 64]); //~
        prepared
    }
}

fn main() {}
