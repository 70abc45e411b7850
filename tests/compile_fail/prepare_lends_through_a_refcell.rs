//! E0515: when the guard goes, others may borrow and write

use std::cell::RefCell;
use std::rc::Rc;
use linux_aio::{Fd, Operation, Prepared};

struct Op<'fd>(Fd<'fd>, Rc<RefCell<Vec<u8>>>);

impl Operation for Op<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        let mut guard = self.1.borrow_mut();
        Prepared::read(self.0, &mut guard, 0) //~
    }
}

fn main() {}
