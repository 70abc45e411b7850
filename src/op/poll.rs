//! [`Poll`].

use crate::fd::AsFd;
use crate::{Operation, PollEvents, Prepared};

/// Waits, once, until one of `events` holds for a file. Completes with those that do:
/// `PollEvents::from_bits_retain(done.result?)`. There may be more bits than were asked for, so
/// look with [`PollEvents::contains`]: data on a pipe is `POLLIN | POLLRDNORM`. And there may be
/// nothing after all: a write to a pipe that fails wakes a POLL, too. So try without blocking, and
/// poll again.
///
/// The one operation that can be cancelled while it is in flight; it completes then with what
/// holds at that time. A file that does not support polling completes at once. Files with two
/// wait queues complete with `EINVAL`, as everything does on gVisor.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{PollEvents, Queue, op::Poll};
/// use std::{io::Write, os::unix::net::UnixStream};
///
/// let (reader, mut writer) = UnixStream::pair()?;
/// let mut queue = Queue::with_capacity(1)?;
/// queue.push(Poll::new(reader, PollEvents::IN))?;
/// queue.submit()?;
/// writer.write_all(b"data")?;
/// let done = queue.wait()?.expect("a completion");
/// assert!(PollEvents::from_bits_retain(done.result?).contains(PollEvents::IN));
/// # Ok(()) }
/// ```
#[doc(alias = "poll")]
#[doc(alias = "io_prep_poll")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll<F> {
    /// Keeps the file open until the completion.
    pub fd: F,
    /// The events to wait for. ERR and HUP are always waited for.
    pub events: PollEvents,
}

impl<F> Poll<F> {
    /// Makes a POLL that ends when one of `events` holds.
    pub const fn new(fd: F, events: PollEvents) -> Self {
        Self { fd, events }
    }
}

impl<F: AsFd> Operation for Poll<F> {
    fn prepare(&mut self) -> Prepared<'_> {
        Prepared::poll(self.fd.as_fd().into(), self.events)
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        true
    }
}
