//! [`Queue`], a context that owns what its operations need.

use crate::engine::{Engine, Inbox, Memory, RUN, Settled, Stats};
use crate::slot::{Completion, PushError, Slot, Token};
use crate::{CallError, Diagnosis, Errno, Fd, IoContext, Operation, SetupError};
use alloc::boxed::Box;
use core::fmt;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::NonNull;
use core::time::Duration;
use static_assertions::{assert_impl_all, assert_not_impl_any};

/// A context and the operations in it, each owned until its completion.
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
/// - [`wait`](Self::wait), [`wait_timeout`](Self::wait_timeout), [`wait_ready`](Self::wait_ready),
///   [`for_each`](Self::for_each), [`cancel`](Self::cancel), and [`submit`](Self::submit) of what
///   is queued give [`Errno::FORKED`]. [`try_next`](Self::try_next) and [`ready`](Self::ready) give
///   `None`.
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
    /// What the engine works on. Leaked unless the context has been destroyed.
    memory: ManuallyDrop<Boxes<O>>,
}

// SAFETY: The queue owns its context and its slots; the kernel does not care from which thread of
// the process a context is used. The operations move along, hence the bound.
unsafe impl<O: Operation + Send + 'static> Send for Queue<O> {}

impl<O: Operation + 'static> Queue<O> {
    /// A queue with a context of its own, for up to `capacity` operations at a time.
    ///
    /// # Errors
    /// As [`IoContext::new`].
    pub fn with_capacity(capacity: u32) -> Result<Self, SetupError> {
        let context = IoContext::new(capacity)?;
        Ok(Self::over(context, capacity))
    }

    /// A queue over a context, for up to `capacity` operations at a time. What finds no room in the
    /// kernel waits in the queue.
    ///
    /// # Errors
    /// Gives the context back where it has operations outstanding
    /// ([`IoContext::outstanding`]): their events would come out here. So, too, in a forked child.
    pub fn new(mut context: IoContext, capacity: u32) -> Result<Self, IoContext> {
        if context.outstanding() != 0 || context.check_process_strictly().is_err() {
            return Err(context);
        }
        Ok(Self::over(context, capacity))
    }

    /// The context has nothing in flight and is of this process.
    pub(crate) fn over(context: IoContext, capacity: u32) -> Self {
        let slots: Box<[Slot<O>]> = (0..capacity).map(|_| Slot::new()).collect();
        let slab = NonNull::from(Box::leak(slots));
        let pending = NonNull::from(Box::leak(Box::new_uninit_slice(capacity as usize)));
        let inbox = NonNull::from(Box::leak(Box::new([const { MaybeUninit::uninit() }; RUN])));
        let memory = Memory { slots: slab, pending, inbox };
        // SAFETY: None of it moves, and all is the engine's alone until `drop`, which frees it only
        // when the context has been destroyed.
        let engine = unsafe { Engine::new(memory, &context) };
        Self { context, engine, memory: ManuallyDrop::new(Boxes { slab, pending, inbox }) }
    }

    /// Moves an operation into a free slot. It is not submitted yet: [`submit`](Self::submit) and
    /// [`wait`](Self::wait) do that, for all at once.
    ///
    /// # Errors
    /// `EAGAIN` if no slot is free. The error gives the operation back. An error type that asks for
    /// `Send` and `Sync` takes it with `?` only if the operation has both; otherwise convert it, as
    /// [`Scope::push`](crate::Scope::push) shows.
    #[inline]
    pub fn push(&mut self, op: O) -> Result<Token, PushError<O>> {
        // SAFETY: `over` made room for all slots among the pending.
        unsafe { self.engine.push_with_room(op) }
    }

    /// Gives what was pushed to the kernel, and says how many operations it accepted.
    ///
    /// An operation that the kernel refuses fails alone: its completion carries the error. What
    /// finds no room in the kernel stays queued for the next submit. This can block, as
    /// [`Submitter::submit`](crate::Submitter::submit) says.
    ///
    /// # Errors
    /// `EAGAIN` if the kernel has no resources although nothing is in flight. The operations stay
    /// queued, and no completion will tell when to submit them again: sleep for some milliseconds and
    /// call this function again, for as long as the program can wait. To give an operation up,
    /// [`cancel`](Self::cancel) it: it then completes with `ECANCELED`. With a
    /// [`completion_fd`](Self::completion_fd) the operations complete with `EAGAIN` instead.
    /// `ENOSYS` by a filter; [`Errno::FORKED`].
    #[inline(always)]
    pub fn submit(&mut self) -> Result<usize, CallError> {
        self.engine.submit(&self.context).map_err(CallError::submit)
    }

    /// The next completion that is there, without waiting; without a system call where the ring
    /// can be read. `None`, too, where that call fails: [`wait`](Self::wait) says why.
    ///
    /// With a [`completion_fd`](Self::completion_fd), it submits operations that the kernel had no
    /// room for before it returns `None`, and resets the descriptor by a system call.
    #[inline]
    pub fn try_next(&mut self) -> Option<Completion<O>> {
        let settled = self.engine.try_settle(&self.context)?;
        // SAFETY: It has just been settled.
        Some(unsafe { self.engine.take(settled) })
    }

    /// The next completion: submits what is queued, and waits if it must. `None` where nothing is
    /// queued or in flight.
    ///
    /// A loop of this drains what is there before it submits again, so that pushes made in it go to
    /// the kernel together. Signals do not end the wait. While operations are in flight, this function
    /// submits every 10 ms what the kernel has had no resources for (`EAGAIN`).
    ///
    /// # Errors
    /// As [`submit`](Self::submit): `EAGAIN` too if nothing is in flight. Also those of
    /// `io_getevents(2)` under a filter. Nothing is lost by an error.
    #[inline(always)]
    pub fn wait(&mut self) -> Result<Option<Completion<O>>, CallError> {
        let settled = self.engine.wait(&self.context, None)?;
        // SAFETY: It has just been settled.
        Ok(settled.map(|settled| unsafe { self.engine.take(settled) }))
    }

    /// Submits what is queued, and returns the next completion. Waits for it at most for `timeout`.
    ///
    /// The timeout bounds the wait alone. Submitting comes first and can block for longer: the
    /// kernel reads and writes buffered files inside of `io_submit`.
    /// [`next_timeout`](Self::next_timeout) submits nothing.
    ///
    /// # Errors
    /// `ETIMEDOUT` when the time is up, `EINTR` when a signal was handled: nothing is lost, wait
    /// again; otherwise as [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Option<Completion<O>>, CallError> {
        let settled = self.engine.wait(&self.context, Some(timeout))?;
        // SAFETY: It has just been settled.
        Ok(settled.map(|settled| unsafe { self.engine.take(settled) }))
    }

    /// Returns the next completion of the operations in flight. Waits for it at most for `timeout`,
    /// and submits nothing.
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
        let settled = self.engine.next_timeout(&self.context, timeout)?;
        // SAFETY: It has just been settled.
        Ok(settled.map(|settled| unsafe { self.engine.take(settled) }))
    }

    /// As [`try_next`](Self::try_next), but the operation stays in its slot: to be looked at, and
    /// pushed again without being moved.
    #[inline]
    pub fn ready(&mut self) -> Option<Ready<'_, O>> {
        let settled = self.engine.try_settle(&self.context)?;
        Some(Ready { queue: self, settled })
    }

    /// As [`wait`](Self::wait), but the operation stays in its slot.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    #[inline(always)]
    pub fn wait_ready(&mut self) -> Result<Option<Ready<'_, O>>, CallError> {
        let settled = self.engine.wait(&self.context, None)?;
        Ok(settled.map(|settled| Ready { queue: self, settled }))
    }

    /// Calls `each` for every completion, until nothing is queued or in flight. It may push.
    ///
    /// # Errors
    /// As [`wait`](Self::wait). The next call goes on with the operations that are left.
    pub fn for_each(
        &mut self,
        mut each: impl FnMut(&mut Self, Completion<O>),
    ) -> Result<(), CallError> {
        while let Some(done) = self.wait()? {
            each(self, done);
        }
        Ok(())
    }

    /// Asks for an operation to end early. It completes all the same: with `ECANCELED` where the
    /// kernel did not have it yet, else as the kernel ends it.
    ///
    /// # Errors
    /// `ENOENT`: it has completed, or the token is of another queue or of a scope. `EINVAL`: the
    /// kernel cannot cancel it (any but POLL). `ENOSYS` on gVisor; [`Errno::FORKED`].
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
    /// stays readable although `try_next` returns `None`. [`wait`](Self::wait) returns the reason.
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
    ///         while let Some(done) = queue.try_next() {
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

    /// How many operations the kernel has.
    pub fn in_flight(&self) -> usize {
        self.engine.in_flight()
    }

    /// How many operations are pushed and not submitted.
    pub fn queued(&self) -> usize {
        self.engine.pending()
    }

    /// How many operations there is room for.
    pub fn capacity(&self) -> usize {
        self.engine.capacity()
    }

    /// What was asked of the kernel so far.
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// Takes an operation out of those that are queued; the one that was pushed last comes first.
    #[cfg(feature = "std")]
    pub(crate) fn take_queued(&mut self) -> Option<O> {
        self.engine.take_pending()
    }

    /// Why [`try_next`](Self::try_next) gave nothing, where it could not look.
    #[cfg(feature = "std")]
    pub(crate) fn look_failure(&self) -> Option<Errno> {
        self.engine.look_failure()
    }

    /// Ends the context, and gives every operation back whose completion was not taken; none where
    /// nothing proves that the kernel is finished with them.
    #[cfg(feature = "std")]
    pub(crate) fn into_operations(mut self) -> alloc::vec::Vec<O> {
        let mut operations = alloc::vec::Vec::new();
        if self.context.destroy().is_ok() {
            // SAFETY: The kernel has ended the context; `Ready`, which could refer to one, would
            // borrow the queue.
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
        // SAFETY: Taken once: here, in the drop. The kernel has ended the context, and the engine,
        // which is not used after this function, does not look at its memory when it is dropped.
        // Freed at the end, also where the drop of an operation panics.
        let _memory = unsafe { ManuallyDrop::take(&mut self.memory) };
        self.engine.discard_all();
    }
}

