//! [`Queue`], a context that owns what its operations need.

mod boxes;
mod completion_fd;
#[cfg(feature = "std")]
mod drivers;
mod error;
mod ready;

pub use error::QueueError;
pub use ready::Ready;

use crate::engine::{Engine, Finished, Stats};
use crate::slot::{Completion, PushError, Token};
use crate::{CallError, Errno, IoContext, Operation, ScopeError, SetupError};
use boxes::Boxes;
use core::fmt;
use core::mem::ManuallyDrop;
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
        let boxes = Boxes::new(capacity);
        // SAFETY:
        // - The boxes are leaked, so the storage does not move. It is the engine's alone until
        //   `drop` frees it, and `drop` does so only when it has destroyed the context.
        // - The engine always gets `self.context`, which nothing else here submits to or reaps
        //   from.
        let engine = unsafe { Engine::new(boxes.storage(), &context) };
        Self { context, engine, boxes: ManuallyDrop::new(boxes) }
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
        // SAFETY: `Boxes::new` made room for every slot in the submit queue.
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

    /// Returns `true` if every slot is in use, so that [`push`](Self::push) would give `EAGAIN`.
    ///
    /// A slot is in use until its completion has been taken, which may be later than the kernel
    /// has finished.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Queue, op::Read};
    /// use std::{fs::File, sync::Arc};
    ///
    /// let zero = Arc::new(File::open("/dev/zero")?);
    /// let mut offsets = (0..100).map(|i| i * 64);
    /// let mut queue = Queue::with_capacity(8)?;
    /// let mut reads = 0;
    /// loop {
    ///     while !queue.is_full() {
    ///         let Some(offset) = offsets.next() else { break };
    ///         queue.push(Read::new(zero.clone(), [1; 64], offset))?;
    ///     }
    ///     let Some(done) = queue.wait()? else { break };
    ///     assert_eq!(done.result?, 64);
    ///     reads += 1;
    /// }
    /// assert_eq!(reads, 100);
    /// # Ok(()) }
    /// ```
    pub fn is_full(&self) -> bool {
        self.engine.is_full()
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

impl<O: Operation + 'static> fmt::Debug for Queue<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("capacity", &self.engine.capacity())
            .field("queued", &self.engine.queued())
            .field("in_flight", &self.engine.in_flight())
            .finish_non_exhaustive()
    }
}
