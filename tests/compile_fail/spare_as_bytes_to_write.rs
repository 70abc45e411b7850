//! E0277: bytes that are not initialised are not `&mut [u8]`

use linux_aio::Spare;

fn fill(_: impl AsMut<[u8]>) {}

fn main() {
    let spare = Spare::new(Vec::with_capacity(64));
    fill(spare); //~
}
