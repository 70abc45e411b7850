//! E0515: when the guard goes, others may lock and write

use std::sync::Mutex;
use linux_aio::{Fd, Operation, Prepared};

struct Op<'fd>(Fd<'fd>, Mutex<Vec<u8>>);

impl Operation for Op<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        let mut guard = self.1.lock().unwrap();
        Prepared::read(self.0, &mut guard, 0) //~
    }
}

fn main() {}
