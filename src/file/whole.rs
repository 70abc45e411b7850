//! The ends of transfers, as results.

use core::error::Error;
use core::fmt;
use std::io;

/// Says how a transfer has ended: the number of bytes that were moved, and the error that came
/// then.
pub struct Moved {
    pub(super) done: usize,
    /// The number of bytes that were to be moved.
    pub(super) len: usize,
    pub(super) error: Option<io::Error>,
}

/// Gives the count of a read.
#[inline]
pub(super) fn count(moved: Moved) -> io::Result<usize> {
    moved.error.map_or(Ok(moved.done), Err)
}

/// Tells whether all of a read was done.
#[inline]
pub(super) fn exact(moved: Moved, offset: u64) -> io::Result<()> {
    let Moved { done, len, error } = moved;
    match error {
        Some(error) => Err(error),
        None if done < len => Err(UnexpectedEnd::error(done, len, offset)),
        None => Ok(()),
    }
}

/// Gives the count of a write. An error counts if there is none.
#[inline]
pub(super) fn some(moved: Moved) -> io::Result<usize> {
    match moved.error {
        Some(error) if moved.done == 0 => Err(error),
        _ => Ok(moved.done),
    }
}

/// Tells whether all of a write was done.
#[inline]
pub(super) fn all(moved: Moved, offset: u64) -> io::Result<()> {
    let Moved { done, len, error } = moved;
    match error {
        Some(error) => Err(error),
        None if done < len => Err(takes_no_more(len - done, offset + done as u64)),
        None => Ok(()),
    }
}

/// Returns the error of a write of which the kernel takes nothing.
#[cold]
pub(super) fn takes_no_more(len: usize, offset: u64) -> io::Error {
    let text = alloc::format!("write of {len} bytes at offset {offset}: the file takes no more");
    io::Error::new(io::ErrorKind::WriteZero, text)
}

#[cold]
pub(super) fn no_room() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the buffer has length 0, and a read fills a buffer's length, not its capacity: use \
         Spare::new(buffer), or vec![0; n]",
    )
}

/// The file ended before a buffer was full. The inner error of the `UnexpectedEof` of
/// [`File::read_exact_at`](super::File::read_exact_at).
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::{Driver, File, UnexpectedEnd};
///
/// let driver = Driver::on_thread(1)?;
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("short");
/// # std::fs::write(&path, "short")?;
/// # pollster::block_on(async {
/// let file = File::open(&driver, path).await?;
/// let (result, buf) = file.read_exact_at(vec![0; 100], 0).await;
/// let error = result.unwrap_err();
/// let end: &UnexpectedEnd = error.get_ref().unwrap().downcast_ref().unwrap();
/// assert_eq!(&buf[..end.read()], b"short");
/// # Ok(()) }) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnexpectedEnd {
    read: usize,
    len: usize,
    offset: u64,
}

impl UnexpectedEnd {
    #[cold]
    fn error(read: usize, len: usize, offset: u64) -> io::Error {
        io::Error::new(io::ErrorKind::UnexpectedEof, Self { read, len, offset })
    }

    /// Returns the number of bytes that were read. They are at the start of the buffer.
    pub fn read(&self) -> usize {
        self.read
    }
}

impl fmt::Display for UnexpectedEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read, len, offset } = self;
        write!(f, "read of {len} bytes at offset {offset}: the file ended after {read} of them")
    }
}

impl Error for UnexpectedEnd {}
