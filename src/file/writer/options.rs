//! [`WriterOptions`].

use crate::BufferPool;

/// Says how much a [`FileWriter`](super::FileWriter) holds in memory, and how it makes the file
/// longer. For [`File::writer_with`](crate::File::writer_with).
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::{Driver, File, WriterOptions};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("copy");
/// let driver = Driver::on_thread(32)?;
/// # pollster::block_on(async {
/// let file = File::options().write(true).create_new(true).open(&driver, &path).await?;
/// let mut writer = file.writer_with(0, WriterOptions::new().expected_len(11));
/// writer.write_all(b"hello world").await?;
/// writer.finish().await?;
/// assert_eq!(std::fs::read(&path)?, b"hello world");
/// # Ok(()) }) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing unless a writer is made with them"]
pub struct WriterOptions {
    pub(in crate::file) chunk_len: usize,
    pub(in crate::file) depth: usize,
    pub(in crate::file) pool: Option<BufferPool>,
    pub(in crate::file) step: u64,
    pub(in crate::file) expected_len: u64,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { chunk_len: 1 << 20, depth: 8, pool: None, step: 64 << 20, expected_len: 0 }
    }
}

impl WriterOptions {
    /// Returns options for writes of 1 MiB, up to 8 of them in flight, and blocks allocated in
    /// steps of 64 MiB.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the length of a write in bytes; 1 MiB unless this is called. It is made a multiple of
    /// what the file needs. A [`pool`](Self::pool) has a length of its own, which counts then.
    pub fn chunk_len(mut self, bytes: usize) -> Self {
        self.chunk_len = bytes.max(1);
        self
    }

    /// Sets the number of writes in flight at most; 8 unless this is called.
    pub fn depth(mut self, writes: usize) -> Self {
        self.depth = writes.max(1);
        self
    }

    /// Takes the buffers from a pool, which bounds the memory of all streams that use it.
    ///
    /// A buffer must hold at least a page and a block of the file system, and be aligned as
    /// `O_DIRECT` needs it: 64 KiB aligned to 4096 suit every file. A writer waits for a buffer
    /// only if it has none. A reader and a writer that one task uses together need a pool each.
    pub fn pool(mut self, pool: BufferPool) -> Self {
        self.pool = Some(pool);
        self
    }

    /// Says how many bytes will be written. Blocks for so many are allocated at once then, with
    /// the first write. It may be wrong.
    pub fn expected_len(mut self, bytes: u64) -> Self {
        self.expected_len = bytes;
        self
    }

    /// Sets how many bytes are allocated at a time where the writer makes a direct file longer; 64
    /// MiB unless this is called.
    ///
    /// With 0 nothing is allocated ahead, and the file is never longer than what was written. Each
    /// write that makes the file longer is then done inside of `io_submit`, which holds the thread
    /// that polls. Use a driver [`on_thread`](crate::Driver::on_thread) for that.
    pub fn allocation_step(mut self, bytes: u64) -> Self {
        self.step = bytes;
        self
    }
}
