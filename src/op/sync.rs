//! [`Fsync`] and [`Fdsync`].

use crate::fd::AsFd;
use crate::{Operation, Prepared};

/// Data and metadata of a file to stable storage (`fsync(2)`). Completes with 0.
///
/// It is not ordered with other operations: push it when the writes that it shall cover have
/// completed.
#[derive(Clone, Copy, Debug)]
pub struct Fsync<F> {
    /// Keeps the file open until the completion.
    pub fd: F,
}

impl<F> Fsync<F> {
    /// Of the file that `fd` keeps open.
    pub const fn new(fd: F) -> Self {
        Self { fd }
    }
}

impl<F: AsFd> Operation for Fsync<F> {
    fn prepare(&mut self) -> Prepared<'_> {
        Prepared::fsync(self.fd.as_fd().into())
    }
}

/// Data of a file, and the metadata needed to read it, to stable storage (`fdatasync(2)`).
/// Completes with 0.
///
/// It is not ordered with other operations: push it when the writes that it shall cover have
/// completed.
#[derive(Clone, Copy, Debug)]
pub struct Fdsync<F> {
    /// Keeps the file open until the completion.
    pub fd: F,
}

impl<F> Fdsync<F> {
    /// Of the file that `fd` keeps open.
    pub const fn new(fd: F) -> Self {
        Self { fd }
    }
}

impl<F: AsFd> Operation for Fdsync<F> {
    fn prepare(&mut self) -> Prepared<'_> {
        Prepared::fdsync(self.fd.as_fd().into())
    }
}
