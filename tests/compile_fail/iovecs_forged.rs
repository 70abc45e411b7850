//! E0423: what the kernel reads is filled by `prepare` alone

use linux_aio::abi::iovec;
use linux_aio::op::{IovecArray, ReadV};
use std::fs::File;

fn main() {
    let read = ReadV::new(File::open("/dev/zero").unwrap(), [[0u8; 8]], 0);
    let iovecs = IovecArray([iovec { iov_base: 1, iov_len: 8 }]); //~
    let _ = ReadV { iovecs, ..read };
}
