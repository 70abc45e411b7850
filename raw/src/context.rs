//! [`IoContext`], one AIO context of the kernel, and its two halves: a [`Submitter`] and a
//! [`Reaper`].

#[cfg(all(test, loom, feature = "sim"))]
mod model;
mod owned;
mod reaper;
mod setup_error;
mod submitter;
mod wait;

#[cfg(feature = "alloc")]
pub use owned::{OwnedReaper, OwnedSubmitter};
pub use reaper::Reaper;
pub use setup_error::SetupError;
pub use submitter::Submitter;

use crate::abi::aio_context_t;
use crate::fork_guard::ForkGuard;
use crate::primitive::{AtomicUsize, Ordering};
use crate::ring::Ring;
use crate::{Errno, sys};
use core::mem::ManuallyDrop;

/// Owns one AIO context of the kernel: room for operations in flight, and the ring on which their
/// events arrive.
///
/// [`split`](Self::split) gives a [`Submitter`], which many threads may use, and the one
/// [`Reaper`]. In `linux-aio`, `scope` runs operations on borrowed buffers, and a `Queue` is made
/// from a context. Each of them borrows or owns the context, and what submits and reaps past them
/// is `unsafe`. So there is never more than one reader of the ring, which is what makes reading it
/// without a system call sound.
///
/// # Forks
///
/// In a forked child the context belongs to the parent. Every call gives [`Errno::FORKED`], before
/// Linux 4.14 and in gVisor `EINVAL`. The counts stay as they were at the fork, and dropping the
/// context or its halves does nothing. Make another context in the child.
///
/// # Dropping
///
/// `io_destroy` cancels what can be cancelled (POLL), then waits for every operation in flight.
/// This blocks for about 30 ms when idle and as long as the slowest operation otherwise.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio_raw::{Iocb, IoContext, IoEvent};
/// use core::mem::MaybeUninit;
/// use std::os::fd::AsRawFd;
///
/// let file = std::fs::File::open("/dev/zero")?;
/// let mut buf = [1u8; 512];
/// let mut iocb = Iocb::pread(file.as_raw_fd(), buf.as_mut_ptr(), buf.len(), 0).user_data(7);
///
/// let mut context = IoContext::new(8)?;
/// let (submitter, mut reaper) = context.split();
/// // SAFETY: `iocb`, `buf` and `file` outlive the wait below and are not touched before.
/// assert_eq!(unsafe { submitter.submit(&[&raw mut iocb]) }?, 1);
/// let mut events = [MaybeUninit::<IoEvent>::uninit(); 8];
/// let events = reaper.wait(1, None, &mut events)?;
/// assert_eq!((events[0].user_data(), events[0].result()), (7, Ok(512)));
/// # Ok(()) }
/// ```
#[doc(alias = "io_context_t")]
#[doc(alias = "aio_context_t")]
#[derive(Debug)]
pub struct IoContext {
    /// Zero once it has been destroyed.
    id: aio_context_t,
    ring: Ring,
    guard: ForkGuard,
    /// Operations that the kernel took from a [`Submitter`], and events that a [`Reaper`] took.
    /// Both wrap; an event may be counted before its operation.
    accepted: AtomicUsize,
    reaped: AtomicUsize,
}

impl IoContext {
    /// Makes a context for at least `nr_events` operations in flight (`io_setup(2)`).
    ///
    /// # Errors
    /// [`SetupError`] says which limit was met and what would do: `EAGAIN` where
    /// `fs.aio-max-nr` is used up, `EINVAL` for zero or too many, `ENOMEM`, `ENOSYS` where the
    /// kernel has no AIO, `EPERM` where a filter refuses it.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio_raw::{Errno, IoContext};
    ///
    /// match IoContext::new(128) {
    ///     Ok(context) => println!("{context:?}"),
    ///     // The text says how much of fs.aio-max-nr is in use, and what to do.
    ///     Err(error) if error.errno() == Errno::EAGAIN => println!("{error}"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_setup")]
    #[doc(alias = "io_queue_init")]
    pub fn new(nr_events: u32) -> Result<Self, SetupError> {
        let mut id: aio_context_t = 0;
        // SAFETY: `id` is valid for reads and writes, and zero as the call wants it.
        let returned = unsafe { sys::io_setup(nr_events, &raw mut id) };
        Errno::check(returned).map_err(|errno| SetupError::new(errno, nr_events))?;
        // SAFETY: The context is fresh, live and ours alone, with nothing in flight.
        Ok(unsafe { Self::from_raw(id) })
    }

