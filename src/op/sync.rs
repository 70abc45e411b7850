//! [`Fsync`] and [`Fdsync`].

use crate::fd::AsFd;
use crate::{Operation, Prepared};

/// Brings data and metadata of a file to stable storage (`fsync(2)`). Completes with 0.
///
/// It covers the writes that have completed when it begins. It is not ordered with writes in
/// flight: push it when the writes that it shall cover have completed. A [`Write`](super::Write)
/// with [`RwFlags::SYNC`](crate::RwFlags::SYNC) needs none.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, op::Fsync};
/// use std::os::unix::fs::FileExt;
///
/// let file = tempfile::tempfile()?;
/// file.write_all_at(b"data", 0)?; // or writes of a queue that have completed
/// let mut queue = Queue::with_capacity(1)?;
/// queue.push(Fsync::new(file))?;
/// assert_eq!(queue.wait()?.expect("a completion").result?, 0); // durable
/// # Ok(()) }
/// ```
#[doc(alias = "fsync")]
#[doc(alias("io_prep_fsync", "aio_fsync"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fsync<F> {
    /// Keeps the file open until the completion.
    pub fd: F,
}

impl<F> Fsync<F> {
    /// Makes the operation for the file that `fd` keeps open.
    pub const fn new(fd: F) -> Self {
        Self { fd }
    }
}

impl<F: AsFd> Operation for Fsync<F> {
    fn prepare(&mut self) -> Prepared<'_> {
        Prepared::fsync(self.fd.as_fd().into())
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        true
    }
}

/// Brings data of a file, and the metadata needed to read it, to stable storage (`fdatasync(2)`).
/// Completes with 0.
///
/// It covers the writes that have completed when it begins. It is not ordered with writes in
/// flight: push it when the writes that it shall cover have completed. A [`Write`](super::Write)
/// with [`RwFlags::DSYNC`](crate::RwFlags::DSYNC) needs none; its page has an example.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, op::Fdsync};
/// use std::os::unix::fs::FileExt;
///
/// let file = tempfile::tempfile()?;
/// file.write_all_at(b"data", 0)?; // or writes of a queue that have completed
/// let mut queue = Queue::with_capacity(1)?;
/// queue.push(Fdsync::new(file))?;
/// assert_eq!(queue.wait()?.expect("a completion").result?, 0); // durable
/// # Ok(()) }
/// ```
#[doc(alias("io_prep_fdsync", "fdatasync", "aio_fsync"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fdsync<F> {
    /// Keeps the file open until the completion.
    pub fd: F,
}

impl<F> Fdsync<F> {
    /// Makes the operation for the file that `fd` keeps open.
    pub const fn new(fd: F) -> Self {
        Self { fd }
    }
}

impl<F: AsFd> Operation for Fdsync<F> {
    fn prepare(&mut self) -> Prepared<'_> {
        Prepared::fdsync(self.fd.as_fd().into())
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        true
    }
}
