//! [`FailedCall`], the error of a system call that is no transfer.

use crate::driver::thread::Failure;
use alloc::string::String;
use core::error::Error;
use core::fmt;
use std::io;

/// A system call that failed: what was asked of it, and the reason.
#[derive(Debug)]
pub(super) struct FailedCall {
    call: String,
    failure: Failure,
}

impl FailedCall {
    pub(super) fn error(call: String, failure: impl Into<Failure>) -> io::Error {
        let failure = failure.into();
        io::Error::new(io::Error::from(failure.errno()).kind(), Self { call, failure })
    }
}

impl fmt::Display for FailedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.failure)
    }
}

impl Error for FailedCall {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.failure)
    }
}
