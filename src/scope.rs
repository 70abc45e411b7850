//! [`Scope`], operations on borrowed buffers that cannot outlive them.
//!
//! Like [`std::thread::scope`]: the call does not return before the kernel is finished, so what
//! an operation borrows needs to live no longer than the call. The argument, and the programs
//! that must not compile, are in ARCHITECTURE.md.

use crate::engine::{Engine, Inbox, Memory, RUN, Settled};
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

/// How many operations can wait for a submit in a scope; one more makes push submit them.
const PENDING: usize = 64;

/// The handle of [`scope()`]: pushes operations and takes completions.
///
/// It is only ever borrowed, belongs to one thread, and is invariant in `O`: what an operation
/// borrows must live as long as the call, not only as long as the closure.
pub struct Scope<O> {
    engine: Engine<O>,
    /// The context, which `scope` has borrowed exclusively.
    context: NonNull<IoContext>,
    invariant: PhantomData<fn(O) -> O>,
}

/// Why a scope could not be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScopeError {
    /// Operations that a [`Submitter`](crate::Submitter) submitted have not been reaped: their
    /// events would come out in the scope.
    Outstanding(usize),
    /// The context belongs to the parent of this process.
    Forked,
}

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outstanding(count) => write!(
                f,
                "{count} operations were submitted outside of the scope and not reaped yet: reap \
                 them first, or use another context"
            ),
            Self::Forked => write!(f, "{}", Errno::FORKED),
        }
    }
}

impl core::error::Error for ScopeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(match self {
            Self::Outstanding(_) => &Errno::EBUSY,
            Self::Forked => &Errno::FORKED,
        })
    }
}

