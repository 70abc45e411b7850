//! E0133: whatever the numbers name must be promised

use linux_aio::{Operation, Prepared};

struct Op(u8);

impl Operation for Op {
    fn prepare(&mut self) -> Prepared<'_> {
        let _ = self.0;
        Prepared::from_iocb(linux_aio::Iocb::fsync(1)) //~
    }
}

fn main() {}
