//! [`Callback`].

use crate::{CallError, Completion, EventResult, Operation, Prepared, Queue};
use core::fmt;

/// Joins an operation, a value of the user's, and a function to be called when it has completed.
///
/// The function gets the queue, in which it may push, cancel and submit, and the completion, whose
/// slot is free already. It is a plain `fn`: what a closure would capture goes into `value`, since
/// a closure inside `O` could not name its own queue. [`Queue::run`] and [`Queue::dispatch`] call
/// it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, op::{Callback, Read}};
/// use std::{fs::File, sync::{Arc, mpsc}};
///
/// let (sender, receiver) = mpsc::channel();
/// let mut queue = Queue::with_capacity(4)?;
/// let read = Read::new(Arc::new(File::open("/dev/zero")?), vec![1; 64], 0);
/// queue.push(Callback::new(read, sender, |_queue, done| {
///     let _ = done.op.value.send(done.op.op.buf);
/// }))?;
/// queue.run()?;
/// assert_eq!(receiver.recv()?, vec![0; 64]);
/// # Ok(()) }
/// ```
#[doc(alias = "io_set_callback")]
#[doc(alias = "io_callback_t")]
#[derive(Clone, Copy)]
#[allow(clippy::type_complexity, reason = "an alias of it would be a cycle")]
pub struct Callback<P: Operation + 'static, T: 'static> {
    /// The operation that the kernel performs.
    pub op: P,
    /// The user's own.
    pub value: T,
    /// Called with the completion.
    pub then: fn(&mut Queue<Callback<P, T>>, Completion<Callback<P, T>>),
}

impl<P: Operation, T> Callback<P, T> {
    /// Makes the operation `op` with a value and a function for its completion.
    #[allow(clippy::type_complexity, reason = "an alias of it would be a cycle")]
    pub const fn new(
        op: P,
        value: T,
        then: fn(&mut Queue<Callback<P, T>>, Completion<Callback<P, T>>),
    ) -> Self {
        Self { op, value, then }
    }
}

impl<P: Operation, T> Operation for Callback<P, T> {
    #[inline]
    fn prepare(&mut self) -> Prepared<'_> {
        self.op.prepare()
    }

    #[inline]
    fn goes_on(&mut self, outcome: EventResult) -> bool {
        self.op.goes_on(outcome)
    }
}

impl<P: Operation + fmt::Debug, T: fmt::Debug> fmt::Debug for Callback<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback")
            .field("op", &self.op)
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

impl<P: Operation, T> Queue<Callback<P, T>> {
    /// Submits, waits and calls back until nothing is queued or in flight.
    ///
    /// A callback that panics ends this with its panic; the completions after it come out of the
    /// next call.
    ///
    /// # Errors
    /// - `EAGAIN`: the kernel has no resources for the queued operations, and nothing is in flight.
    ///   [`Queue::submit`] says what to do.
    /// - `ENOSYS`, `EPERM`: a filter refuses `io_submit` or `io_getevents`.
    /// - [`Errno::FORKED`](crate::Errno::FORKED).
    ///
    /// Nothing is lost by an error. The next call goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Queue, op::{Callback, Read}};
    /// use std::fs::File;
    ///
    /// let mut queue = Queue::with_capacity(1)?;
    /// let read = Read::new(File::open("/dev/zero")?, [1; 64], 0);
    /// // Reads ten times: the value counts, and the callback pushes the operation again.
    /// queue.push(Callback::new(read, 1, |queue, mut done| {
    ///     done.op.value += 1;
    ///     if done.op.value <= 10 {
    ///         queue.push(done.op).expect("its slot is free");
    ///     }
    /// }))?;
    /// queue.run()?;
    /// assert_eq!(queue.stats().operations, 10);
    /// # Ok(()) }
    /// ```
    pub fn run(&mut self) -> Result<(), CallError> {
        self.for_each(|queue, done| (done.op.then)(queue, done))
    }

    /// Calls back for each completion that is there, without waiting. Returns the number of calls.
    ///
    /// It does not submit operations that a callback pushes.
    ///
    /// # Errors
    /// Those of `io_getevents(2)` under a filter, if the ring cannot be read;
    /// [`Errno::FORKED`](crate::Errno::FORKED). They are returned if no callback was called. After
    /// a callback, the next call returns the error.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Queue, op::{Callback, Read}};
    /// use std::{fs::File, sync::mpsc};
    ///
    /// let (sender, receiver) = mpsc::channel();
    /// let mut queue = Queue::with_capacity(1)?;
    /// let read = Read::new(File::open("/dev/zero")?, vec![1; 64], 0);
    /// queue.push(Callback::new(read, sender, |_queue, done| {
    ///     let _ = done.op.value.send(done.result);
    /// }))?;
    /// queue.submit()?;
    /// while queue.dispatch()? == 0 {} // An event loop calls it when `completion_fd` is readable.
    /// assert_eq!(receiver.recv()?, Ok(64));
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_queue_run")]
    pub fn dispatch(&mut self) -> Result<usize, CallError> {
        let mut called = 0;
        loop {
            match self.try_next() {
                Ok(Some(done)) => (done.op.then)(self, done),
                Err(error) if called == 0 => return Err(error),
                Ok(None) | Err(_) => return Ok(called),
            }
            called += 1;
        }
    }
}
