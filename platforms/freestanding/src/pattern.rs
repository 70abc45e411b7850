//! Bytes that can be told from any other block's.

/// Fills `buffer` with a pattern that differs for each `number` and at each place.
pub fn fill(buffer: &mut [u8], number: u64) {
    for (place, byte) in buffer.iter_mut().enumerate() {
        *byte = at(number, place);
    }
}

/// Whether `buffer` is as [`fill`] left it.
pub fn filled_with(buffer: &[u8], number: u64) -> bool {
    buffer.iter().enumerate().all(|(place, byte)| *byte == at(number, place))
}

fn at(number: u64, place: usize) -> u8 {
    let mixed = number.wrapping_mul(0x9e37_79b9).wrapping_add(place as u64 * 0x85eb);
    (mixed ^ (mixed >> 8)) as u8
}
