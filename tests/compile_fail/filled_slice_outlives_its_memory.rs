//! E0597: what was read lives as long as its memory

use linux_aio::Spare;
use std::mem::MaybeUninit;

fn main() {
    let bytes = {
        let mut memory = [MaybeUninit::uninit(); 64];
        Spare::new(&mut memory[..]).into_filled() //~
    };
    println!("{bytes:?}");
}