impl ScopeError {
    /// Returns `EBUSY` or [`Errno::FORKED`].
    pub fn errno(&self) -> Errno {
        match self {
            Self::Outstanding(_) => Errno::EBUSY,
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
/// On return and on panic alike, leaving cancels every POLL and waits for everything in
/// flight, whatever timeouts the caller used before. Operations that were pushed and never
/// submitted are dropped without effect, and completions that were not taken are lost. Should
/// waiting fail for good (a filter that was installed in between), the context is destroyed;
/// should that fail too, the process is killed, since the buffers would be used after their
/// end.
///
/// # Forks
///
/// In a forked child the context belongs to the parent, and `body` does not run. If `body` itself
/// forks, the child's calls give [`Errno::FORKED`] and its [`try_next`](Scope::try_next) gives
/// `None`. The counts stay as they were at the fork. Leaving the scope neither waits nor drops
/// anything there: it leaks the operations. What they borrowed is the child's again. Do not rely on
/// the content of a buffer that was in flight at the fork: a device may still write to it
/// (`O_DIRECT` in `open(2)`).
///
/// # Errors
/// [`ScopeError::Outstanding`] and [`ScopeError::Forked`]; `body` has not run.
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
    context.check_process_strictly().map_err(|_| ScopeError::Forked)?;
    match context.outstanding() {
        0 => {}
        count => return Err(ScopeError::Outstanding(count)),
    }
    let mut pending = [const { MaybeUninit::<NonNull<Slot<O>>>::uninit() }; PENDING];
    let mut inbox: Inbox = [const { MaybeUninit::uninit() }; RUN];
    let memory = Memory {
        slots: NonNull::from(slots),
        pending: NonNull::from(&mut pending[..]),
        inbox: NonNull::from(&mut inbox),
    };
    // SAFETY: The slots are borrowed for the whole call, the rest lies in this frame, and
    // `Scope::drop` quiesces before they end, on every way out: the scope is declared after
    // them and only lent.
    let engine = unsafe { Engine::new(memory, context) };
    let scope = Scope { engine, context: NonNull::from(context), invariant: PhantomData };
    Ok(body(&scope))
}

impl<O> Drop for Scope<O> {
    fn drop(&mut self) {
        // SAFETY: The context is borrowed exclusively by the call of `scope` whose frame this
        // is; `&Scope`s are gone, and with them what `context()` lent.
        let context = unsafe { self.context.as_mut() };
        self.engine.quiesce(context);
    }
}

impl<O: Operation> Scope<O> {
    fn context(&self) -> &IoContext {
        // SAFETY: The context is borrowed for the scope's life; it is only read until `drop`.
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
    /// If `prepare` comes back into this scope and pushes the 64th operation that is queued. The slot
    /// of the operation that was to be pushed stays in use until the scope is left.
    #[inline]
    pub fn push(&self, op: O) -> Result<Token, PushError<O>> {
        if self.engine.pending_is_full() {
            if let Err(errno) = self.make_room() {
                return Err(PushError::new(errno, op));
            }
        }
        self.engine.push(op)
    }

    /// Submits what is pending. Fails if no place becomes free among the pending.
    #[cold]
    #[inline(never)]
    fn make_room(&self) -> Result<(), Errno> {
        let submitted = self.engine.submit(self.context());
        match self.engine.pending_is_full() {
            true => Err(submitted.err().unwrap_or(Errno::EAGAIN)),
            false => Ok(()),
        }
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
    pub fn submit(&self) -> Result<usize, CallError> {
        self.engine.submit(self.context()).map_err(CallError::submit)
    }

    /// The next completion that is there, without waiting; without a system call where the ring
    /// can be read.
    ///
    /// With a [`completion_fd`](Self::completion_fd), it submits operations that the kernel had no
    /// room for before it returns `None`, and resets the descriptor by a system call.
    #[inline]
    pub fn try_next(&self) -> Option<Completion<O>> {
        self.engine.try_settle(self.context()).map(|settled| self.take(settled))
    }

    /// The next completion: submits what is queued, and waits if it must. `None` where nothing is
    /// queued or in flight.
    ///
    /// Signals do not end the wait. While operations are in flight, this function submits every 10 ms
    /// what the kernel has had no resources for (`EAGAIN`).
    ///
    /// # Errors
    /// As [`submit`](Self::submit): `EAGAIN` too if nothing is in flight. Also those of
    /// `io_getevents(2)` under a filter. Nothing is lost by an error.
    #[inline(always)]
    pub fn wait(&self) -> Result<Option<Completion<O>>, CallError> {
        let settled = self.engine.wait(self.context(), None)?;
        Ok(settled.map(|settled| self.take(settled)))
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
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<Completion<O>>, CallError> {
        let settled = self.engine.wait(self.context(), Some(timeout))?;
        Ok(settled.map(|settled| self.take(settled)))
    }

    /// Returns the next completion of the operations in flight. Waits for it at most for `timeout`,
    /// and submits nothing.
    ///
    /// Returns `None` if nothing is in flight, even if operations are queued.
    ///
    /// # Errors
    /// `ETIMEDOUT` when the time is up, `EINTR` when a signal was handled; those of
    /// `io_getevents(2)` under a filter; [`Errno::FORKED`]. Nothing is lost by an error.
    pub fn next_timeout(&self, timeout: Duration) -> Result<Option<Completion<O>>, CallError> {
        let settled = self.engine.next_timeout(self.context(), timeout)?;
        Ok(settled.map(|settled| self.take(settled)))
    }

    /// Asks for an operation to end early. It completes all the same: with `ECANCELED` where the
    /// kernel did not have it yet, else as the kernel ends it.
    ///
    /// # Errors
    /// `ENOENT`: it has completed, or the token is of another scope or of a queue. `EINVAL`: the
    /// kernel cannot cancel it (any but POLL). `ENOSYS` on gVisor; [`Errno::FORKED`].
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
    ///         while let Some(done) = io.try_next() {
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

    #[inline]
    fn take(&self, settled: Settled<O>) -> Completion<O> {
        // SAFETY: It has just been settled, by the caller.
        unsafe { self.engine.take(settled) }
    }
}

impl<O> fmt::Debug for Scope<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("capacity", &self.engine.capacity())
            .field("queued", &self.engine.pending())
            .field("in_flight", &self.engine.in_flight())
            .finish_non_exhaustive()
    }
}
