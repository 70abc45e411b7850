//! E0451: a loan is made by lending

use linux_aio::{Fd, Operation, Prepared};

struct Op<'fd>(Fd<'fd>);

impl Operation for Op<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        let _ = self.0;
        Prepared { iocb: linux_aio::Iocb::fsync(1), loan: std::marker::PhantomData } //~
    }
}

fn main() {}
