//! [`Operation`], what users put into a scope or queue, and [`Prepared`], what it turns
//! into for the kernel.
//!
//! # Why `Operation` is a safe trait
//!
//! `prepare` is implemented for **every** lifetime `'op` of `&'op mut self`, and its result carries
//! that lifetime. The engine keeps the loan from the call of `prepare` until the event. Meanwhile
//! it neither moves, touches nor drops the operation. An async block holds a borrow of its own
//! local across an await in the same way.
//!
//! Safe code can put three things into a [`Prepared<'op>`]:
//!
//! - a slice of a buffer that the operation owns;
//! - a reborrow of a buffer that it borrows;
//! - a descriptor that it keeps open.
//!
//! All are valid until the kernel is done, and borrowed exclusively or shared as the direction
//! asks. Any other buffer (a local, the content of a lock's guard, a temporary) does not outlive
//! `'op` and does not compile.

use crate::room::{Filled, Rooms};
use crate::{Diagnosis, Errno, Fd, IoPrio, IoSlice, IoSliceMut, Iocb, PollEvents, Room, RwFlags};
use core::marker::PhantomData;
use core::ptr::NonNull;

/// Describes something that the kernel can do, with all that it needs: file, buffer, offset.
///
/// Safe to implement. The value is moved into a slot, prepared there, and given back whole in its
/// [`Completion`](crate::Completion).
///
/// ```
/// use linux_aio::{Fd, Operation, Prepared};
///
/// /// A log record: a header of our own and a buffer.
/// struct Append<'fd> {
///     log: Fd<'fd>,
///     at: u64,
///     record: Vec<u8>,
/// }
///
/// impl Operation for Append<'_> {
///     fn prepare(&mut self) -> Prepared<'_> {
///         Prepared::write(self.log, &self.record, self.at)
///     }
/// }
/// ```
///
/// A buffer that does not belong to the operation is refused by the compiler:
///
/// ```compile_fail,E0515
/// use linux_aio::{Fd, Operation, Prepared};
///
/// struct Bad<'fd>(Fd<'fd>);
///
/// impl Operation for Bad<'_> {
///     fn prepare(&mut self) -> Prepared<'_> {
///         let mut local = [0; 512];
///         Prepared::read(self.0, &mut local, 0)
///     }
/// }
/// ```
pub trait Operation {
    /// Says what the kernel is to do, with loans from `self` that last until it has done it.
    ///
    /// Called once for each time the operation is pushed, when it has its place in memory.
    fn prepare(&mut self) -> Prepared<'_>;

    /// Decides, when the operation has ended, whether it goes on. If so it is
    /// prepared and queued again from its slot, and does not complete yet.
    ///
    /// By default it never goes on.
    #[cfg_attr(feature = "alloc", doc = "[`op::Whole`](crate::op::Whole)")]
    #[cfg_attr(not(feature = "alloc"), doc = "`op::Whole`")]
    /// is what programs use. An operation that holds another one delegates this to it, as it
    /// delegates `prepare`.
    ///
    /// The operation has another token from then on.
    #[inline(always)]
    fn goes_on(&mut self, outcome: EventResult) -> bool {
        let _ = outcome;
        false
    }

    /// Returns `true` if the type knows that its operations never go on, and name no eventfd. Then
    /// a driver need not ask.
    #[doc(hidden)]
    #[inline(always)]
    fn is_plain(&self) -> bool {
        false
    }
}

/// Says how an operation ended, for [`Operation::goes_on`].
///
/// It is the number of the event. A [`result`](Self::result) is made only of those that are asked
/// for, so that operations which never go on pay nothing.
///
/// ```
/// use linux_aio::{Errno, EventResult};
///
/// assert_eq!(EventResult::from(Ok(512)).result(), Ok(512));
/// assert_eq!(EventResult::from(Err(Errno::EIO)).result(), Err(Errno::EIO));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventResult(i64);

impl EventResult {
    #[inline(always)]
    pub(crate) fn of_event(res: i64) -> Self {
        Self(res)
    }

    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) fn as_res(self) -> i64 {
        self.0
    }

    /// Returns the result: what [`Completion::result`](crate::Completion::result) would be.
    #[inline]
    pub fn result(self) -> Result<u32, Errno> {
        Errno::check_result(self.0)
    }
}

impl From<Result<u32, Errno>> for EventResult {
    fn from(result: Result<u32, Errno>) -> Self {
        Self(result.map_or_else(|errno| -i64::from(errno.as_raw()), i64::from))
    }
}

