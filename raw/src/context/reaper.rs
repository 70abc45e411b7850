//! [`Reaper`], the way out of a context.

use super::IoContext;
use crate::primitive::Ordering;
use crate::{Errno, IoEvent, SigSet};
use core::cell::Cell;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::slice;
use core::time::Duration;
use static_assertions::{assert_impl_all, assert_not_impl_any};

assert_impl_all!(Reaper<'static>: Send);
// One reader of the ring: neither a second handle nor one that two threads share.
assert_not_impl_any!(Reaper<'static>: Clone, Sync);

/// Takes events, without a system call if they are on the ring: the way out of a context.
///
/// From [`IoContext::split`]. There is one per context, which the types see to: it is neither
/// `Clone` nor `Sync`.
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
///
/// let mut events = [MaybeUninit::<IoEvent>::uninit(); 1];
/// let events = reaper.wait(1, None, &mut events)?;
/// assert_eq!(events[0].iocb_addr(), (&raw const iocb).addr() as u64);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Reaper<'a> {
    context: &'a IoContext,
    /// One thread at a time.
    not_sync: PhantomData<Cell<()>>,
}

impl<'a> Reaper<'a> {
    /// # Safety
    /// There must be no other reaper of the context for `'a`.
    pub(super) unsafe fn new(context: &'a IoContext) -> Self {
        Self { context, not_sync: PhantomData }
    }

    /// Takes the events that are there, up to the length of `events`; never waits.
    ///
    /// No system call is made where the ring can be read
    /// ([`IoContext::uses_ring`]); otherwise one `io_getevents`.
    ///
    /// # Errors
    /// [`Errno::FORKED`]; where the system call is used, `ENOSYS` or `EPERM` by a filter.
    ///
    /// # Examples
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
    /// while reaper.reap(&mut events)?.is_empty() {
    ///     // Do other work here: `reap` never waits.
    /// }
    /// assert_eq!(buf, [0; 512]);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_getevents")]
    #[inline]
    pub fn reap<'b>(
        &mut self,
        events: &'b mut [MaybeUninit<IoEvent>],
    ) -> Result<&'b [IoEvent], Errno> {
        // SAFETY: This is the only reaper, borrowed exclusively.
        let count = unsafe { self.context.reap(0, Some(Duration::ZERO), events) }?;
        // SAFETY: `count` events have been written to `events`, from its beginning on.
        Ok(unsafe { self.count_reaped(events, count) })
    }

    /// Takes events as [`reap`](Self::reap) does, and where there are fewer than `min`, waits for
    /// them (`io_getevents(2)`); without end where `timeout` is `None`.
    ///
    /// Fewer than `min` come back, perhaps none, when the time is up or a signal arrives while
    /// some are there.
    ///
    /// # Errors
    /// `EINVAL` where `min` is above the length of `events`; `EINTR` for a signal while no event is
    /// there; [`Errno::FORKED`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio_raw::{IoContext, IoEvent};
    /// use std::{mem::MaybeUninit, time::Duration};
    ///
    /// let mut context = IoContext::new(1)?;
    /// let (_submitter, mut reaper) = context.split();
    /// let mut events = [MaybeUninit::<IoEvent>::uninit(); 1];
    /// // Nothing is in flight, so the time passes, and there is no event.
    /// let events = reaper.wait(1, Some(Duration::from_millis(1)), &mut events)?;
    /// assert!(events.is_empty());
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_getevents")]
    #[doc(alias = "io_queue_wait")]
    #[inline]
    pub fn wait<'b>(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
        events: &'b mut [MaybeUninit<IoEvent>],
    ) -> Result<&'b [IoEvent], Errno> {
        // SAFETY: This is the only reaper, borrowed exclusively.
        let count = unsafe { self.context.reap(min, timeout, events) }?;
        // SAFETY: `count` events have been written to `events`, from its beginning on.
        Ok(unsafe { self.count_reaped(events, count) })
    }

    /// Waits as [`wait`](Self::wait) does, with `mask` as the thread's signal mask meanwhile. The
    /// kernel swaps it atomically (`io_pgetevents(2)`).
    ///
    /// This always is a system call: a signal that is pending and not in `mask` must be delivered
    /// also where events are ready.
    ///
    /// # Errors
    /// - `EINVAL`: `min` is above the length of `events`.
    /// - `EINTR`: a signal was handled while no event was there.
    /// - `ENOSYS` (before Linux 4.18, gVisor) or `EPERM` (podman's filter), since no other call can
    ///   do this.
    /// - [`Errno::FORKED`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio_raw::{Errno, IoContext, IoEvent, SigSet};
    /// use std::{mem::MaybeUninit, time::Duration};
    ///
    /// let mut context = IoContext::new(1)?;
    /// let (_submitter, mut reaper) = context.split();
    /// let mut events = [MaybeUninit::<IoEvent>::uninit(); 1];
    /// let all_but_interrupt = SigSet::full().without(2);
    /// let time = Some(Duration::from_millis(1));
    /// match reaper.wait_masked(1, time, &all_but_interrupt, &mut events) {
    ///     Ok(events) => println!("{} events", events.len()),
    ///     Err(Errno::EINTR) => println!("SIGINT"),
    ///     Err(errno) => println!("io_pgetevents is not there: {errno}"),
    /// }
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_pgetevents")]
    pub fn wait_masked<'b>(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
        mask: &SigSet,
        events: &'b mut [MaybeUninit<IoEvent>],
    ) -> Result<&'b [IoEvent], Errno> {
        // SAFETY: This is the only reaper, borrowed exclusively.
        let count = unsafe { self.context.getevents(min, timeout, Some(mask), events) }?;
        // SAFETY: `count` events have been written to `events`, from its beginning on.
        Ok(unsafe { self.count_reaped(events, count) })
    }

    /// Counts events that were taken, and returns them.
    ///
    /// # Safety
    /// The first `count` of `events` have been written.
    #[inline]
    unsafe fn count_reaped<'b>(
        &self,
        events: &'b [MaybeUninit<IoEvent>],
        count: usize,
    ) -> &'b [IoEvent] {
        // One reaper, so nobody else writes the count.
        let reaped = self.context.reaped.load(Ordering::Relaxed);
        self.context.reaped.store(reaped.wrapping_add(count), Ordering::Relaxed);
        debug_assert!(count <= events.len());
        // SAFETY: The caller promises that so many have been written, hence `count` is at most the
        // length. `MaybeUninit<IoEvent>` has the layout of `IoEvent`, and the lifetime is that of
        // `events`.
        unsafe { slice::from_raw_parts(events.as_ptr().cast(), count) }
    }
}