/// The memory of an engine: boxes, but ones that may move while the kernel writes into them. Dropped
/// when nothing refers to what is in them.
struct Boxes<O> {
    slab: NonNull<[Slot<O>]>,
    pending: NonNull<[MaybeUninit<NonNull<Slot<O>>>]>,
    inbox: NonNull<Inbox>,
}

impl<O> Drop for Boxes<O> {
    fn drop(&mut self) {
        // SAFETY: It came from a `Box`, is freed once, and nothing refers to it any more.
        drop(unsafe { Box::from_raw(self.slab.as_ptr()) });
        // SAFETY: As above.
        drop(unsafe { Box::from_raw(self.pending.as_ptr()) });
        // SAFETY: As above.
        drop(unsafe { Box::from_raw(self.inbox.as_ptr()) });
    }
}

impl<O: Operation + 'static> fmt::Debug for Queue<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("capacity", &self.engine.capacity())
            .field("queued", &self.engine.pending())
            .field("in_flight", &self.engine.in_flight())
            .finish_non_exhaustive()
    }
}

assert_impl_all!(Ready<'static, crate::op::Fsync<crate::fd::OwnedFd>>: Send);
assert_not_impl_any!(Ready<'static, crate::op::Fsync<crate::fd::OwnedFd>>: Sync, Clone);

/// An operation that has completed and is still in its slot. From [`Queue::ready`].
///
/// Dropping it drops the operation. (Forgetting it keeps the slot until the queue is dropped.)
pub struct Ready<'q, O: Operation + 'static> {
    queue: &'q mut Queue<O>,
    settled: Settled<O>,
}

// SAFETY: It is the queue, borrowed exclusively, and the address of one of its slots.
unsafe impl<O: Operation + Send + 'static> Send for Ready<'_, O> {}

impl<O: Operation + 'static> Ready<'_, O> {
    /// What push returned for it.
    pub fn token(&self) -> Token {
        self.queue.engine.token_of(self.settled)
    }

    /// As [`Completion::result`].
    #[inline]
    pub fn result(&self) -> Result<u32, Errno> {
        self.settled.result()
    }

    /// Describes the operation and the likely cause of its error, as [`Completion::diagnose`] does.
    pub fn diagnose(&mut self) -> Option<Diagnosis> {
        let errno = self.result().err()?;
        Some(self.op_mut().prepare().diagnose(errno))
    }

    /// The operation.
    #[inline]
    pub fn op(&self) -> &O {
        // SAFETY: The queue is borrowed, and its slots with it.
        let operation = unsafe { self.settled.operation() };
        // SAFETY: It stays there until this handle goes, which is borrowed, and only the handle
        // refers to it; it is initialised and not lent.
        unsafe { &*operation }
    }

    /// The operation, to change before it is pushed again.
    #[inline]
    pub fn op_mut(&mut self) -> &mut O {
        // SAFETY: The queue is borrowed, and its slots with it.
        let operation = unsafe { self.settled.operation() };
        // SAFETY: It stays there until this handle goes, which is borrowed exclusively, and only
        // the handle refers to it; it is initialised and not lent.
        unsafe { &mut *operation }
    }

    /// Pushes the operation again, from where it is. It has a new token.
    #[inline]
    pub fn push_again(self) -> Token {
        let this = ManuallyDrop::new(self);
        // SAFETY: The one handle that could take or drop the operation, or refer to it, is gone.
        // A queue has room for all of its slots among the pending.
        unsafe { this.queue.engine.push_again(this.settled) }
    }

    /// Moves the operation out and frees its slot.
    #[inline]
    pub fn take(self) -> Completion<O> {
        let this = ManuallyDrop::new(self);
        // SAFETY: The one handle that could take or drop the operation, or refer to it, is gone.
        unsafe { this.queue.engine.take(this.settled) }
    }
}

impl<O: Operation + 'static> Drop for Ready<'_, O> {
    fn drop(&mut self) {
        // SAFETY: The one handle that could take the operation, or refer to it, goes.
        unsafe { self.queue.engine.drop_settled(self.settled) };
    }
}

impl<O: Operation + fmt::Debug + 'static> fmt::Debug for Ready<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready")
            .field("token", &self.token())
            .field("result", &self.result())
            .field("op", self.op())
            .finish()
    }
}
