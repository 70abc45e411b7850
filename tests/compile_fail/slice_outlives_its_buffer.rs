//! E0505: an iovec must name memory that is there

use linux_aio::IoSlice;

fn main() {
    let buf = vec![0u8; 64];
    let slice = IoSlice::new(&buf);
    drop(buf); //~
    println!("{slice:?}");
}