impl IoContext {
    /// Takes events off the ring, and by system call where `min` asks for more.
    ///
    /// # Safety
    /// The caller is the context's one reaper.
    #[inline(always)]
    unsafe fn reap(
        &self,
        min: usize,
        timeout: Option<Duration>,
        events: &mut [MaybeUninit<IoEvent>],
    ) -> Result<usize, Errno> {
        if min > events.len() {
            return Err(Errno::EINVAL);
        }
        // Before `head` is stored: a child must not take the parent's events.
        self.check_process()?;
        // SAFETY: The caller is the one reaper, so there is no other reader, and this one is in no
        // system call. The process has just been checked.
        let taken = unsafe { self.ring.take(events) };
        match taken {
            Some(taken) if taken >= min => Ok(taken),
            // SAFETY: The caller is the one reaper. The first `taken` events have been written.
            _ => unsafe { self.add_by_call(taken, min, timeout, events) },
        }
    }

    /// Adds events by system call to the `taken` ones, which are fewer than `min`; `None` where
    /// there is no ring to be read.
    ///
    /// # Safety
    /// The caller is the context's one reaper.
    #[cold]
    unsafe fn add_by_call(
        &self,
        taken: Option<usize>,
        min: usize,
        timeout: Option<Duration>,
        events: &mut [MaybeUninit<IoEvent>],
    ) -> Result<usize, Errno> {
        let Some(taken) = taken else {
            // SAFETY: The caller is the one reaper, and reads nothing during the call.
            return unsafe { self.getevents(min, timeout, None, events) };
        };
        if timeout == Some(Duration::ZERO) {
            return Ok(taken);
        }
        // SAFETY: The caller is the one reaper, and reads nothing during the call.
        match unsafe { self.getevents(min - taken, timeout, None, &mut events[taken..]) } {
            Ok(more) => Ok(taken + more),
            // What has been taken must come out; the error, if it lasts, shows at the next call.
            Err(_) if taken > 0 => Ok(taken),
            Err(errno) => Err(errno),
        }
    }
}