    /// Takes over a context that was made elsewhere.
    ///
    /// # Safety
    /// - `id` is a live context of this process, made by `io_setup`.
    /// - Nobody else uses it from now on: no call and no read of its ring.
    /// - Operations that are in flight have buffers that stay valid until this context has been
    ///   dropped, and iocbs whose `aio_data` nothing here takes for its own: best, there are none.
    pub unsafe fn from_raw(id: aio_context_t) -> Self {
        let mut context = Self {
            id,
            ring: Ring::none(),
            guard: ForkGuard::of_this_process(),
            accepted: AtomicUsize::new(0),
            reaped: AtomicUsize::new(0),
        };
        context.use_ring(true);
        context
    }

    /// Gives the context up without destroying it: the number that the kernel knows it by.
    ///
    /// What is in flight stays so, and is no longer counted.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio_raw::IoContext;
    ///
    /// let id = IoContext::new(1)?.into_raw();
    /// // SAFETY: The context is live, of this process, unused elsewhere, and idle.
    /// let context = unsafe { IoContext::from_raw(id) };
    /// assert_eq!(context.as_raw(), id);
    /// # Ok(()) }
    /// ```
    pub fn into_raw(self) -> aio_context_t {
        ManuallyDrop::new(self).id
    }

    /// Returns the number that the kernel knows the context by: the address of its ring.
    pub fn as_raw(&self) -> aio_context_t {
        self.id
    }

    /// Turns reaping without a system call off, or on again where it is possible. It is on at
    /// first.
    ///
    /// Off, every event is taken by `io_getevents`: under valgrind, which does not see the kernel
    /// write the buffers otherwise, and where a tracer should see the calls.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio_raw::IoContext;
    ///
    /// let mut context = IoContext::new(1)?;
    /// context.use_ring(false);
    /// assert!(!context.uses_ring());
    /// # Ok(()) }
    /// ```
    pub fn use_ring(&mut self, on: bool) {
        let usable = on && self.id != 0 && self.guard.notices_forks();
        if !usable || self.guard.check().is_err() {
            self.ring = Ring::none();
            return;
        }
        // SAFETY: The context is live (`id` is not zero) and of this process (checked); `self`
        // drops the ring when it ends the context.
        self.ring = unsafe { Ring::of_context(self.id) }.unwrap_or(Ring::none());
    }

    /// Returns whether events are taken off the ring without a system call.
    pub fn uses_ring(&self) -> bool {
        self.ring.exists()
    }

    /// Returns the number of operations that the kernel has accepted from [`Submitter`]s and that a
    /// [`Reaper`] has not reaped. In a forked child it stays as it was at the fork.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio_raw::IoContext;
    ///
    /// let mut context = IoContext::new(8)?;
    /// assert_eq!(context.in_flight(), 0); // A scope or queue can be made of it.
    /// # Ok(()) }
    /// ```
    pub fn in_flight(&mut self) -> usize {
        let [accepted, reaped] = [&self.accepted, &self.reaped];
        accepted.load(Ordering::Relaxed).wrapping_sub(reaped.load(Ordering::Relaxed))
    }

    /// Returns the way in, for any number of threads, and the one way out.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio_raw::{IoContext, IoEvent};
    /// use std::mem::MaybeUninit;
    ///
    /// let mut context = IoContext::new(8)?;
    /// let (submitter, mut reaper) = context.split();
    /// // Any number of threads may have copies of the submitter. There is one reaper.
    /// let copy = submitter;
    /// assert!(copy.is_alive() && submitter.is_alive());
    /// let mut events = [MaybeUninit::<IoEvent>::uninit(); 8];
    /// assert!(reaper.reap(&mut events)?.is_empty());
    /// # Ok(()) }
    /// ```
    pub fn split(&mut self) -> (Submitter<'_>, Reaper<'_>) {
        // SAFETY: `self` is borrowed exclusively for as long as either half lives, so this is the
        // only reaper.
        (Submitter::new(self), unsafe { Reaper::new(self) })
    }

