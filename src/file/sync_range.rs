//! [`SyncRange`].

use crate::abi::helper::{
    SYNC_FILE_RANGE_WAIT_AFTER, SYNC_FILE_RANGE_WAIT_BEFORE, SYNC_FILE_RANGE_WRITE,
};

/// Says whether [`File::sync_range`](super::File::sync_range) waits. Neither makes data durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SyncRange {
    /// Begins to write the dirty pages, and does not wait for the disk. It may wait where the
    /// disk's queue is full.
    Start,
    /// Writes the dirty pages, and waits until the disk has them.
    Wait,
}

impl SyncRange {
    pub(super) fn flags(self) -> u32 {
        match self {
            Self::Start => SYNC_FILE_RANGE_WRITE,
            Self::Wait => {
                SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER
            }
        }
    }
}
