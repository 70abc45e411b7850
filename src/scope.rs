//! [`Scope`], operations on borrowed buffers that cannot outlive them.
//!
//! Like [`std::thread::scope`]: the call does not return before the kernel is finished, so what
//! an operation borrows needs to live no longer than the call. The argument, and the programs
//! that must not compile, are in ARCHITECTURE.md.

use crate::engine::{BATCH, BatchBuffer, Engine, Finished, Storage};
use crate::slot::{Completion, PushError, Slot, Token};
use crate::{CallError, Errno, Fd, IoContext, Operation, Stats};
use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::time::Duration;
use static_assertions::assert_not_impl_any;

// Its operations borrow from the thread that waits for them.
assert_not_impl_any!(Scope<()>: Send, Sync, Clone);

/// The capacity of the submit queue in a scope. A push that finds it full submits.
const QUEUED: usize = 64;

/// Pushes operations and takes completions: the handle of [`scope()`].
///
/// A scope is only ever borrowed, and belongs to one thread. It is invariant in `O`: what an
/// operation borrows must live as long as the call, not only as long as the closure.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{IoContext, Operation, Scope, Slot, op::Read};
///
/// /// Waits for everything in the scope, and returns the number of bytes.
/// fn drain<O: Operation>(io: &Scope<O>) -> std::io::Result<u64> {
///     let mut bytes = 0;
///     while let Some(done) = io.wait()? {
///         bytes += u64::from(done.result?);
///     }
///     Ok(bytes)
/// }
///
/// let zero = std::fs::File::open("/dev/zero")?;
/// let mut buf = [1u8; 64];
/// let mut context = IoContext::new(1)?;
/// let bytes = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
///     io.push(Read::new(&zero, &mut buf[..], 0))?;
///     drain(io)
/// })??;
/// assert_eq!((bytes, buf), (64, [0; 64]));
/// # Ok(()) }
/// ```
pub struct Scope<O> {
    engine: Engine<O>,
    /// The context, which `scope` has borrowed exclusively.
    context: NonNull<IoContext>,
    invariant: PhantomData<fn(O) -> O>,
}

/// Says why a scope could not be entered.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Errno, IoContext, Iocb, PollEvents, Slot, op::Read};
/// use std::{fs::File, os::fd::AsRawFd};
///
/// let mut context = IoContext::new(1)?;
/// let (reader, _writer) = std::os::unix::net::UnixStream::pair()?;
/// let mut poll = Iocb::poll(reader.as_raw_fd(), PollEvents::IN);
/// // SAFETY: `poll` stays where it is until the context has been dropped.
/// unsafe { context.split().0.submit(&[&raw mut poll]) }?;
/// let slots: &mut [Slot<Read<File, Vec<u8>>>] = &mut [const { Slot::new() }; 1];
/// let error = linux_aio::scope(&mut context, slots, |_io| ()).unwrap_err();
/// assert_eq!(error.errno(), Errno::EBUSY);
/// drop(context);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScopeError {
    /// So many operations of a [`Submitter`](crate::Submitter) are in flight
    /// ([`IoContext::in_flight`]), and the scope would take their events.
    InFlight(usize),
    /// The context belongs to the parent of this process.
    Forked,
}

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InFlight(count) => write!(
                f,
                "EBUSY: {count} operations were submitted by a Submitter and not reaped yet: reap \
                 them first, or use another context"
            ),
            Self::Forked => f.write_str(
                "FORKED: no scope can use the context, which was made before fork(), by another \
                 process",
            ),
        }
    }
}

impl core::error::Error for ScopeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(match self {
            Self::InFlight(_) => &Errno::EBUSY,
            Self::Forked => &Errno::FORKED,
        })
    }
}

impl ScopeError {
    /// Checks that the context is of this process and has nothing in flight.
    pub(crate) fn check(context: &mut IoContext) -> Result<(), Self> {
        context.check_process_strictly().map_err(|_| Self::Forked)?;
        match context.in_flight() {
            0 => Ok(()),
            count => Err(Self::InFlight(count)),
        }
    }