/// Tells the kernel what to do, and holds the loans that it needs.
///
/// Constructors take what the operation takes; setters add options.
///
/// ```
/// use linux_aio::{Fd, Operation, Prepared, RwFlags};
///
/// struct Commit<'fd> {
///     log: Fd<'fd>,
///     end: u64,
///     record: [u8; 512],
/// }
///
/// impl Operation for Commit<'_> {
///     fn prepare(&mut self) -> Prepared<'_> {
///         Prepared::write(self.log, &self.record, self.end).rw_flags(RwFlags::DSYNC)
///     }
/// }
/// ```
#[derive(Debug)]
#[must_use = "an operation is prepared to be returned from `Operation::prepare`"]
pub struct Prepared<'op> {
    iocb: Iocb,
    /// The first record of memory that is not initialised.
    filled: Option<NonNull<Filled>>,
    loan: PhantomData<(&'op mut [u8], &'op mut Filled)>,
}

// SAFETY: The pointer is a mutable borrow of a record, which may be sent.
unsafe impl Send for Prepared<'_> {}
// SAFETY: Nothing can be done with the record through `&`.
unsafe impl Sync for Prepared<'_> {}

impl<'op> Prepared<'op> {
    /// Reads at `offset` of the file to `buf`. Completes with the count, 0 at the end of the file,
    /// or if `buf` has length 0.
    #[doc(alias = "pread")]
    #[doc(alias = "io_prep_pread")]
    #[inline]
    pub fn read(fd: Fd<'op>, buf: &'op mut [u8], offset: u64) -> Self {
        Self::new(Iocb::pread(fd.as_raw(), buf.as_mut_ptr(), buf.len(), offset))
    }

    /// Writes `buf` at `offset` of the file, or at its end if it is open with `O_APPEND`. Completes
    /// with the count, which may be short.
    #[doc(alias = "pwrite")]
    #[doc(alias = "io_prep_pwrite")]
    #[inline]
    pub fn write(fd: Fd<'op>, buf: &'op [u8], offset: u64) -> Self {
        Self::new(Iocb::pwrite(fd.as_raw(), buf.as_ptr(), buf.len(), offset))
    }

    /// Reads at `offset` of the file to memory of any kind. Completes as [`read`](Self::read) does.
    #[inline]
    pub fn read_to(fd: Fd<'op>, room: Room<'op>, offset: u64) -> Self {
        let iocb = Iocb::pread(fd.as_raw(), room.start(), room.len(), offset);
        Self::new(iocb).filling(Rooms::from(room))
    }

    /// Writes `bytes`, which may be memory that other threads change, at `offset` of the file.
    /// Completes as [`write`](Self::write) does.
    #[inline]
    pub fn write_from(fd: Fd<'op>, bytes: IoSlice<'op>, offset: u64) -> Self {
        Self::new(Iocb::pwrite(fd.as_raw(), bytes.as_ptr(), bytes.len(), offset))
    }

