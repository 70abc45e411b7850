//! E0507: a scope that could be forgotten would not wait

use linux_aio::op::Read;
use linux_aio::Scope;
use std::fs::File;

fn forget(io: &Scope<Read<File, Vec<u8>>>) {
    std::mem::forget(*io); //~
}

fn main() {
    let _ = forget;
}
