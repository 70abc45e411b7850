//! [`RangesOptions`].

/// Says how [`ReadRanges`](super::ReadRanges) reads. For
/// [`File::read_ranges_with`](crate::File::read_ranges_with).
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::{Driver, File, RangesOptions};
///
/// let driver = Driver::on_thread(8)?;
/// # pollster::block_on(async {
/// let file = File::open(&driver, "Cargo.toml").await?;
/// // Up to 16 KiB between two ranges are read with them, by one read.
/// let options = RangesOptions::new().coalesce(16 << 10, 1 << 20);
/// let mut ranges = file.read_ranges_with([0..10, 90..100], options)?;
/// while let Some(bytes) = ranges.next_range().await? {
///     assert_eq!(bytes.len(), 10);
/// }
/// # Ok(()) }) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing unless ranges are read with them"]
pub struct RangesOptions {
    pub(super) depth: usize,
    pub(super) memory_limit: u64,
    pub(super) gap: Option<u64>,
    pub(super) coalesced_len: u64,
}

impl Default for RangesOptions {
    fn default() -> Self {
        Self { depth: 32, memory_limit: 64 << 20, gap: None, coalesced_len: 0 }
    }
}

impl RangesOptions {
    /// Returns options for up to 32 reads in flight and 64 MiB of memory, one read for each
    /// different range.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of reads in flight at most; 32 unless this is called.
    pub fn depth(mut self, reads: usize) -> Self {
        self.depth = reads.max(1);
        self
    }

    /// Sets how many bytes are read ahead or kept at most; 64 MiB unless this is called. No range
    /// may be larger. The rest of a block at either end of a range may come on top.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Allows one read for ranges that overlap or have at most `gap` bytes between them, if it is
    /// no longer than `len` bytes.
    ///
    /// So at most `gap` bytes are read too much for each range. Solid-state disks read many small
    /// ranges at once about as fast, and gain nothing by it; spinning disks and network file
    /// systems do.
    pub fn coalesce(mut self, gap: u64, len: u64) -> Self {
        (self.gap, self.coalesced_len) = (Some(gap), len);
        self
    }
}
