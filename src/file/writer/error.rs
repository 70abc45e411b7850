//! [`WriterError`].

use crate::Errno;
use alloc::sync::Arc;
use core::error::Error;
use core::fmt;
use std::io;

/// The first error of a [`FileWriter`](super::FileWriter), which every later call gives again. It
/// is the inner error of the `io::Error`.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::{Driver, File, WriterError};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("read-only");
/// # std::fs::write(&path, "content")?;
/// let driver = Driver::on_thread(8)?;
/// # pollster::block_on(async {
/// let file = File::open(&driver, path).await?; // not for writing
/// let mut writer = file.writer(100);
/// writer.write_all(b"some bytes").await?; // They are in memory.
/// let error = writer.finish().await.unwrap_err();
/// let first: &WriterError = error.get_ref().unwrap().downcast_ref().unwrap();
/// assert_eq!(first.offset(), 100); // Nothing was written.
/// # Ok(()) }) }
/// ```
#[derive(Clone, Debug)]
pub struct WriterError {
    offset: u64,
    error: Arc<io::Error>,
}

impl WriterError {
    pub(super) fn new(offset: u64, error: io::Error) -> Self {
        Self { offset, error: Arc::new(error) }
    }

    pub(super) fn to_io(&self) -> io::Error {
        io::Error::new(self.error.kind(), self.clone())
    }

    /// Returns the offset up to which everything was written that the writer was given. Of what
    /// follows, any part may have been written.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

impl fmt::Display for WriterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, error } = self;
        write!(f, "the writer has written everything up to offset {offset}, and failed: ")?;
        match Errno::from_io_error(error) {
            // The source says more.
            Some(errno) => write!(f, "{errno:?}"),
            None => error.fmt(f),
        }
    }
}

impl Error for WriterError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Errno::from_io_error(&self.error).map(|_| &*self.error as &dyn Error)
    }
}
