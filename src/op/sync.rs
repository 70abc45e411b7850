//! [`Fsync`] and [`Fdsync`].

use crate::fd::AsFd;
use crate::{Operation, Prepared};

/// Brings data and metadata of a file to stable storage (`fsync(2)`). Completes with 0.
///
/// It covers the writes that have completed when it begins. It is not ordered with writes in
/// flight: push it when the writes that it shall cover have completed. A [`Write`](super::Write)
/// with [`RwFlags::SYNC`](crate::RwFlags::SYNC) needs none.
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
}

/// Brings data of a file, and the metadata needed to read it, to stable storage (`fdatasync(2)`).
/// Completes with 0.
///
/// It covers the writes that have completed when it begins. It is not ordered with writes in
/// flight: push it when the writes that it shall cover have completed. A [`Write`](super::Write)
/// with [`RwFlags::DSYNC`](crate::RwFlags::DSYNC) needs none; its page has an example.
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
}
