//! [`Queue`], a context that owns what its operations need.

mod error;
mod ready;

pub use error::QueueError;
pub use ready::Ready;

use crate::engine::{BATCH, BatchBuffer, Engine, Finished, Stats, Storage};
#[cfg(feature = "std")]
use crate::slot::Tag;
use crate::slot::{Completion, PushError, Slot, Token};
use crate::{CallError, Errno, Fd, IoContext, Operation, ScopeError, SetupError};
#[cfg(feature = "std")]
use crate::{Iocb, Prepared};
use alloc::boxed::Box;
use core::fmt;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::NonNull;
use core::time::Duration;

/// Owns a context, and each operation in it until its completion.
///
/// Push operations, which hold their file and buffer; submit them together; take completions,
/// which give the operation back whole. All slots are allocated once, and nothing after that.
///
/// # Dropping
///
/// Dropping a queue cancels every POLL and waits until the kernel is finished with the rest: about
/// 30 ms, or as long as the slowest operation. Completions that were not taken are lost. A queue
/// that is forgotten (`mem::forget`) leaks what its operations own, and is sound.
///
/// # Forks
///
/// In a forked child the queue belongs to the parent:
///
/// - [`wait`](Self::wait), [`try_next`](Self::try_next) and the functions like them,
///   [`for_each`](Self::for_each), [`cancel`](Self::cancel), and [`submit`](Self::submit) of queued
///   operations return [`Errno::FORKED`].
/// - [`push`](Self::push) still moves an operation into a free slot, from which nothing takes it.
/// - The counts stay as they were at the fork.
/// - Dropping the queue leaks every operation in it, since the kernel may still be using the
///   buffers: pages that both processes share, and those that older kernels leave to the child.
///
/// A [`Ready`] that the parent took before the fork is an ordinary value in the child.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, op::Read};
/// use std::{fs::File, sync::Arc};
///
/// let file = Arc::new(File::open("/etc/os-release")?);
/// let mut queue = Queue::with_capacity(32)?;
/// for i in 0..4 {
///     queue.push(Read::new(file.clone(), vec![0; 64], i * 64))?;
/// }
/// while let Some(done) = queue.wait()? {
///     let n = done.result? as usize;
///     println!("{}: {:?}", done.op.offset, &done.op.buf[..n]);
/// }
/// # Ok(()) }
/// ```
pub struct Queue<O: Operation + 'static> {
    /// Ends before the slots do (`drop`).
    context: IoContext,
    engine: Engine<O>,
    /// The storage of the engine. Leaked unless the context has been destroyed.
    boxes: ManuallyDrop<Boxes<O>>,
}

// SAFETY: The queue owns its context and its slots; the kernel does not care from which thread of
// the process a context is used. The operations move along, hence the bound.
unsafe impl<O: Operation + Send + 'static> Send for Queue<O> {}

