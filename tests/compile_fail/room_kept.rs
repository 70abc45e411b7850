//! lifetime may not live long enough: a room that is kept would be lent twice

use linux_aio::{Fd, Operation, Prepared, ReadTo, Room, Spare};

struct Op<'k> {
    fd: Fd<'static>,
    buf: Spare<Vec<u8>>,
    kept: Option<Room<'k>>,
}

impl Operation for Op<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        self.kept = Some(self.buf.lend()); //~
        Prepared::fsync(self.fd)
    }
}

fn main() {}
