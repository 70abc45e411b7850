//! [`Ready`], a completed operation in its slot.

use super::Queue;
use crate::engine::Finished;
use crate::slot::{Completion, Token};
use crate::{CallError, Diagnosis, Errno, Operation};
use core::fmt;
use core::marker::PhantomData;
use static_assertions::{assert_impl_all, assert_not_impl_any};

assert_impl_all!(Ready<'static, crate::op::Fsync<crate::fd::OwnedFd>>: Send);
assert_not_impl_any!(Ready<'static, crate::op::Fsync<crate::fd::OwnedFd>>: Sync, Clone);

/// Names an operation that has completed and is still in its slot. From [`Queue::ready`].
///
/// Dropping it drops the operation. (Forgetting it keeps the slot until the queue is dropped.)
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, op::Read};
/// use std::fs::File;
///
/// let mut queue = Queue::with_capacity(1)?;
/// queue.push(Read::new(File::open("/dev/zero")?, [1; 64], 0))?;
/// let mut bytes = 0;
/// while let Some(mut ready) = queue.wait_ready()? {
///     bytes += u64::from(ready.result()?);
///     if bytes < 640 {
///         ready.op_mut().offset = bytes;
///         ready.push_again();
///     } // Dropping it drops the operation, and frees the slot.
/// }
/// assert_eq!(bytes, 640);
/// # Ok(()) }
/// ```
pub struct Ready<'q, O: Operation + 'static> {
    finished: Finished<'q, O>,
    /// The queue is borrowed exclusively: it cannot be dropped, moved or sent meanwhile.
    queue: PhantomData<&'q mut Queue<O>>,
}

// SAFETY: A `Finished` is not `Send` because it refers to an engine, which is not `Sync`. Here the
// queue is borrowed exclusively, so nobody else uses the engine, and to send this is to send `&mut
// Queue<O>`, which is `Send` if `O` is.
unsafe impl<O: Operation + Send + 'static> Send for Ready<'_, O> {}

impl<'q, O: Operation + 'static> Ready<'q, O> {
    /// Callers borrow their queue exclusively for `'q`.
    #[inline(always)]
    pub(super) fn new(finished: Finished<'q, O>) -> Self {
        Self { finished, queue: PhantomData }
    }

    /// Returns the token that push returned for the operation.
    pub fn token(&self) -> Token {
        self.finished.token()
    }

    /// Returns the result: what [`Completion::result`] would be.
    #[inline]
    pub fn result(&self) -> Result<u32, Errno> {
        self.finished.result()
    }

    /// Describes the operation and the likely cause of its error, as [`Completion::diagnose`] does.
    pub fn diagnose(&mut self) -> Option<Diagnosis> {
        let errno = self.result().err()?;
        Some(self.op_mut().prepare().diagnose(errno))
    }

    /// Returns the operation.
    #[inline]
    pub fn op(&self) -> &O {
        self.finished.operation()
    }

    /// Returns the operation, to change it before it is pushed again.
    #[inline]
    pub fn op_mut(&mut self) -> &mut O {
        self.finished.operation_mut()
    }

    /// Pushes the operation again, from where it is. It has a new token.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Queue, op::Read};
    /// use std::fs::File;
    ///
    /// let mut queue = Queue::with_capacity(1)?;
    /// let first = queue.push(Read::new(File::open("/dev/zero")?, [1; 64], 0))?;
    /// let second = queue.wait_ready()?.expect("a completion").push_again();
    /// assert_ne!(first, second);
    /// assert_eq!(queue.queued(), 1);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn push_again(self) -> Token {
        // SAFETY: `Boxes::new` made room for every slot in the submit queue.
        unsafe { self.finished.push_again() }
    }

    /// Returns whether the operation goes on ([`Operation::goes_on`]).
    #[cfg(feature = "std")]
    pub(crate) fn goes_on(&mut self) -> bool {
        self.finished.goes_on()
    }

    /// Moves the operation out and frees its slot.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Queue, op::Read};
    /// use std::fs::File;
    ///
    /// let mut queue = Queue::with_capacity(1)?;
    /// queue.push(Read::new(File::open("/dev/zero")?, vec![1; 64], 0))?;
    /// let done = queue.wait_ready()?.expect("a completion").take();
    /// assert_eq!(done.op.buf, vec![0; 64]);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn take(self) -> Completion<O> {
        self.finished.take()
    }
}

impl<O: Operation + 'static> Queue<O> {
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