impl<O: Operation + 'static> Queue<O> {
    /// Makes a queue with a context of its own, for up to `capacity` operations at a time.
    ///
    /// # Errors
    /// [`SetupError`] says which limit was met: `EAGAIN` if `fs.aio-max-nr` is used up, `EINVAL`
    /// for zero or too many, `ENOMEM`, `ENOSYS` if the kernel has no AIO, `EPERM` by a filter.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Queue, op::Read};
    /// use std::fs::File;
    ///
    /// let queue: Queue<Read<File, Vec<u8>>> = Queue::with_capacity(32)?;
    /// assert_eq!((queue.capacity(), queue.in_flight()), (32, 0));
    /// let error = Queue::<Read<File, Vec<u8>>>::with_capacity(0).unwrap_err();
    /// assert!(error.to_string().contains("EINVAL"));
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_setup")]
    #[doc(alias = "io_queue_init")]
    pub fn with_capacity(capacity: u32) -> Result<Self, SetupError> {
        let context = IoContext::new(capacity)?;
        Ok(Self::over(context, capacity))
    }

    /// Makes a queue over a context, for up to `capacity` operations at a time. Operations that
    /// find no room in the kernel stay queued.
    ///
    /// # Errors
    /// The error gives the context back.
    /// - `EBUSY`: operations of a [`Submitter`](crate::Submitter) are in flight
    ///   ([`IoContext::in_flight`]), and the queue would take their events. Reap them first.
    /// - [`Errno::FORKED`]: the context is that of the parent process.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::{IoContext, Queue, op::Read};
    /// use std::fs::File;
    ///
    /// let context = IoContext::new(8)?;
    /// // Twice as many slots: half of the operations can stay queued.
    /// let mut queue = Queue::new(context, 16)?;
    /// queue.push(Read::new(File::open("/dev/zero")?, vec![1; 64], 0)).map_err(|e| e.errno())?;
    /// assert_eq!(queue.wait()?.expect("a completion").op.buf, [0; 64]);
    /// # Ok(()) }
    /// ```
    pub fn new(mut context: IoContext, capacity: u32) -> Result<Self, QueueError> {
        match ScopeError::check(&mut context) {
            Ok(()) => Ok(Self::over(context, capacity)),
            Err(reason) => Err(QueueError::new(reason, context)),
        }
    }

    /// Makes a queue over a context of this process that has nothing in flight.
    pub(crate) fn over(context: IoContext, capacity: u32) -> Self {
        let slots: Box<[Slot<O>]> = (0..capacity).map(|_| Slot::new()).collect();
        let slab = NonNull::from(Box::leak(slots));
        let queued = NonNull::from(Box::leak(Box::new_uninit_slice(capacity as usize)));
        let buffer: Box<BatchBuffer> = Box::new([const { MaybeUninit::uninit() }; BATCH]);
        let buffer = NonNull::from(Box::leak(buffer));
        let storage = Storage { slots: slab, queued, buffer };
        // SAFETY:
        // - The boxes are leaked, so the storage does not move. It is the engine's alone until
        //   `drop` frees it, and `drop` does so only when it has destroyed the context.
        // - The engine always gets `self.context`, which nothing else here submits to or reaps
        //   from.
        let engine = unsafe { Engine::new(storage, &context) };
        Self { context, engine, boxes: ManuallyDrop::new(Boxes { slab, queued, buffer }) }
    }

    /// Moves an operation into a free slot. It is not submitted yet: [`submit`](Self::submit) and
    /// [`wait`](Self::wait) do that, for all at once.
    ///
    /// # Errors
    /// `EAGAIN` if no slot is free. The error gives the operation back. An error type that asks for
    /// `Send` and `Sync` takes it with `?` only if the operation has both; otherwise convert it, as
    /// [`Scope::push`](crate::Scope::push) shows.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Queue, op::Read};
    /// use std::fs::File;
    ///
    /// let mut queue = Queue::with_capacity(1)?;
    /// queue.push(Read::new(File::open("/dev/zero")?, vec![1; 64], 0))?;
    /// assert_eq!((queue.queued(), queue.in_flight()), (1, 0));
    ///
    /// // No slot is free. The error gives the operation back.
    /// let error = queue.push(Read::new(File::open("/dev/zero")?, vec![1; 64], 64)).unwrap_err();
    /// queue.wait()?.expect("a completion").result?;
    /// queue.push(error.op)?;
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn push(&mut self, op: O) -> Result<Token, PushError<O>> {
        // SAFETY: `over` made room for every slot in the submit queue.
        unsafe { self.engine.push_with_room(op) }
    }

    /// Gives the queued operations to the kernel. Returns the number that it accepted.
    ///
    /// An operation that the kernel refuses fails alone: its completion carries the error.
    /// Operations that find no room in the kernel stay queued for the next submit. This can block,
    /// as [`Submitter::submit`](crate::Submitter::submit) says.
    ///
    /// # Errors
    /// - `EAGAIN`: the kernel has no resources although nothing is in flight. The operations stay
    ///   queued, and no completion will tell when to submit them again. Sleep for some milliseconds
    ///   and call this function again, for as long as the program can wait. To give an operation
    ///   up, [`cancel`](Self::cancel) it: it then completes with `ECANCELED`. With a
    ///   [`completion_fd`](Self::completion_fd) the operations complete with `EAGAIN` instead.
    /// - `ENOSYS`: a filter refuses `io_submit`.
    /// - [`Errno::FORKED`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Queue, op::Read};
    /// use std::fs::File;
    ///
    /// let mut queue = Queue::with_capacity(8)?;
    /// for i in 0..8 {
    ///     queue.push(Read::new(File::open("/dev/zero")?, vec![1; 64], i * 64))?;
    /// }
    /// assert_eq!(queue.submit()?, 8); // one system call
    /// assert_eq!(queue.stats().submit_calls, 1);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_submit")]
    #[doc(alias = "lio_listio")]
    #[inline(always)]
    pub fn submit(&mut self) -> Result<usize, CallError> {
        self.engine.submit(&self.context).map_err(CallError::submit)
    }

    /// Returns the next completion, without waiting, or `None` if none is there. Makes no system
    /// call if the ring can be read.
    ///
    /// With a [`completion_fd`](Self::completion_fd), it submits operations that the kernel had no
    /// room for before it returns `None`, and resets the descriptor by a system call.
    ///
    /// # Errors
    /// No completion can be taken any more: those of `io_getevents(2)` under a filter, if the ring
    /// cannot be read; [`Errno::FORKED`]. If an operation goes on
    /// ([`Operation::goes_on`](crate::Operation::goes_on)), this function submits it, so there are
    /// the errors of [`submit`](Self::submit), too. Nothing is lost by an error.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Queue, op::Read};
    /// use std::fs::File;
    ///
    /// let mut queue = Queue::with_capacity(1)?;
    /// queue.push(Read::new(File::open("/dev/zero")?, vec![1; 64], 0))?;
    /// assert!(queue.try_next()?.is_none()); // Nothing is submitted yet.
    /// queue.submit()?;
    /// while let Some(done) = queue.try_next()? {
    ///     assert_eq!(done.result?, 64);
    /// }
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_getevents")]
    #[inline]
    pub fn try_next(&mut self) -> Result<Option<Completion<O>>, CallError> {
        Ok(self.engine.poll(&self.context)?.map(Finished::take))
    }

    /// Returns the next completion. Submits the queued operations, and waits if it must. Returns
    /// `None` if nothing is queued or in flight.
    ///
    /// A loop of this drains what is there before it submits again, so that pushes made in it go to
    /// the kernel together. Signals do not end the wait. While operations are in flight, this
    /// function submits every 10 ms what the kernel has had no resources for (`EAGAIN`).
    ///
    /// # Errors
    /// - `EAGAIN`: the kernel has no resources for the queued operations, and nothing is in flight.
    ///   [`submit`](Self::submit) says what to do.
    /// - `ENOSYS`, `EPERM`: a filter refuses `io_submit` or `io_getevents`.
    /// - [`Errno::FORKED`].
    ///
    /// Nothing is lost by an error.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Queue, op::Read};
    /// use std::fs::File;
    ///
    /// let mut queue = Queue::with_capacity(4)?;
    /// for i in 0..4 {
    ///     queue.push(Read::new(File::open("/dev/zero")?, vec![1; 64], i * 64))?;
    /// }
    /// while let Some(done) = queue.wait()? {
    ///     // The completion has the operation whole: file, buffer and offset.
    ///     assert_eq!((done.result?, done.op.buf), (64, vec![0; 64]));
    /// }
    /// assert!(queue.wait()?.is_none()); // Nothing is queued or in flight.
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_getevents")]
    #[doc(alias = "io_queue_wait")]
    #[doc(alias = "aio_suspend")]
    #[inline(always)]
    pub fn wait(&mut self) -> Result<Option<Completion<O>>, CallError> {
        Ok(self.engine.wait(&self.context, None)?.map(Finished::take))
    }

    /// Submits what is queued, and returns the next completion. Waits for it at most for `timeout`.
    ///
    /// The timeout bounds the wait alone. Submitting comes first and can block for longer: the
    /// kernel reads and writes buffered files inside of `io_submit`.
    /// [`next_timeout`](Self::next_timeout) submits nothing.
    ///
    /// # Errors
    /// `ETIMEDOUT` when the time is up, `EINTR` when a signal was handled: nothing is lost, wait
    /// again. `EAGAIN` if the kernel has no resources for the queued operations, and nothing is in
    /// flight; `ENOSYS` or `EPERM` if a filter refuses a call; [`Errno::FORKED`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Errno, PollEvents, Queue, op::Poll};
    /// use std::time::Duration;
    ///
    /// let (reader, _writer) = std::os::unix::net::UnixStream::pair()?;
    /// let mut queue = Queue::with_capacity(1)?;
    /// queue.push(Poll::new(reader, PollEvents::IN))?;
    /// let error = queue.wait_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(error.errno(), Errno::ETIMEDOUT);
    /// assert_eq!(queue.in_flight(), 1); // The POLL goes on.
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_getevents")]
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Option<Completion<O>>, CallError> {
        Ok(self.engine.wait(&self.context, Some(timeout))?.map(Finished::take))
    }

    /// Returns the next completion of the operations in flight. Waits for it at most for `timeout`,
    /// and submits nothing, but for operations that go on.
    ///
    /// Returns `None` if nothing is in flight, even if operations are queued.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Errno, PollEvents, Queue, op::Poll};
    /// use std::time::Duration;
    ///
    /// let (reader, _writer) = std::os::unix::net::UnixStream::pair()?;
    /// let mut queue = Queue::with_capacity(1)?;
    /// queue.push(Poll::new(reader, PollEvents::IN))?;
    /// assert!(queue.next_timeout(Duration::from_secs(1))?.is_none()); // Nothing is submitted yet.
    /// queue.submit()?;
    /// let error = queue.next_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(error.errno(), Errno::ETIMEDOUT);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `ETIMEDOUT` when the time is up, `EINTR` when a signal was handled; those of
    /// `io_getevents(2)` under a filter; [`Errno::FORKED`]. Nothing is lost by an error.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Completion<O>>, CallError> {
        Ok(self.engine.wait_in_flight(&self.context, timeout)?.map(Finished::take))
    }

    /// Returns the next finished operation, without waiting and without moving it out of its slot.
    /// Use it to push the operation again from there. Returns `None` if none is there.
    ///
    /// # Errors
    /// Those of `io_getevents(2)` under a filter, if the ring cannot be read; [`Errno::FORKED`].
    /// Nothing is lost by an error.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Queue, op::Read};
    /// use std::fs::File;
    ///
    /// let mut queue = Queue::with_capacity(1)?;
    /// queue.push(Read::new(File::open("/dev/zero")?, [1; 64], 0))?;
    /// queue.submit()?;
    /// while queue.in_flight() > 0 {
    ///     if let Some(ready) = queue.ready()? {
    ///         assert_eq!((ready.result()?, ready.op().buf), (64, [0; 64]));
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn ready(&mut self) -> Result<Option<Ready<'_, O>>, CallError> {
        Ok(self.engine.poll(&self.context)?.map(Ready::new))
    }

    /// Waits as [`wait`](Self::wait) does, and leaves the operation in its slot.
    ///
    /// # Errors
    /// `EAGAIN` if the kernel has no resources for the queued operations, and nothing is in flight;
    /// `ENOSYS` or `EPERM` if a filter refuses `io_submit` or `io_getevents`; [`Errno::FORKED`].
    /// Nothing is lost by an error.
    ///
    /// # Examples
    ///
    /// A buffer that is read into again and again, without being moved:
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Queue, op::Read};
    /// use std::fs::File;
    ///
    /// let mut queue = Queue::with_capacity(1)?;
    /// queue.push(Read::new(File::open("/dev/zero")?, [1; 64], 0))?;
    /// for _ in 0..3 {
    ///     let mut ready = queue.wait_ready()?.expect("a completion");
    ///     assert_eq!((ready.result()?, ready.op().buf), (64, [0; 64]));
    ///     ready.op_mut().offset += 64;
    ///     ready.push_again();
    /// }
    /// # Ok(()) }
    /// ```
    #[inline(always)]
    pub fn wait_ready(&mut self) -> Result<Option<Ready<'_, O>>, CallError> {
        Ok(self.engine.wait(&self.context, None)?.map(Ready::new))
    }

    /// Calls `each` for every completion, until nothing is queued or in flight. It may push.
    ///
    /// # Errors
    /// `EAGAIN` if the kernel has no resources for the queued operations, and nothing is in flight;
    /// `ENOSYS` or `EPERM` if a filter refuses `io_submit` or `io_getevents`; [`Errno::FORKED`].
    /// The next call goes on with the operations that are left.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Queue, op::Read};
    /// use std::fs::File;
    ///
    /// let mut queue = Queue::with_capacity(1)?;
    /// queue.push(Read::new(File::open("/dev/zero")?, vec![1; 64], 0))?;
    /// let mut bytes = 0;
    /// queue.for_each(|queue, done| {
    ///     bytes += done.result.expect("a read of /dev/zero");
    ///     if bytes < 640 {
    ///         queue.push(done.op).expect("its slot is free");
    ///     }
    /// })?;
    /// assert_eq!(bytes, 640);
    /// # Ok(()) }
    /// ```
    pub fn for_each(
        &mut self,
        mut each: impl FnMut(&mut Self, Completion<O>),
    ) -> Result<(), CallError> {
        while let Some(done) = self.wait()? {
            each(self, done);
        }
        Ok(())
    }

    /// Pushes as [`push`](Self::push) does, and shows the iocb, too.
    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) fn push_and_show(&mut self, op: O) -> Result<(Token, &Iocb), PushError<O>> {
        // SAFETY: `over` made room for every slot in the submit queue. The iocb borrows the queue,
        // whose engine is not used meanwhile.
        unsafe { self.engine.push_and_show(op) }
    }

    /// Returns the operation of a token as it was prepared, if it has not completed.
    #[cfg(feature = "std")]
    pub(crate) fn iocb(&self, token: Token) -> Option<Iocb> {
        self.engine.iocb(token)
    }

    /// Asks for an operation to end early. It completes all the same: with `ECANCELED` if the
    /// kernel did not have it yet, and otherwise as the kernel ends it.
    ///
    /// # Errors
    /// `ENOENT`: it has completed, or the token is of another queue or of a scope. `EINVAL`: the
    /// kernel cannot cancel it (any but POLL). `ENOSYS` on gVisor; [`Errno::FORKED`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{PollEvents, Queue, op::Poll};
    ///
    /// let (reader, _writer) = std::os::unix::net::UnixStream::pair()?;
    /// let mut queue = Queue::with_capacity(1)?;
    /// let token = queue.push(Poll::new(reader, PollEvents::IN))?;
    /// queue.submit()?;
    /// queue.cancel(token)?;
    /// let done = queue.wait()?.expect("a cancelled operation completes, too");
    /// assert_eq!(done.token, token);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_cancel")]
    #[doc(alias = "aio_cancel")]
    pub fn cancel(&mut self, token: Token) -> Result<(), Errno> {
        self.engine.cancel(&self.context, token)
    }

    /// Returns a descriptor that is readable while [`try_next`](Self::try_next) has a completion to
    /// return. An event loop of your own waits for this queue by it.
    ///
    /// Add it to `epoll`, mio, glib, or any loop that polls descriptors. When it is readable, call
    /// `try_next`, [`ready`](Self::ready) or `dispatch`. It stays readable until one of these finds
    /// no completion, which resets it.
    ///
    /// - **Level-triggered**: take any number of completions for each wake-up.
    /// - **Edge-triggered**: call `try_next` until it returns `None`. Otherwise the next wake-up
    ///   comes only when another operation completes.
    ///
    /// Every completion makes it readable, including those of operations that the kernel refused or
    /// never received. It can also become readable once without a completion, so `None` after a
    /// wake-up is no error. Do not read from it or write to it yourself.
    ///
    /// The descriptor is an eventfd of this queue. The first call creates it, later calls return
    /// the same one, and dropping the queue closes it. It costs each operation about 0.1 to 0.2 µs
    /// in the kernel, and each look that finds nothing a system call. A queue without it pays
    /// nothing.
    ///
    /// # When the kernel has no room
    ///
    /// Operations that the kernel has no room for stay queued at first. When an operation in flight
    /// completes, the descriptor becomes readable, and `try_next` submits them before it returns
    /// `None`. It also submits what you pushed since, and can block as [`submit`](Self::submit)
    /// can.
    ///
    /// If only POLLs are in flight, or nothing is, no wake-up would tell when there is room. These
    /// operations then complete with `EAGAIN`, and `submit` and `wait` do not return that error.
    /// Push them again after a while, by a timer of your loop, or do the I/O by other means. To
    /// push them again at once is a busy loop.
    ///
    /// # Operations with an eventfd of their own
    ///
    /// The kernel signals one eventfd for each operation, and that is now the queue's. An operation
    /// that names another one ([`Prepared::eventfd`](crate::Prepared::eventfd)) completes with
    /// `EINVAL`.
    ///
    /// # Without events
    ///
    /// If events can no longer be taken, as under a filter that was installed since, the descriptor
    /// stays readable, and `try_next` returns the reason.
    ///
    /// # Errors
    /// - `EBUSY`: operations are in flight that would not make it readable. Call this before the
    ///   first submit.
    /// - `EMFILE`, `ENFILE`, `ENOMEM`, `ENODEV`: no eventfd could be made.
    /// - [`Errno::FORKED`]: the descriptor is that of the parent process.
    ///
    /// # Examples
    ///
    /// A loop that waits for a disk and for another descriptor:
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{EventFd, Queue, op::Read};
    /// use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
    /// use std::{fs::File, mem::MaybeUninit, sync::Arc};
    ///
    /// const DISK: EventData = EventData::new_u64(1);
    /// const OTHER: EventData = EventData::new_u64(2);
    ///
    /// let mut queue = Queue::with_capacity(32)?;
    /// let other = EventFd::new()?;
    /// let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    /// epoll::add(&epoll, queue.completion_fd()?, DISK, EventFlags::IN)?;
    /// epoll::add(&epoll, &other, OTHER, EventFlags::IN)?;
    ///
    /// let file = Arc::new(File::open("/etc/os-release")?);
    /// for i in 0..4 {
    ///     queue.push(Read::new(file.clone(), vec![0; 64], i * 64))?;
    /// }
    /// queue.submit()?;
    /// let mut left = 4;
    /// while left > 0 {
    ///     let mut events = [MaybeUninit::uninit(); 8];
    ///     let (events, _) = epoll::wait(&epoll, &mut events, None)?;
    ///     if events.iter().any(|event| { event.data } == DISK) {
    ///         while let Some(done) = queue.try_next()? {
    ///             println!("{}: {} bytes", done.op.offset, done.result?);
    ///             left -= 1;
    ///         }
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_set_eventfd")]
    #[doc(alias = "eventfd")]
    pub fn completion_fd(&self) -> Result<Fd<'_>, Errno> {
        self.engine.completion_fd(&self.context)
    }

    /// Returns the number of operations that the kernel has accepted and that have not completed.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Queue, op::Read};
    /// use std::fs::File;
    ///
    /// let mut queue = Queue::with_capacity(8)?;
    /// queue.push(Read::new(File::open("/dev/zero")?, vec![1; 64], 0))?;
    /// assert_eq!((queue.queued(), queue.in_flight()), (1, 0));
    /// queue.submit()?;
    /// assert_eq!((queue.queued(), queue.in_flight()), (0, 1)); // until its completion is taken
    /// # Ok(()) }
    /// ```
    pub fn in_flight(&self) -> usize {
        self.engine.in_flight()
    }

    /// Returns the number of operations that were pushed and not submitted.
    pub fn queued(&self) -> usize {
        self.engine.queued()
    }

    /// Returns the number of operations that there are slots for.
    pub fn capacity(&self) -> usize {
        self.engine.capacity()
    }

    /// Returns counts of what the queue has asked of the kernel so far.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Queue, op::Read};
    /// use std::fs::File;
    ///
    /// let mut queue = Queue::with_capacity(8)?;
    /// queue.push(Read::new(File::open("/dev/zero")?, vec![1; 64], 0))?;
    /// queue.wait()?.expect("a completion").result?;
    /// let stats = queue.stats();
    /// assert_eq!((stats.operations, stats.events_by_ring + stats.events_by_call), (1, 1));
    /// # Ok(()) }
    /// ```
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// Returns the next operation that has ended, as [`ready`](Self::ready) does, also if it goes
    /// on. The caller sees to that.
    #[cfg(feature = "std")]
    pub(crate) fn ready_piece(&mut self) -> Result<Option<Ready<'_, O>>, CallError> {
        Ok(self.engine.poll_piece(&self.context)?.map(Ready::new))
    }

    /// Returns the engine and its context, for an owner that comes back in while users' code runs:
    /// all of an engine is used by `&self`.
    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) fn parts(&self) -> (&Engine<O>, &IoContext) {
        (&self.engine, &self.context)
    }

    /// Returns the operation of a tag as it was prepared, if it has not completed.
    #[cfg(feature = "std")]
    pub(crate) fn iocb_of(&self, tag: Tag) -> Option<Iocb> {
        self.engine.iocb(self.engine.token(tag))
    }

    /// Returns where the operations lie that have not completed, and how they were prepared.
    #[cfg(feature = "std")]
    pub(crate) fn live(&self) -> impl Iterator<Item = (*mut O, Iocb)> {
        self.engine.live_operations()
    }

    /// Adds an operation that is prepared already. Returns its tag, or `op` if no slot is free.
    ///
    /// # Safety
    /// What `prepared` lends stays lent until the operation has ended: until its
    /// [`Finished`](crate::engine::Finished) is had, or it is taken out.
    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) unsafe fn push_prepared(&self, op: O, prepared: Prepared<'_>) -> Result<Tag, O> {
        // SAFETY: `over` made room for every slot in the submit queue. The promise about the loan
        // is the caller's.
        unsafe { self.engine.push_prepared(op, prepared) }
    }

    /// Takes an operation out of those that are queued. The one that was pushed last comes first.
    #[cfg(feature = "std")]
    pub(crate) fn take_queued(&mut self) -> Option<O> {
        self.engine.take_queued()
    }

    /// Returns the error of the last [`try_next`](Self::try_next), if it was one.
    #[cfg(feature = "std")]
    pub(crate) fn poll_failure(&self) -> Option<Errno> {
        self.engine.poll_failure()
    }

    /// Ends the context, and gives every operation back whose completion was not taken; none where
    /// nothing proves that the kernel is finished with them.
    #[cfg(feature = "std")]
    pub(crate) fn into_operations(mut self) -> alloc::vec::Vec<O> {
        let mut operations = alloc::vec::Vec::new();
        if self.context.destroy().is_ok() {
            // SAFETY: The 0 of `io_destroy` proves that the kernel is finished with every
            // operation.
            unsafe { self.engine.take_all(|operation| operations.push(operation)) };
        }
        operations
    }
}

