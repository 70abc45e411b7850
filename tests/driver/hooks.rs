//! Wakers, operations and reactors that run some code in each of their methods.

use super::users_code::zero;
use crate::common::panics::Payload;
pub(crate) use crate::common::users_code::{Code, WakerCode};
use core::fmt;
use core::task::{Context, Poll, Waker};
use linux_aio::Reactor;
use linux_aio::op::{self, Read};
use linux_aio::{Driver, EventFd, Operation, PollEvents, Prepared};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, Weak};

/// A read, or a POLL of a counter that is silent until it is signalled, that runs code in `prepare`
/// and when it is dropped.
pub(crate) struct Op {
    does: Does,
    prepare: Arc<Code>,
    drop: Arc<Code>,
}

pub(crate) enum Does {
    Read(Read<Arc<File>, [u8; 8]>),
    Poll(op::Poll<Arc<EventFd>>),
}

impl Op {
    pub(crate) fn read(prepare: &Arc<Code>, drop: &Arc<Code>) -> Self {
        let does = Does::Read(Read::new(zero(), [1; 8], 0));
        Self { does, prepare: Arc::clone(prepare), drop: Arc::clone(drop) }
    }

    pub(crate) fn poll(counter: &Arc<EventFd>, drop: &Arc<Code>) -> Self {
        let does = Does::Poll(op::Poll::new(Arc::clone(counter), PollEvents::IN));
        Self { does, prepare: Arc::default(), drop: Arc::clone(drop) }
    }
}

impl Operation for Op {
    fn prepare(&mut self) -> Prepared<'_> {
        self.prepare.run();
        match &mut self.does {
            Does::Read(read) => read.prepare(),
            Does::Poll(poll) => poll.prepare(),
        }
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        self.drop.run();
    }
}

/// An error that runs some code when it is dropped.
#[derive(Debug)]
pub(crate) struct ErrorCode(pub(crate) Arc<Code>);

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reactor has gone")
    }
}

impl core::error::Error for ErrorCode {}

impl Drop for ErrorCode {
    fn drop(&mut self) {
        self.0.run();
    }
}

/// An error that panics when it is shown.
#[derive(Debug)]
pub(crate) struct Unshowable(pub(crate) Payload);

impl fmt::Display for Unshowable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.throw()
    }
}

impl core::error::Error for Unshowable {}

/// What runs in the methods of a reactor, which is smol's otherwise.
#[derive(Default)]
pub(crate) struct ReactorCode {
    pub(crate) poll: Code,
    pub(crate) edge: Code,
    pub(crate) later: Code,
    pub(crate) drop: Code,
    /// The next poll fails with this.
    error: Mutex<Option<io::Error>>,
    /// The driver's own, once the reactor has been polled.
    waker: Mutex<Option<Waker>>,
}

pub(crate) struct Smol(smol::Async<Arc<EventFd>>, Arc<ReactorCode>);

impl Reactor for Smol {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        *self.1.waker.lock().expect("nothing panics under it") = Some(cx.waker().clone());
        self.1.poll.run();
        let error = self.1.error.lock().expect("nothing panics under it").take();
        error.map_or_else(|| self.0.poll_readable(cx), |error| Poll::Ready(Err(error)))
    }

    fn is_edge_triggered(&self) -> bool {
        self.1.edge.run();
        false
    }

    fn wake_later(&self, _: &Waker) -> bool {
        self.1.later.run();
        false
    }
}

impl Drop for Smol {
    fn drop(&mut self) {
        self.1.drop.run();
    }
}

impl ReactorCode {
    /// A driver over such a reactor, and the eventfd that all that is of it holds.
    pub(crate) fn driver(self: &Arc<Self>, capacity: u32) -> (io::Result<Driver>, Weak<EventFd>) {
        let mut eventfd = Weak::new();
        let driver = Driver::new(capacity, |fd| {
            eventfd = Arc::downgrade(&fd);
            self.reactor(fd)
        });
        (driver, eventfd)
    }

    pub(crate) fn reactor(self: &Arc<Self>, fd: Arc<EventFd>) -> io::Result<impl Reactor + use<>> {
        Ok(Smol(smol::Async::new_nonblocking(fd)?, Arc::clone(self)))
    }

    pub(crate) fn working_driver(self: &Arc<Self>, capacity: u32) -> (Driver, Weak<EventFd>) {
        let (driver, eventfd) = self.driver(capacity);
        (driver.expect("a driver"), eventfd)
    }

    /// The next poll fails with this.
    pub(crate) fn fail_with(&self, error: impl core::error::Error + Send + Sync + 'static) {
        *self.error.lock().expect("nothing panics under it") = Some(io::Error::other(error));
    }

    pub(crate) fn waker(&self) -> Waker {
        let waker = self.waker.lock().expect("nothing panics under it").clone();
        waker.expect("the reactor has been polled")
    }
}
