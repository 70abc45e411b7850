//! E0308: scopes of two contexts must not change places

use linux_aio::op::Read;
use linux_aio::Scope;
use std::fs::File;

type Io = Scope<Read<File, Vec<u8>>>;

fn swap(first: &Io, second: &mut Io) {
    std::mem::swap(first, second); //~
}

fn main() {
    let _ = swap;
}
