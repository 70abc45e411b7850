//! E0451: a buffer that was not read to has nothing to show

use linux_aio::{Filled, Spare};

fn main() {
    let (buf, filled) = (Vec::<u8>::with_capacity(64), Filled::new());
    let spare = Spare { buf, filled, limit: 64 }; //~
    println!("{}", spare.len());
}
