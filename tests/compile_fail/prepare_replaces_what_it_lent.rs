//! E0506: the kernel would write the buffer that has been freed

use linux_aio::{Fd, Operation, Prepared};

struct Op<'fd>(Fd<'fd>, Vec<u8>);

impl Operation for Op<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        let prepared = Prepared::read(self.0, &mut self.1, 0);
        self.1 = Vec::new(); //~
        prepared
    }
}

fn main() {}
