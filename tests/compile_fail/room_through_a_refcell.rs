//! E0515: when the guard goes, others may borrow and take the bytes

use linux_aio::{Fd, Operation, Prepared, ReadTo, Spare};
use std::cell::RefCell;
use std::rc::Rc;

struct Op<'fd>(Fd<'fd>, Rc<RefCell<Spare<Vec<u8>>>>);

impl Operation for Op<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        let mut guard = self.1.borrow_mut();
        Prepared::read_to(self.0, guard.lend(), 0) //~
    }
}

fn main() {}
