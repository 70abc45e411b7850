//! lifetime may not live long enough: completions of a grown scope would claim a longer life than
//! their buffers have

use linux_aio::op::Read;
use linux_aio::Scope;
use std::fs::File;

type Io<'buf> = Scope<Read<&'static File, &'buf mut [u8]>>;

fn grow<'io, 'short, 'long: 'short>(io: &'io Io<'short>) -> &'io Io<'long> {
    io //~
}

fn main() {
    let _ = grow;
}