    /// Splits the context as [`split`](Self::split) does, into halves that own it together, for
    /// threads.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio_raw::{Iocb, IoContext, IoEvent};
    /// use std::{mem::MaybeUninit, os::fd::AsRawFd, thread};
    ///
    /// let (submitter, mut reaper) = IoContext::new(8)?.into_split();
    /// let reaping = thread::spawn(move || {
    ///     let mut events = [MaybeUninit::<IoEvent>::uninit(); 8];
    ///     reaper.reaper().wait(1, None, &mut events).map(|events| events[0].result())
    /// });
    /// let file = std::fs::File::open("/dev/zero")?;
    /// let mut buf = [1u8; 512];
    /// let mut iocb = Iocb::pread(file.as_raw_fd(), buf.as_mut_ptr(), buf.len(), 0);
    /// // SAFETY: `iocb`, `buf` and `file` stay where they are until the thread has the event.
    /// unsafe { submitter.submitter().submit(&[&raw mut iocb]) }?;
    /// assert_eq!(reaping.join().expect("no panic")?, Ok(512));
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "alloc")]
    pub fn into_split(self) -> (OwnedSubmitter, OwnedReaper) {
        owned::split(self)
    }

    /// Checks that this process made the context, without a system call.
    ///
    /// Where the kernel wipes no page in children ([`ForkGuard::notices_forks`]), it is `Ok` in a
    /// child, too: the kernel refuses the child's calls, with `EINVAL`.
    ///
    /// # Errors
    /// [`Errno::FORKED`] in a forked child: the context belongs to the parent.
    #[inline]
    pub fn check_process(&self) -> Result<(), Errno> {
        self.guard.check()
    }

    /// Checks that this process made the context, by a system call where nothing else tells.
    ///
    /// # Errors
    /// [`Errno::FORKED`] in a forked child: the context belongs to the parent.
    pub fn check_process_strictly(&self) -> Result<(), Errno> {
        self.guard.check_strictly()
    }

    /// Returns the guard that [`check_process`](Self::check_process) asks.
    pub fn guard(&self) -> ForkGuard {
        self.guard
    }

    /// Returns the completion ring, for a reader other than [`Reaper`]; [`Ring::none`] where events
    /// are not taken off it ([`uses_ring`](Self::uses_ring)).
    ///
    /// # Safety
    /// No method of the `Ring`, nor of a copy, may be called
    /// - after the context has ended: its ring is unmapped when it is dropped or destroyed;
    /// - in a forked child, where other memory or none may be mapped there
    ///   ([`check_process`](Self::check_process) tells).
    #[inline]
    pub unsafe fn ring(&self) -> Ring {
        self.ring
    }

    /// Submits without counting.
    ///
    /// # Safety
    /// As [`sys::io_submit`].
    #[inline(always)]
    pub(crate) unsafe fn submit(&self, iocbs: &[*mut crate::Iocb]) -> Result<usize, Errno> {
        self.check_process()?;
        // SAFETY: The slice is valid for its length; `Iocb` is a transparent `iocb`; the rest is
        // the caller's promise.
        Errno::check(unsafe { sys::io_submit(self.id, iocbs.len() as _, iocbs.as_ptr().cast()) })
    }

    /// Asks for the operation that was submitted from the address `iocb` to end early
    /// (`io_cancel(2)`). Its event arrives all the same, perhaps a little later.
    ///
    /// # Errors
    /// Those of [`Submitter::cancel`].
    #[inline]
    pub fn cancel(&self, iocb: *const crate::Iocb) -> Result<(), Errno> {
        self.check_process()?;
        // SAFETY: The kernel checks the address and gives the event on the ring; no result is
        // asked for.
        let returned = unsafe { sys::io_cancel(self.id, iocb.cast(), core::ptr::null_mut()) };
        match Errno::check(returned) {
            Ok(_) | Err(Errno::EINPROGRESS) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Ends the context now, as dropping it does, and says whether that worked (`io_destroy(2)`).
    ///
    /// `Ok` proves that nothing is in flight any more: the kernel is finished with every buffer.
    /// Events that were not reaped are lost. A context that has ended takes no operation
    /// (`EINVAL`), and ending it again succeeds.
    ///
    /// # Errors
    /// [`Errno::FORKED`]; `ENOSYS` or `EPERM` by a filter. Operations may still be in flight then.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio_raw::IoContext;
    ///
    /// let mut context = IoContext::new(1)?;
    /// context.destroy()?; // The kernel is finished with every buffer.
    /// context.destroy()?; // To end it again succeeds.
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_destroy")]
    #[doc(alias = "io_queue_release")]
    pub fn destroy(&mut self) -> Result<(), Errno> {
        self.check_process_strictly()?;
        if self.id == 0 {
            return Ok(());
        }
        self.ring = Ring::none();
        // SAFETY: `self` is exclusive, so nobody reads the ring, and this copy of it is gone.
        Errno::check(unsafe { sys::io_destroy(self.id) })?;
        self.id = 0;
        self.reaped = AtomicUsize::new(self.accepted.load(Ordering::Relaxed));
        Ok(())
    }
}

impl Drop for IoContext {
    fn drop(&mut self) {
        // In a forked child this does nothing. Any other error leaves nothing to do: the context is
        // dead already.
        let _ = self.destroy();
    }
}
