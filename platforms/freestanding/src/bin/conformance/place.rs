//! Where the checks do their input and output.

use core::ffi::CStr;

use linux_aio_freestanding::kernel;

use crate::report::Outcome;

/// A file or a block device.
pub struct Place {
    /// Its name in the report.
    pub name: &'static str,
    /// Its path.
    pub path: &'static CStr,
    /// Open for reading and writing, with O_DIRECT on a device.
    pub file: i32,
}

/// A check: its name, and what it does.
pub type Check = (&'static str, fn(&Place) -> Outcome);

/// A pipe that closes itself.
pub struct Pipe {
    /// The end to read from.
    pub from: i32,
    to: Option<i32>,
}

impl Pipe {
    /// An empty one that does not block.
    pub fn new() -> Result<Self, kernel::Errno> {
        let (from, to) = kernel::pipe(kernel::flag::O_NONBLOCK)?;
        Ok(Self { from, to: Some(to) })
    }

    /// Makes it readable.
    pub fn fill(&self) -> Result<(), kernel::Errno> {
        kernel::write(self.writer(), b"x").map(drop)
    }

    /// The end to write to, while it is open.
    pub fn writer(&self) -> i32 {
        self.to.unwrap_or(-1)
    }

    /// Closes the end to write to.
    pub fn hang_up(&mut self) -> Result<(), kernel::Errno> {
        self.to.take().map_or(Ok(()), kernel::close)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // Both were opened by `new`; that closing could fail changes nothing for a check.
        let _ = kernel::close(self.from);
        let _ = self.hang_up();
    }
}

/// A file descriptor that closes itself.
pub struct Open(pub i32);

impl Drop for Open {
    fn drop(&mut self) {
        // As for a pipe.
        let _ = kernel::close(self.0);
    }
}
