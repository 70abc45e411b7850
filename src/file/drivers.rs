//! [`FileDriver`], the drivers that files work with, and what a file asks of one.

use super::FileDriver;
use crate::driver::BlockingThreads;
use crate::driver::alarm_clock::{Alarm, Rings};
use crate::driver::entry::Held;
use crate::driver::thread::ThreadError;
use crate::local::alarm::LocalAlarm;
use crate::raw::ForkGuard;
use crate::{Driver, Errno, LocalDriver, LocalFuture, OpFuture, Operation};
use alloc::boxed::Box;
use core::fmt;
use core::task::{Context, Poll};
use std::time::Instant;

impl FileDriver for Driver {}
impl FileDriver for LocalDriver {}

/// An operation of a file.
pub trait FileOperation: Operation + Send + 'static {
    /// Does the operation by a system call of this thread.
    fn call(&mut self) -> Result<u32, Errno>;
}

/// Lists what a file asks of its driver. Nobody else can implement it.
pub trait Performs: Clone + fmt::Debug + 'static {
    /// True if the thread that polls a future does its work, and waits.
    const IN_PLACE: bool = false;

    /// An operation where its driver keeps it.
    type Place<O: FileOperation>: Place<O>;

    /// An operation as a future.
    type Performed<O: FileOperation>: Unpin;

    fn perform<O: FileOperation>(&self, op: Self::Place<O>) -> Self::Performed<O>;

    /// Polls the future, and leaves the operation in its place.
    fn poll<O: FileOperation>(
        performed: &mut Self::Performed<O>,
        cx: &mut Context<'_>,
    ) -> Poll<(Result<u32, Errno>, Self::Place<O>)>;

    /// Returns the threads that make calls which block.
    fn threads(&self) -> &BlockingThreads;

    /// An alarm for a deadline.
    type Alarm: Rings;

    /// Makes an alarm.
    ///
    /// # Errors
    /// Those of starting a thread.
    fn alarm(&self, at: Instant) -> Result<Self::Alarm, ThreadError>;
}

/// The memory of one operation, which does not move in it.
// Rust 1.85 does not see that a bound of an associated type reaches it.
#[allow(unreachable_pub)]
pub trait Place<O>: Unpin {
    /// Holds what `make` makes.
    fn hold(make: impl FnOnce() -> O) -> Self;

    fn op_mut(&mut self) -> &mut O;

    /// Moves the operation to where `place` puts it.
    fn take<T>(self, place: impl FnOnce(O) -> T) -> T;

    /// Moves a large operation without moving its bytes. A small one may move.
    fn from_box(op: Box<O>) -> Self;

    /// Does the reverse.
    fn into_box(self) -> Box<O>;
}

impl<O> Place<O> for Box<O> {
    fn hold(make: impl FnOnce() -> O) -> Self {
        Self::new(make())
    }

    fn op_mut(&mut self) -> &mut O {
        self
    }

    fn take<T>(self, place: impl FnOnce(O) -> T) -> T {
        place(*self)
    }

    fn from_box(op: Box<O>) -> Self {
        op
    }

    fn into_box(self) -> Box<O> {
        self
    }
}

impl<O: Operation + 'static> Place<O> for Held<O> {
    #[inline(always)]
    fn hold(make: impl FnOnce() -> O) -> Self {
        Self::new_with(make)
    }

    #[inline(always)]
    fn op_mut(&mut self) -> &mut O {
        self.op_mut()
    }

    #[inline(always)]
    fn take<T>(self, place: impl FnOnce(O) -> T) -> T {
        self.take(place)
    }

    fn from_box(op: Box<O>) -> Self {
        Self::from_box(op)
    }

    fn into_box(self) -> Box<O> {
        self.into_box()
    }
}

impl Performs for Driver {
    type Place<O: FileOperation> = Held<O>;
    type Performed<O: FileOperation> = OpFuture<O>;

    #[inline(always)]
    fn perform<O: FileOperation>(&self, op: Held<O>) -> OpFuture<O> {
        OpFuture::new(self, op)
    }

    #[inline(always)]
    fn poll<O: FileOperation>(
        performed: &mut OpFuture<O>,
        cx: &mut Context<'_>,
    ) -> Poll<(Result<u32, Errno>, Held<O>)> {
        performed.poll_held(cx)
    }

    fn threads(&self) -> &BlockingThreads {
        self.blocking_threads()
    }

    type Alarm = Alarm;

    fn alarm(&self, at: Instant) -> Result<Alarm, ThreadError> {
        self.blocking_threads().alarm(at)
    }
}

impl Performs for LocalDriver {
    type Place<O: FileOperation> = Box<O>;
    type Performed<O: FileOperation> = LocalFuture<O>;

    fn perform<O: FileOperation>(&self, op: Box<O>) -> LocalFuture<O> {
        self.perform_boxed(op)
    }

    #[inline]
    fn poll<O: FileOperation>(
        performed: &mut LocalFuture<O>,
        cx: &mut Context<'_>,
    ) -> Poll<(Result<u32, Errno>, Box<O>)> {
        performed.poll_boxed(cx)
    }

    fn threads(&self) -> &BlockingThreads {
        self.blocking_threads()
    }

    type Alarm = LocalAlarm;

    fn alarm(&self, at: Instant) -> Result<LocalAlarm, ThreadError> {
        self.alarm_at(at)
    }
}

/// Makes system calls at once, on the thread that polls: the driver of
/// [`blocking::File`](crate::blocking::File). It keeps nothing that it is given.
#[derive(Clone)]
pub(crate) struct InPlace(BlockingThreads);

impl InPlace {
    pub(crate) fn new() -> Self {
        Self(BlockingThreads::in_place(ForkGuard::of_this_process()))
    }
}

impl fmt::Debug for InPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InPlace")
    }
}

impl FileDriver for InPlace {}

impl Performs for InPlace {
    const IN_PLACE: bool = true;

    type Place<O: FileOperation> = Box<O>;
    type Performed<O: FileOperation> = Option<(Result<u32, Errno>, Box<O>)>;

    fn perform<O: FileOperation>(&self, mut op: Box<O>) -> Self::Performed<O> {
        let result = self.0.check_open().and_then(|()| op.call());
        Some((result, op))
    }

    fn poll<O: FileOperation>(
        performed: &mut Self::Performed<O>,
        _: &mut Context<'_>,
    ) -> Poll<(Result<u32, Errno>, Box<O>)> {
        Poll::Ready(performed.take().expect("it is polled once"))
    }

    fn threads(&self) -> &BlockingThreads {
        &self.0
    }

    type Alarm = Alarm;

    fn alarm(&self, at: Instant) -> Result<Alarm, ThreadError> {
        self.0.alarm(at)
    }
}
