//! [`Submitter`], the way into a context.

use super::IoContext;
use crate::primitive::Ordering;
use crate::{Errno, Iocb};
use static_assertions::assert_impl_all;

assert_impl_all!(Submitter<'static>: Copy, Send, Sync);

/// Submits and cancels, from any number of threads: the way into a context.
///
/// From [`IoContext::split`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio_raw::{Iocb, IoContext, IoEvent};
/// use std::{mem::MaybeUninit, os::fd::AsRawFd};
///
/// let file = std::fs::File::open("/dev/zero")?;
/// let mut buf = [1u8; 512];
/// let mut iocb = Iocb::pread(file.as_raw_fd(), buf.as_mut_ptr(), buf.len(), 0);
/// let mut context = IoContext::new(1)?;
/// let (submitter, mut reaper) = context.split();
/// // SAFETY: `iocb`, `buf` and `file` stay where they are until the event below.
/// unsafe { submitter.submit(&[&raw mut iocb]) }?;
/// let mut events = [MaybeUninit::<IoEvent>::uninit(); 1];
/// assert_eq!(reaper.wait(1, None, &mut events)?[0].result(), Ok(512));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Submitter<'a> {
    context: &'a IoContext,
}

impl<'a> Submitter<'a> {
    pub(super) fn new(context: &'a IoContext) -> Self {
        Self { context }
    }

    /// Starts the operations, in order, and says how many the kernel accepted (`io_submit(2)`).
    ///
    /// A count below `iocbs.len()` means that the next one was refused: submit the rest again, and
    /// its error is returned then.
    ///
    /// The call copies the iocbs, and the iovec arrays that they name. It can block. Reads and
    /// writes of buffered files are done inside it, and allocating writes wait for the file system.
    ///
    /// **A read of an empty pipe, socket or terminal without `O_NONBLOCK` waits for data
    /// indefinitely.**
    ///
    /// # Errors
    /// The kernel's answer for the **first** operation. Nothing was accepted.
    ///
    /// - `EAGAIN`: the context is full. Completed events that are not reaped count, too.
    /// - `EBADF`: no such descriptor, or not open in this direction.
    /// - `EINVAL`: an opcode or field that the kernel refuses, or the context is dead
    ///   ([`Submitter::is_alive`] tells).
    /// - `EFAULT`: the iocb's address.
    /// - `EOPNOTSUPP`: a flag in `rw_flags`.
    /// - `EPERM`: a real-time priority, or a filter.
    /// - `ENOSYS`: a filter.
    /// - [`Errno::FORKED`].
    ///
    /// Other errors of an operation arrive in its event: a bad buffer (`EFAULT`), an `O_DIRECT`
    /// misalignment (`EINVAL`), `ENOSPC`, `EFBIG`, `EIO`.
    ///
    /// # Safety
    /// - Each pointer must be valid for reads and writes of an [`Iocb`] during the call (the
    ///   kernel stores `aio_key` there), or be one that the kernel can tell is not mapped.
    /// - The data buffers named by the iocbs must stay allocated, and unaliased as the direction
    ///   asks (a read's buffer like `&mut`, a write's like `&`), until the event has been reaped
    ///   or the context has been dropped.
    /// - An operation that may be cancelled must stay at its address, unchanged, until its event,
    ///   and no other may be submitted from there.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio_raw::{Errno, Iocb, IoContext};
    /// use std::os::fd::AsRawFd;
    ///
    /// let null = std::fs::File::options().write(true).open("/dev/null")?;
    /// let good = Iocb::pwrite(null.as_raw_fd(), b"data".as_ptr(), 4, 0);
    /// let (mut first, mut bad, mut last) = (good, Iocb::fsync(-1), good);
    /// let mut context = IoContext::new(8)?;
    /// let (submitter, _reaper) = context.split();
    /// let iocbs = [&raw mut first, &raw mut bad, &raw mut last];
    /// // SAFETY: The iocbs and the data outlive the context.
    /// unsafe {
    ///     assert_eq!(submitter.submit(&iocbs), Ok(1)); // up to the bad one,
    ///     assert_eq!(submitter.submit(&iocbs[1..]), Err(Errno::EBADF)); // whose error comes next
    ///     assert_eq!(submitter.submit(&iocbs[2..]), Ok(1));
    /// }
    /// drop(context);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_submit")]
    #[inline(always)]
    pub unsafe fn submit(&self, iocbs: &[*mut Iocb]) -> Result<usize, Errno> {
        // SAFETY: The caller makes the same promises, for the iocbs, their buffers and their
        // descriptors.
        let accepted = unsafe { self.context.submit(iocbs) }?;
        self.context.accepted.fetch_add(accepted, Ordering::Relaxed);
        Ok(accepted)
    }

    /// Asks for the operation that was submitted from the address `iocb` to end early
    /// (`io_cancel(2)`). Its event arrives all the same, perhaps a little later.
    ///
    /// # Errors
    /// `EINVAL`: no operation in flight was submitted from there, or it cannot be cancelled. Only
    /// POLL and a few drivers' operations can; reads and writes of disks never. `EFAULT`: nothing
    /// is mapped at the address. `ENOSYS` on gVisor. [`Errno::FORKED`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio_raw::{Iocb, IoContext, IoEvent, PollEvents};
    /// use std::{mem::MaybeUninit, os::fd::AsRawFd};
    ///
    /// let (reader, _writer) = std::os::unix::net::UnixStream::pair()?;
    /// let mut poll = Iocb::poll(reader.as_raw_fd(), PollEvents::IN);
    /// let mut context = IoContext::new(1)?;
    /// let (submitter, mut reaper) = context.split();
    /// // SAFETY: `poll` stays where it is until its event.
    /// unsafe { submitter.submit(&[&raw mut poll]) }?;
    /// submitter.cancel(&raw const poll)?;
    /// let mut events = [MaybeUninit::<IoEvent>::uninit(); 1];
    /// assert_eq!(reaper.wait(1, None, &mut events)?.len(), 1); // its event, all the same
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_cancel")]
    pub fn cancel(&self, iocb: *const Iocb) -> Result<(), Errno> {
        self.context.cancel(iocb)
    }

    /// Returns whether the kernel knows the context: tells an `EINVAL` of the context from one of
    /// an iocb.
    ///
    /// The method makes an `io_submit` of no iocbs, which leaves the ring alone. So any thread may
    /// call it at any time. It returns `false` in a forked child, and if a filter refuses
    /// `io_submit`. On gVisor, which does not look at the context of such a call, it always
    /// returns `true`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio_raw::IoContext;
    ///
    /// let mut context = IoContext::new(1)?;
    /// assert!(context.split().0.is_alive());
    /// context.destroy()?;
    /// assert!(!context.split().0.is_alive());
    /// # Ok(()) }
    /// ```
    pub fn is_alive(&self) -> bool {
        // Not `io_getevents` of no events: that stores the ring's `head`, and takes back what the
        // reaper has stored meanwhile.
        // SAFETY: The promises are about iocbs, and there is none.
        unsafe { self.context.submit(&[]) }.is_ok()
    }
}