    /// Returns `EBUSY` or [`Errno::FORKED`].
    pub fn errno(&self) -> Errno {
        match self {
            Self::InFlight(_) => Errno::EBUSY,
            Self::Forked => Errno::FORKED,
        }
    }
}

impl From<ScopeError> for Errno {
    fn from(error: ScopeError) -> Self {
        error.errno()
    }
}

#[cfg(feature = "std")]
impl From<ScopeError> for std::io::Error {
    fn from(error: ScopeError) -> Self {
        Self::new(Self::from(error.errno()).kind(), error)
    }
}

/// Runs `body` with a [`Scope`], in which operations may borrow their buffers, and returns
/// when the kernel is finished with all of them.
///
/// Every operation needs a slot until its completion has been taken; `slots` says how many
/// there are. Make them in the call, `&mut [const { Slot::new() }; 8]`: an array kept in a
/// variable stays borrowed as long as the buffers are.
///
/// # Leaving
///
/// On return and on panic alike, leaving cancels every POLL and waits for everything in flight,
/// whatever timeouts the caller used before. Operations that were pushed and never submitted are
/// dropped without effect. Completions that were not taken are lost.
///
/// If waiting fails for good (a filter that was installed in between), the context is destroyed. If
/// that fails too, the process is killed, since the kernel could write to buffers after their end.
///
/// # Forks
///
/// In a forked child the context belongs to the parent, and `body` does not run. If `body` itself
/// forks, the child's calls return [`Errno::FORKED`]. The counts stay as they were at the fork.
/// Leaving the scope neither waits nor drops anything there: it leaks the operations. What they
/// borrowed is the child's again. Do not rely on the content of a buffer that was in flight at the
/// fork: a device may still write to it (`O_DIRECT` in `open(2)`).
///
/// # Errors
/// [`ScopeError::InFlight`] and [`ScopeError::Forked`]; `body` has not run.
///
/// # Examples
///
/// Read a file with four operations in flight and two more buffers than that:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{IoContext, Slot, op::Read};
///
/// let file = std::fs::File::open("/etc/os-release")?;
/// let size = file.metadata()?.len();
/// let mut buffers = [[0u8; 64]; 4];
/// let mut offsets = (0..size).step_by(64);
///
/// let mut context = IoContext::new(4)?;
/// let bytes = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 4], |io| {
///     for (buf, at) in buffers.iter_mut().zip(&mut offsets) {
///         io.push(Read::new(&file, buf, at))?;
///     }
///     let mut bytes = 0;
///     while let Some(done) = io.wait()? {
///         bytes += u64::from(done.result?);
///         if let Some(offset) = offsets.next() {
///             io.push(Read { offset, ..done.op })?;
///         }
///     }
///     std::io::Result::Ok(bytes)
/// })??;
/// assert_eq!(bytes, size);
/// # Ok(()) }
/// ```
///
/// A buffer cannot be used while the kernel may have it:
///
/// ```compile_fail,E0502
/// # use linux_aio::{IoContext, Slot, op::Read};
/// # let file = std::fs::File::open("/dev/zero").unwrap();
/// # let mut context = IoContext::new(1).unwrap();
/// let mut buf = [0u8; 64];
/// linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
///     io.push(Read::new(&file, &mut buf[..], 0)).unwrap();
///     io.submit().unwrap();
///     println!("{:?}", buf);
///     io.wait().unwrap();
/// });
/// ```
pub fn scope<O: Operation, R>(
    context: &mut IoContext,
    slots: &mut [Slot<O>],
    body: impl FnOnce(&Scope<O>) -> R,
) -> Result<R, ScopeError> {
    ScopeError::check(context)?;
    let mut queued = [const { MaybeUninit::<NonNull<Slot<O>>>::uninit() }; QUEUED];
    let mut buffer: BatchBuffer = [const { MaybeUninit::uninit() }; BATCH];
    let storage = Storage {
        slots: NonNull::from(slots),
        queued: NonNull::from(&mut queued[..]),
        buffer: NonNull::from(&mut buffer),
    };
    // SAFETY:
    // - The slots are borrowed for the whole call, and the rest lies in this frame, which nothing
    //   else uses. The scope is declared after them and only lent, so it is gone before they are.
    // - `Scope::drop` drains the engine, on every way out.
    // - The engine always gets this context, which is borrowed exclusively for the whole call.
    let engine = unsafe { Engine::new(storage, context) };
    let scope = Scope { engine, context: NonNull::from(context), invariant: PhantomData };
    Ok(body(&scope))
}

