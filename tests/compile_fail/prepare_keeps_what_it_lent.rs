//! lifetime may not live long enough: a second way to the buffer would alias the kernel's

use linux_aio::{Fd, Operation, Prepared};

struct Op<'buf>(Fd<'buf>, &'buf mut [u8], Option<&'buf mut [u8]>);

impl Operation for Op<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        self.2 = Some(&mut *self.1); //~
        Prepared::fsync(self.0)
    }
}

fn main() {}
