//! [`QueueError`], a context that a queue refused.

use crate::{Errno, IoContext, ScopeError};
use core::fmt;

/// Says why [`Queue::new`](crate::Queue::new) did not take a context, and gives the context back.
///
/// It converts to [`Errno`] and to `std::io::Error`. These do not have the context, which the
/// conversion drops.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Errno, IoContext, Iocb, Queue, op::Read};
/// use std::{fs::File, mem::MaybeUninit, os::fd::AsRawFd};
///
/// let zero = File::open("/dev/zero")?;
/// let mut buf = [1; 64];
/// let mut iocb = Iocb::pread(zero.as_raw_fd(), buf.as_mut_ptr(), 64, 0);
/// let mut context = IoContext::new(1)?;
/// // SAFETY: `zero`, `buf` and `iocb` are there until the event has been reaped below.
/// unsafe { context.split().0.submit(&[&raw mut iocb]) }?;
///
/// let mut refused = Queue::<Read<File, Vec<u8>>>::new(context, 1).unwrap_err();
/// assert_eq!(refused.errno(), Errno::EBUSY);
/// refused.context.split().1.wait(1, None, &mut [MaybeUninit::uninit()])?;
/// let queue = Queue::<Read<File, Vec<u8>>>::new(refused.context, 1)?;
/// # drop(queue);
/// # Ok(()) }
/// ```
pub struct QueueError {
    reason: ScopeError,
    /// The context, as it was.
    pub context: IoContext,
}

impl QueueError {
    pub(super) fn new(reason: ScopeError, context: IoContext) -> Self {
        Self { reason, context }
    }

    /// Returns `EBUSY` or [`Errno::FORKED`].
    pub fn errno(&self) -> Errno {
        self.reason.errno()
    }
}

impl fmt::Debug for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueError").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl core::error::Error for QueueError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        self.reason.source()
    }
}

impl From<QueueError> for Errno {
    fn from(error: QueueError) -> Self {
        error.errno()
    }
}

#[cfg(feature = "std")]
impl From<QueueError> for std::io::Error {
    fn from(error: QueueError) -> Self {
        // Without the context, which is not to live as long as the text.
        error.reason.into()
    }
}
