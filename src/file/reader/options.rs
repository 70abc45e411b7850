//! [`ReaderOptions`].

use crate::BufferPool;

/// Says how much a [`FileReader`](super::FileReader) reads ahead, and into which memory. For
/// [`File::reader_with`](crate::File::reader_with).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{BufferPool, Driver, File, ReaderOptions};
///
/// let driver = Driver::on_thread(32)?;
/// // The memory of all streams of a program: 64 MiB.
/// let pool = BufferPool::new(64, 1 << 20, 4096)?;
/// # pollster::block_on(async {
/// let file = File::open(&driver, "Cargo.toml").await?;
/// let options = ReaderOptions::new().pool(pool.clone()).depth(4);
/// let mut reader = file.reader_with(.., options);
/// while let Some(chunk) = reader.next_chunk().await? {
///     println!("{} bytes at {}", chunk.len(), chunk.offset());
/// }
/// # Ok(()) }) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing unless a reader is made with them"]
pub struct ReaderOptions {
    pub(in crate::file) chunk_len: usize,
    pub(in crate::file) depth: usize,
    pub(in crate::file) pool: Option<BufferPool>,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self { chunk_len: 1 << 20, depth: 8, pool: None }
    }
}

impl ReaderOptions {
    /// Returns options for chunks of up to 1 MiB, and up to 8 reads in flight.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the length of a chunk in bytes, once access has turned out to be sequential; 1 MiB
    /// unless this is called. It is made a multiple of what the file needs. A
    /// [`pool`](Self::pool) has a length of its own, which counts then.
    pub fn chunk_len(mut self, bytes: usize) -> Self {
        self.chunk_len = bytes.max(1);
        self
    }

    /// Sets the number of reads in flight at most; 8 unless this is called.
    pub fn depth(mut self, reads: usize) -> Self {
        self.depth = reads.max(1);
        self
    }

    /// Takes the buffers from a pool, which bounds the memory of all streams that use it.
    ///
    /// A buffer must hold at least a block of the file, and be aligned as `O_DIRECT` needs it:
    /// 4096 bytes suit nearly every file. A reader waits for a buffer only if it has none, so
    /// readers of different tasks do not block one another. A reader and a writer that one task
    /// uses together need a pool each: the writer would wait for buffers that the reader has.
    pub fn pool(mut self, pool: BufferPool) -> Self {
        self.pool = Some(pool);
        self
    }
}