    /// Reads at `offset` of the file to several buffers, one after the other.
    #[doc(alias = "preadv")]
    #[doc(alias = "io_prep_preadv")]
    #[inline]
    pub fn readv(fd: Fd<'op>, bufs: &'op mut [IoSliceMut<'_>], offset: u64) -> Self {
        Self::new(Iocb::preadv(fd.as_raw(), bufs.as_ptr().cast(), bufs.len(), offset))
    }

    /// Writes several buffers, one after the other, at `offset` of the file.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{IoSlice, Operation, Prepared, Queue};
    /// use std::{fs::File, os::fd::AsFd};
    ///
    /// struct Record {
    ///     log: File,
    ///     parts: [IoSlice<'static>; 2],
    /// }
    ///
    /// impl Operation for Record {
    ///     fn prepare(&mut self) -> Prepared<'_> {
    ///         Prepared::writev(self.log.as_fd().into(), &self.parts, 0)
    ///     }
    /// }
    ///
    /// let parts = [IoSlice::new(b"header: "), IoSlice::new(b"body")];
    /// let mut queue = Queue::with_capacity(1)?;
    /// queue.push(Record { log: tempfile::tempfile()?, parts })?;
    /// assert_eq!(queue.wait()?.expect("a completion").result?, 12);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pwritev")]
    #[doc(alias = "io_prep_pwritev")]
    #[inline]
    pub fn writev(fd: Fd<'op>, bufs: &'op [IoSlice<'_>], offset: u64) -> Self {
        Self::new(Iocb::pwritev(fd.as_raw(), bufs.as_ptr().cast(), bufs.len(), offset))
    }

    /// Brings data and metadata of the file to stable storage: those of writes that have completed.
    /// Completes with 0.
    #[doc(alias = "io_prep_fsync")]
    #[inline]
    pub fn fsync(fd: Fd<'op>) -> Self {
        Self::new(Iocb::fsync(fd.as_raw()))
    }

    /// Brings data of the file, and the metadata needed to read it, to stable storage: those of
    /// writes that have completed. Completes with 0.
    #[doc(alias = "fdatasync")]
    #[doc(alias = "io_prep_fdsync")]
    #[inline]
    pub fn fdsync(fd: Fd<'op>) -> Self {
        Self::new(Iocb::fdsync(fd.as_raw()))
    }

    /// Waits, once, until one of `events` holds for the file. Completes with those that do.
    #[doc(alias = "io_prep_poll")]
    #[inline]
    pub fn poll(fd: Fd<'op>, events: PollEvents) -> Self {
        Self::new(Iocb::poll(fd.as_raw(), events))
    }

    /// Makes any operation at all. `aio_data` is overwritten.
    ///
    /// # Safety
    /// - For `'op`, every address in it must be of memory that the kernel may access as the
    ///   operation asks, without aliasing what safe code holds.
    /// - Its descriptor must be one that the operation may act on.
    #[doc(alias = "iocb")]
    #[inline]
    pub unsafe fn from_iocb(iocb: Iocb) -> Self {
        Self::new(iocb)
    }

    #[inline]
    fn new(iocb: Iocb) -> Self {
        Self { iocb, filled: None, loan: PhantomData }
    }

    /// Lends the rooms that the operation fills, with their records.
    #[inline(always)]
    pub(crate) fn filling(self, rooms: Rooms<'op>) -> Self {
        Self { filled: rooms.filled(), ..self }
    }

    /// Sets the flags of the operation. Only reads and writes take any; others complete with
    /// `EINVAL`.
    #[inline]
    pub fn rw_flags(mut self, flags: RwFlags) -> Self {
        self.iocb = self.iocb.rw_flags(flags);
        self
    }

    /// Sets the I/O priority, instead of that of the submitting thread.
    #[inline]
    pub fn ioprio(mut self, priority: IoPrio) -> Self {
        self.iocb = self.iocb.ioprio(priority);
        self
    }

    /// Names an eventfd, which is signalled when the operation is complete. Another kind of
    /// descriptor makes the operation complete with `EINVAL`.
    ///
    /// **An operation that the kernel refuses does not signal it.** The kernel signals it for
    /// events only. An operation that is cancelled before it is submitted has no event either, nor
    /// has one that stays queued because the kernel has no room. To wait for all of them, use the
    /// `completion_fd` of the queue or scope. An operation that names another eventfd than that
    /// completes with `EINVAL`.
    #[doc(alias = "io_set_eventfd")]
    #[inline]
    pub fn eventfd(mut self, fd: Fd<'op>) -> Self {
        self.iocb = self.iocb.eventfd(fd.as_raw());
        self
    }

    #[cfg(feature = "std")]
    pub(crate) fn iocb(&self) -> &Iocb {
        &self.iocb
    }

    /// Names this eventfd and no other, or none. The number of one that is not named says nothing
    /// to the kernel.
    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) fn signals(mut self, eventfd: Fd<'op>, names: bool) -> Self {
        const _: () = assert!(crate::abi::IOCB_FLAG_RESFD == 1);
        let raw = self.iocb.as_raw_mut();
        raw.aio_flags = raw.aio_flags & !crate::abi::IOCB_FLAG_RESFD | u32::from(names);
        raw.aio_resfd = eventfd.as_raw() as u32;
        self
    }

    /// Describes this operation, which failed with `errno`, and the likely cause.
    ///
    /// With a [`Driver`](crate::Driver): `op.prepare().diagnose(errno)`.
    pub fn diagnose(&self, errno: Errno) -> Diagnosis {
        self.iocb.diagnose(errno)
    }

    /// Returns the bytes of a read or write of one buffer, or 0 for any other operation.
    #[cfg(feature = "alloc")]
    #[inline]
    pub(crate) fn transfer_len(&self) -> usize {
        match self.iocb.opcode() {
            crate::Opcode::PREAD | crate::Opcode::PWRITE => self.iocb.as_raw().aio_nbytes as usize,
            _ => 0,
        }
    }

    /// Returns the first of the records that are lent with the memory.
    #[inline(always)]
    pub(crate) fn filled(&self) -> Option<NonNull<Filled>> {
        self.filled
    }

    /// Returns the iocb for the kernel.
    #[inline(always)]
    pub(crate) fn into_iocb(self) -> Iocb {
        self.iocb
    }
}

/// Carries a value along: the operation is the first, the second comes back with it.
impl<P: Operation, T> Operation for (P, T) {
    #[inline]
    fn prepare(&mut self) -> Prepared<'_> {
        self.0.prepare()
    }

    #[inline(always)]
    fn goes_on(&mut self, outcome: EventResult) -> bool {
        self.0.goes_on(outcome)
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.0.is_plain()
    }
}

impl<P: Operation + ?Sized> Operation for &mut P {
    #[inline]
    fn prepare(&mut self) -> Prepared<'_> {
        (**self).prepare()
    }

    #[inline(always)]
    fn goes_on(&mut self, outcome: EventResult) -> bool {
        (**self).goes_on(outcome)
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        (**self).is_plain()
    }
}

#[cfg(feature = "alloc")]
impl<P: Operation + ?Sized> Operation for alloc::boxed::Box<P> {
    #[inline]
    fn prepare(&mut self) -> Prepared<'_> {
        (**self).prepare()
    }

    #[inline(always)]
    fn goes_on(&mut self, outcome: EventResult) -> bool {
        (**self).goes_on(outcome)
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        (**self).is_plain()
    }
}