impl<O> Drop for Scope<O> {
    fn drop(&mut self) {
        // SAFETY: The call of `scope` in whose frame this is has borrowed the context exclusively.
        // Every `&Scope` is gone, and with it what `context()` lent.
        let context = unsafe { self.context.as_mut() };
        self.engine.drain(context);
    }
}

impl<O: Operation> Scope<O> {
    fn context(&self) -> &IoContext {
        // SAFETY: The call of `scope` has borrowed the context for longer than the scope lives.
        // Until `drop`, nobody has a `&mut` to it.
        unsafe { self.context.as_ref() }
    }

    /// Moves an operation into a free slot. It is not submitted yet: [`submit`](Self::submit) and
    /// [`wait`](Self::wait) do that, for all at once, and so does pushing when 64 are queued.
    ///
    /// # Errors
    /// `EAGAIN` if no slot is free, or if 64 are queued for which the kernel has no room. If 64 are
    /// queued and none can be submitted, the error of [`submit`](Self::submit). The error gives the
    /// operation back.
    ///
    /// So the error holds what the operation borrows. `anyhow::Error`, `Box<dyn Error>` and others
    /// ask for errors that are `'static`: with `?` alone the compiler says that the buffer does not
    /// live long enough. Convert the error first. `std::io::Error` keeps its text, and [`Errno`] is
    /// there without the standard library.
    ///
    /// ```
    /// use linux_aio::{IoContext, Slot, op::Read};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// let zero = std::fs::File::open("/dev/zero")?;
    /// let mut buffers = [[1u8; 64]; 4];
    /// let mut context = IoContext::new(4)?;
    /// linux_aio::scope(&mut context, &mut [const { Slot::new() }; 4], |io| {
    ///     for (buf, number) in buffers.iter_mut().zip(0..) {
    ///         io.push(Read::new(&zero, buf, number * 64)).map_err(std::io::Error::from)?;
    ///     }
    ///     while let Some(done) = io.wait()? {
    ///         anyhow::ensure!(done.result? == 64, "a short read");
    ///     }
    ///     anyhow::Ok(())
    /// })??;
    /// assert_eq!(buffers, [[0; 64]; 4]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// If `prepare` comes back into this scope and pushes the 64th operation that is queued. The
    /// slot of the operation that was to be pushed stays in use until the scope is left.
    #[inline]
    pub fn push(&self, op: O) -> Result<Token, PushError<O>> {
        if self.engine.queue_is_full() {
            if let Err(errno) = self.make_room() {
                return Err(PushError::new(errno, op));
            }
        }
        self.engine.push(op)
    }

