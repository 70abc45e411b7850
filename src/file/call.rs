//! [`FailedCall`], the error of a system call that is no transfer.

use crate::Errno;
use alloc::string::String;
use core::error::Error;
use core::fmt;
use std::io;

/// A system call that failed: what was asked of it, and its errno.
#[derive(Debug)]
pub(super) struct FailedCall {
    call: String,
    errno: Errno,
}

impl FailedCall {
    pub(super) fn error(call: String, errno: Errno) -> io::Error {
        io::Error::new(io::Error::from(errno).kind(), Self { call, errno })
    }
}

impl fmt::Display for FailedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.errno)
    }
}

impl Error for FailedCall {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.errno)
    }
}
