//! The bytes that a file may have.

use std::ops::Range;

/// Says what a byte may be: one bit for each value below 64.
#[derive(Clone, Copy, Default)]
pub(crate) struct Byte {
    pub(crate) now: u64,
    /// The values that may still come.
    pub(crate) late: u64,
}

/// The bytes of one task's area.
pub(crate) struct Model {
    pub(crate) base: u64,
    pub(crate) bytes: Vec<Byte>,
}

/// Tells how a write has ended, as far as that is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Failed,
    /// Nobody knows, and it may still come.
    Left,
}

impl Model {
    fn range(&self, offset: u64, len: u64) -> Range<usize> {
        let start = (offset - self.base) as usize;
        start..start + len as usize
    }

    pub(crate) fn wrote(&mut self, offset: u64, len: u64, value: u8, end: End) {
        let (range, bit) = (self.range(offset, len), 1 << value);
        for byte in &mut self.bytes[range] {
            match end {
                End::Done => byte.now = byte.late | bit,
                End::Failed => byte.now |= bit,
                End::Left => (byte.now, byte.late) = (byte.now | bit, byte.late | bit),
            }
        }
    }

    #[track_caller]
    pub(crate) fn check(&self, offset: u64, bytes: &[u8]) {
        let range = self.range(offset, bytes.len() as u64);
        for (at, (byte, model)) in bytes.iter().zip(&self.bytes[range]).enumerate() {
            let at = offset + at as u64;
            let is_allowed = *byte < 64 && model.now >> byte & 1 == 1;
            assert!(is_allowed, "{byte} at {at}, where {:#x} is allowed", model.now);
        }
    }
}
