//! E0505: a number that is closed may be given to another file

use linux_aio::Fd;
use std::fs::File;
use std::os::fd::AsFd;

fn main() {
    let file = File::open("/dev/zero").unwrap();
    let fd: Fd<'_> = file.as_fd().into();
    drop(file); //~
    println!("{fd:?}");
}
