//! E0200: memory that moves or changes would show bytes that nobody wrote

use linux_aio::SpareMemory;
use std::mem::MaybeUninit;

struct Moves([Vec<MaybeUninit<u8>>; 2]);

impl SpareMemory for Moves { //~
    fn spare_len(&self) -> usize {
        64
    }
    fn spare_mut(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.0[1]
    }
    unsafe fn filled(&self, _: usize) -> &[u8] {
        &[]
    }
    unsafe fn commit(&mut self, _: usize) {}
}

fn main() {}