    /// Submits the queued operations. Fails if the submit queue stays full.
    #[cold]
    #[inline(never)]
    fn make_room(&self) -> Result<(), Errno> {
        let submitted = self.engine.submit(self.context());
        match self.engine.queue_is_full() {
            true => Err(submitted.err().unwrap_or(Errno::EAGAIN)),
            false => Ok(()),
        }
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
    /// use linux_aio::{IoContext, Slot, op::Read};
    ///
    /// let zero = std::fs::File::open("/dev/zero")?;
    /// let mut buf = [1u8; 64];
    /// let mut context = IoContext::new(1)?;
    /// linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
    ///     io.push(Read::new(&zero, &mut buf[..], 0))?;
    ///     assert_eq!(io.submit()?, 1);
    ///     assert_eq!((io.queued(), io.in_flight()), (0, 1));
    ///     std::io::Result::Ok(())
    /// })??;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_submit")]
    #[inline(always)]
    pub fn submit(&self) -> Result<usize, CallError> {
        self.engine.submit(self.context()).map_err(CallError::submit)
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
    /// use linux_aio::{IoContext, Slot, op::Read};
    ///
    /// let zero = std::fs::File::open("/dev/zero")?;
    /// let mut buf = [1u8; 64];
    /// let mut context = IoContext::new(1)?;
    /// linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
    ///     io.push(Read::new(&zero, &mut buf[..], 0))?;
    ///     assert!(io.try_next()?.is_none()); // Nothing is submitted yet.
    ///     io.submit()?;
    ///     while io.in_flight() > 0 {
    ///         if let Some(done) = io.try_next()? {
    ///             assert_eq!(done.result?, 64);
    ///         }
    ///     }
    ///     std::io::Result::Ok(())
    /// })??;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_getevents")]
    #[inline]
    pub fn try_next(&self) -> Result<Option<Completion<O>>, CallError> {
        Ok(self.engine.poll(self.context())?.map(Finished::take))
    }

    /// Returns the next completion. Submits the queued operations, and waits if it must. Returns
    /// `None` if nothing is queued or in flight.
    ///
    /// Signals do not end the wait. While operations are in flight, this function submits every 10
    /// ms what the kernel has had no resources for (`EAGAIN`).
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
    /// use linux_aio::{IoContext, Slot, op::Read};
    ///
    /// let zero = std::fs::File::open("/dev/zero")?;
    /// let mut buf = [1u8; 64];
    /// let mut context = IoContext::new(1)?;
    /// linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
    ///     io.push(Read::new(&zero, &mut buf[..], 0))?;
    ///     while let Some(done) = io.wait()? {
    ///         assert_eq!(done.result?, 64);
    ///     }
    ///     std::io::Result::Ok(())
    /// })??;
    /// assert_eq!(buf, [0; 64]);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_getevents")]
    #[inline(always)]
    pub fn wait(&self) -> Result<Option<Completion<O>>, CallError> {
        Ok(self.engine.wait(self.context(), None)?.map(Finished::take))
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
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Errno, IoContext, PollEvents, Slot, op::Poll};
    /// use std::time::Duration;
    ///
    /// let (reader, _writer) = std::os::unix::net::UnixStream::pair()?;
    /// let mut context = IoContext::new(1)?;
    /// linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
    ///     io.push(Poll::new(&reader, PollEvents::IN))?;
    ///     let error = io.wait_timeout(Duration::from_millis(1)).unwrap_err();
    ///     assert_eq!(error.errno(), Errno::ETIMEDOUT);
    ///     std::io::Result::Ok(())
    /// })??;
    /// # Ok(()) }
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<Completion<O>>, CallError> {
        Ok(self.engine.wait(self.context(), Some(timeout))?.map(Finished::take))
    }

    /// Returns the next completion of the operations in flight. Waits for it at most for `timeout`,
    /// and submits nothing, but for operations that go on.
    ///
    /// Returns `None` if nothing is in flight, even if operations are queued.
    ///
    /// # Errors
    /// `ETIMEDOUT` when the time is up, `EINTR` when a signal was handled; those of
    /// `io_getevents(2)` under a filter; [`Errno::FORKED`]. Nothing is lost by an error.
    pub fn next_timeout(&self, timeout: Duration) -> Result<Option<Completion<O>>, CallError> {
        Ok(self.engine.wait_in_flight(self.context(), timeout)?.map(Finished::take))
    }

    /// Asks for an operation to end early. It completes all the same: with `ECANCELED` if the
    /// kernel did not have it yet, and otherwise as the kernel ends it.
    ///
    /// # Errors
    /// `ENOENT`: it has completed, or the token is of another scope or of a queue. `EINVAL`: the
    /// kernel cannot cancel it (any but POLL). `ENOSYS` on gVisor; [`Errno::FORKED`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{IoContext, PollEvents, Slot, op::Poll};
    ///
    /// let (reader, _writer) = std::os::unix::net::UnixStream::pair()?;
    /// let mut context = IoContext::new(1)?;
    /// linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
    ///     let token = io.push(Poll::new(&reader, PollEvents::IN))?;
    ///     io.submit()?;
    ///     io.cancel(token)?;
    ///     assert_eq!(io.wait()?.expect("it completes, too").token, token);
    ///     std::io::Result::Ok(())
    /// })??;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_cancel")]
    pub fn cancel(&self, token: Token) -> Result<(), Errno> {
        self.engine.cancel(self.context(), token)
    }

    /// Returns a descriptor that is readable while [`try_next`](Self::try_next) has a completion to
    /// return. A thread whose event loop runs inside of the scope waits for it.
    ///
    /// Add it to `epoll`, or any loop that polls descriptors. When it is readable, call `try_next`.
    /// It stays readable until `try_next` returns `None`, which resets it. It behaves as that of a
    /// queue does:
    #[cfg_attr(feature = "alloc", doc = "[`Queue::completion_fd`](crate::Queue::completion_fd)")]
    #[cfg_attr(not(feature = "alloc"), doc = "`Queue::completion_fd`")]
    /// says what happens if the kernel has no room, and to operations that name an eventfd. The
    /// descriptor is closed when the scope ends.
    ///
    /// # Errors
    /// - `EBUSY`: operations are in flight that would not make it readable. Call this before the
    ///   first submit, which may be a push.
    /// - `EMFILE`, `ENFILE`, `ENOMEM`, `ENODEV`: no eventfd could be made.
    /// - [`Errno::FORKED`]: the descriptor is that of the parent process.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{IoContext, Slot, op::Read};
    /// use rustix::event::{PollFd, PollFlags, poll};
    ///
    /// let file = std::fs::File::open("/dev/zero")?;
    /// let mut buffers = [[1u8; 64]; 4];
    /// let mut context = IoContext::new(4)?;
    /// linux_aio::scope(&mut context, &mut [const { Slot::new() }; 4], |io| {
    ///     let fd = io.completion_fd()?;
    ///     for buf in &mut buffers {
    ///         io.push(Read::new(&file, buf, 0))?;
    ///     }
    ///     io.submit()?;
    ///     let mut completed = 0;
    ///     while completed < 4 {
    ///         poll(&mut [PollFd::new(&fd, PollFlags::IN)], None)?;
    ///         while let Some(done) = io.try_next()? {
    ///             done.result?;
    ///             completed += 1;
    ///         }
    ///     }
    ///     std::io::Result::Ok(())
    /// })??;
    /// assert_eq!(buffers, [[0; 64]; 4]);
    /// # Ok(()) }
    /// ```
    pub fn completion_fd(&self) -> Result<Fd<'_>, Errno> {
        self.engine.completion_fd(self.context())
    }

    /// Returns the number of operations that the kernel has accepted and that have not completed.
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
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{IoContext, Slot, op::Read};
    ///
    /// let zero = std::fs::File::open("/dev/zero")?;
    /// let mut buffers = [[1u8; 64]; 10];
    /// let mut left = buffers.iter_mut();
    /// let mut context = IoContext::new(4)?;
    /// linux_aio::scope(&mut context, &mut [const { Slot::new() }; 4], |io| {
    ///     loop {
    ///         while !io.is_full() {
    ///             let Some(buf) = left.next() else { break };
    ///             io.push(Read::new(&zero, &mut buf[..], 0))?;
    ///         }
    ///         let Some(done) = io.wait()? else { break };
    ///         done.result?;
    ///     }
    ///     std::io::Result::Ok(())
    /// })??;
    /// assert_eq!(buffers, [[0; 64]; 10]);
    /// # Ok(()) }
    /// ```
    pub fn is_full(&self) -> bool {
        self.engine.is_full()
    }

    /// Returns counts of what the scope has asked of the kernel so far.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{IoContext, Slot, op::Read};
    ///
    /// let zero = std::fs::File::open("/dev/zero")?;
    /// let mut buf = [1u8; 64];
    /// let mut context = IoContext::new(1)?;
    /// linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
    ///     io.push(Read::new(&zero, &mut buf[..], 0))?;
    ///     io.wait()?.expect("a completion").result?;
    ///     assert_eq!(io.stats().operations, 1);
    ///     std::io::Result::Ok(())
    /// })??;
    /// # Ok(()) }
    /// ```
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }
}

impl<O> fmt::Debug for Scope<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("capacity", &self.engine.capacity())
            .field("queued", &self.engine.queued())
            .field("in_flight", &self.engine.in_flight())
            .finish_non_exhaustive()
    }
}
