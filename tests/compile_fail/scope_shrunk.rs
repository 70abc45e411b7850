//! lifetime may not live long enough: a scope that took operations of a shorter life would outlive
//! their buffers

use linux_aio::op::Read;
use linux_aio::Scope;
use std::fs::File;

type Io<'buf> = Scope<Read<&'static File, &'buf mut [u8]>>;

fn shrink<'io, 'short, 'long: 'short>(io: &'io Io<'long>) -> &'io Io<'short> {
    io //~
}

fn main() {
    let _ = shrink;
}
