//! [`SyncRange`].

use crate::abi::helper::{
    SYNC_FILE_RANGE_WAIT_AFTER, SYNC_FILE_RANGE_WAIT_BEFORE, SYNC_FILE_RANGE_WRITE,
};

/// Says whether [`File::sync_range`](super::File::sync_range) waits. Neither makes data durable.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::{Direct, SyncRange, blocking::File};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("log");
/// let options = File::options().write(true).create(true).direct(Direct::Never);
/// let log = options.open_blocking(path)?;
/// log.write_all_at(&[7; 4096], 0)?;
/// log.sync_range(0, 4096, SyncRange::Start)?; // goes to the disk while the program goes on
/// log.write_all_at(&[8; 4096], 4096)?;
/// log.sync_range(0, 4096, SyncRange::Wait)?; // the disk has the first page, maybe in its cache
/// log.sync_data() // both pages are durable
/// # }
/// ```
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
