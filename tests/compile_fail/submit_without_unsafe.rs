//! E0133: raw iocbs name memory that somebody must answer for

use linux_aio::{IoContext, Iocb};

fn main() {
    let mut context = IoContext::new(1).unwrap();
    let mut iocb = Iocb::fsync(1);
    let _ = context.split().0.submit(&[&raw mut iocb]); //~
}
