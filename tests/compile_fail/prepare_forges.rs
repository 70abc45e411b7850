//! E0451: a loan is made by lending

use linux_aio::{Fd, Iocb, Operation, Prepared};
use std::marker::PhantomData;

struct Op<'fd>(Fd<'fd>);

impl Operation for Op<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        let _ = self.0;
        Prepared { iocb: Iocb::fsync(1), filled: None, loan: PhantomData } //~
    }
}

fn main() {}