impl<O: Operation + 'static> Drop for Queue<O> {
    fn drop(&mut self) {
        if self.context.destroy().is_err() {
            // In a forked child, or under a filter that forbids it: nothing proves that the
            // kernel is finished with the buffers, so they are leaked. They own all they need.
            return;
        }
        // SAFETY: It is taken once, here in the drop. The kernel has ended the context. The engine
        // is not used after this function, and does not look at its storage when it is dropped. The
        // boxes are freed at the end of this function, even if the drop of an operation panics.
        let _boxes = unsafe { ManuallyDrop::take(&mut self.boxes) };
        // SAFETY: The 0 of `io_destroy` proves that the kernel is finished with every operation.
        unsafe { self.engine.discard_all() };
    }
}

/// The storage of an engine: boxes that may move while the kernel writes into them, and that are
/// freed when this is dropped.
struct Boxes<O> {
    slab: NonNull<[Slot<O>]>,
    queued: NonNull<[MaybeUninit<NonNull<Slot<O>>>]>,
    buffer: NonNull<BatchBuffer>,
}

impl<O> Drop for Boxes<O> {
    fn drop(&mut self) {
        // SAFETY: `over` made it by `Box::leak`, and it is freed once. The owner drops this when
        // nothing refers to the storage any more.
        drop(unsafe { Box::from_raw(self.slab.as_ptr()) });
        // SAFETY: `over` made it by `Box::leak`, it is freed once, and nothing refers to it
        // any more.
        drop(unsafe { Box::from_raw(self.queued.as_ptr()) });
        // SAFETY: `over` made it by `Box::leak`, it is freed once, and nothing refers to it
        // any more.
        drop(unsafe { Box::from_raw(self.buffer.as_ptr()) });
    }
}

impl<O: Operation + 'static> fmt::Debug for Queue<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("capacity", &self.engine.capacity())
            .field("queued", &self.engine.queued())
            .field("in_flight", &self.engine.in_flight())
            .finish_non_exhaustive()
    }
}
