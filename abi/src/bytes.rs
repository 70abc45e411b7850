//! Fields to bytes and back, in the machine's byte order.
//!
//! It must never look at a structure as memory: a conversion names each field, so that padding and
//! uninitialised bytes cannot come up.

/// Stores `field` at byte `offset`.
pub(crate) fn put(bytes: &mut [u8], offset: usize, field: &[u8]) {
    bytes[offset..offset + field.len()].copy_from_slice(field);
}

/// Loads the `N` bytes at byte `offset`.
pub(crate) fn get<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[offset..offset + N]);
    field
}
