//! [`Chunk`], bytes of a file in a buffer of a pool.

use crate::PoolBuf;
use core::fmt;
use core::ops::Deref;

/// Some bytes of a file, in a buffer that goes back to its pool when this is dropped. From
/// [`FileReader::next_chunk`](super::FileReader::next_chunk).
///
/// It is a buffer to write from, so it can be given to
/// [`File::write_all_at`](super::File::write_all_at) without a copy, and to
/// `bytes::Bytes::from_owner`.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::{Driver, File};
///
/// let driver = Driver::on_thread(8)?;
/// # pollster::block_on(async {
/// let file = File::open(&driver, "Cargo.toml").await?;
/// let mut reader = file.reader(100..200);
/// let chunk = reader.next_chunk().await?.expect("the file is longer");
/// assert_eq!(chunk.offset(), 100);
/// assert_eq!(*chunk, std::fs::read("Cargo.toml")?[100..200]);
/// # Ok(()) }) }
/// ```
pub struct Chunk {
    pub(super) buf: PoolBuf,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) offset: u64,
}

impl Chunk {
    /// Returns the offset of the first byte, from the start of the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Leaves out so many bytes at the start.
    pub(super) fn skip(&mut self, count: usize) {
        self.start += count;
        self.offset += count as u64;
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("offset", &self.offset)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
