//! [`EventFd`], a counter in a file descriptor that completions can signal.

use crate::abi::helper::{EFD_CLOEXEC, EFD_NONBLOCK};
use crate::sys::helper;
use crate::{Errno, Fd};

/// Counts in a file descriptor (`eventfd(2)`), non-blocking and close-on-exec.
///
/// An operation names it by [`Iocb::eventfd`](crate::Iocb::eventfd), or in `linux-aio` by
/// `Prepared::eventfd`. It adds one to the counter when its event is on the ring. So a poll loop or
/// an async runtime can wait for disk I/O. The counter is a wake-up hint: reap what is there,
/// whatever it says.
///
/// An operation that the kernel refuses has no event and adds nothing. To wait for every operation
/// of a queue or scope of `linux-aio`, use its `completion_fd`.
///
/// # Forks
///
/// A forked child shares the counter with its parent, as it shares every descriptor. To take the
/// count there takes it from the parent, and to add to it wakes the parent. Dropping the value
/// closes the child's descriptor alone.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio_raw::{EventFd, Iocb, IoContext};
/// use std::os::fd::AsRawFd;
///
/// let (eventfd, zero) = (EventFd::new()?, std::fs::File::open("/dev/zero")?);
/// let mut buf = [1u8; 512];
/// let mut iocb = Iocb::pread(zero.as_raw_fd(), buf.as_mut_ptr(), buf.len(), 0)
///     .eventfd(eventfd.as_raw_fd());
/// let mut context = IoContext::new(1)?;
/// // SAFETY: `iocb` and `buf` outlive the context.
/// unsafe { context.split().0.submit(&[&raw mut iocb]) }?;
/// while eventfd.take()?.is_none() {
///     std::thread::yield_now(); // A program waits by epoll.
/// }
/// drop(context);
/// # Ok(()) }
/// ```
#[doc(alias = "eventfd")]
#[derive(Debug)]
pub struct EventFd {
    number: i32,
}

impl EventFd {
    /// Makes a new counter at zero.
    ///
    /// # Errors
    /// `EMFILE` or `ENFILE` where no descriptor is left, `ENOMEM`, `ENODEV`.
    pub fn new() -> Result<Self, Errno> {
        let number = Errno::check(helper::eventfd2(0, EFD_CLOEXEC | EFD_NONBLOCK))?;
        Ok(Self { number: number as i32 })
    }

    /// Takes the count and sets it to zero; `None` where it is zero already.
    ///
    /// # Errors
    /// None that `eventfd(2)` names for a counter that is open and non-blocking; a filter's are
    /// passed on.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_aio_raw::EventFd;
    ///
    /// let eventfd = EventFd::new()?;
    /// eventfd.add(3)?;
    /// eventfd.add(4)?;
    /// assert_eq!((eventfd.take()?, eventfd.take()?), (Some(7), None));
    /// # Ok::<(), linux_aio_raw::Errno>(())
    /// ```
    pub fn take(&self) -> Result<Option<u64>, Errno> {
        let mut count = [0; 8];
        #[cfg(feature = "sim")]
        if let Some(kernel) = crate::sys::sim::installed() {
            kernel.eventfd_is_read();
        }
        match Errno::check(helper::read(self.number, &mut count)) {
            Ok(_) => Ok(Some(u64::from_ne_bytes(count))),
            Err(Errno::EAGAIN) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Adds `count`, which wakes who waits for the descriptor.
    ///
    /// # Errors
    /// `EAGAIN` where the counter would pass 2⁶⁴ − 2, `EINVAL` for a count of 2⁶⁴ − 1.
    pub fn add(&self, count: u64) -> Result<(), Errno> {
        Errno::check(helper::write(self.number, &count.to_ne_bytes())).map(drop)
    }

    /// Returns the descriptor, to name it in an operation.
    pub fn fd(&self) -> Fd<'_> {
        // SAFETY: The descriptor is open until `self` is dropped, and `self` is borrowed.
        unsafe { Fd::borrow_raw(self.number) }
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: The descriptor is ours alone. An error here leaves nothing to do.
        unsafe { helper::close(self.number) };
    }
}

#[cfg(feature = "alloc")]
impl crate::fd::AsFd for EventFd {
    fn as_fd(&self) -> crate::fd::BorrowedFd<'_> {
        // SAFETY: The descriptor is open until `self` is dropped, and `self` is borrowed.
        unsafe { crate::fd::BorrowedFd::borrow_raw(self.number) }
    }
}

#[cfg(feature = "alloc")]
impl crate::fd::AsRawFd for EventFd {
    fn as_raw_fd(&self) -> crate::fd::RawFd {
        self.number
    }
}

#[cfg(feature = "alloc")]
impl From<EventFd> for crate::fd::OwnedFd {
    fn from(eventfd: EventFd) -> Self {
        let number = core::mem::ManuallyDrop::new(eventfd).number;
        // SAFETY: The descriptor is open and was the `EventFd`'s alone, which is not dropped.
        unsafe { crate::fd::FromRawFd::from_raw_fd(number) }
    }
}
