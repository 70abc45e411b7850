//! The world of one run, and the operations in it, each with what it must do.

use crate::buffers::{Pool, Watched};
use crate::{BLOCK, BLOCKS, content};
use core::future::Future;
use core::pin::pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use fastrand::Rng;
use linux_aio::op::{self, Read, ReadV, Write};
use linux_aio::{Driver, Errno, EventFd, OpFuture, Operation, PollEvents, Prepared};
use std::fs::File;
use std::panic::panic_any;
use std::sync::{Arc, Mutex};

/// The world of one run.
pub(crate) struct World {
    pub(crate) driver: Driver,
    pub(crate) pool: Arc<Pool>,
    pub(crate) disk: Arc<File>,
    pub(crate) zero: Arc<File>,
    /// Operations that lie about and are not polled any more.
    pub(crate) held: Mutex<Vec<Started>>,
    pub(crate) counts: Arc<Counts>,
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) made: AtomicUsize,
    pub(crate) dropped: AtomicUsize,
    pub(crate) prepared_twice: AtomicUsize,
}

/// An operation that is counted, and may panic.
pub(crate) struct Counted<O> {
    pub(crate) op: O,
    pub(crate) panics: bool,
    pub(crate) prepared: bool,
    counts: Arc<Counts>,
}

impl<O: Operation> Operation for Counted<O> {
    fn prepare(&mut self) -> Prepared<'_> {
        if core::mem::replace(&mut self.prepared, true) {
            self.counts.prepared_twice.fetch_add(1, Ordering::Relaxed);
        }
        if self.panics {
            panic_any(Intended);
        }
        self.op.prepare()
    }
}

impl<O> Drop for Counted<O> {
    fn drop(&mut self) {
        self.counts.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// The payload of panics that belong to the test.
pub(crate) struct Intended;

/// An operation on a disk or memory.
pub(crate) enum Io {
    Read(Read<Arc<File>, Watched>),
    ReadV(ReadV<Arc<File>, [Watched; 2]>),
    Write(Write<Arc<File>, Watched>),
}

impl Operation for Io {
    fn prepare(&mut self) -> Prepared<'_> {
        match self {
            Self::Read(op) => op.prepare(),
            Self::ReadV(op) => op.prepare(),
            Self::Write(op) => op.prepare(),
        }
    }
}

/// What it must do.
pub(crate) enum Expected {
    /// Read this block, and those behind it.
    Blocks(u64),
    Zeros,
    Written,
    Refused,
}

impl Expected {
    pub(crate) fn check(&self, result: Result<u32, Errno>, io: &Io) {
        let block = BLOCK as u32;
        match (self, io) {
            (Self::Blocks(number), Io::Read(read)) => {
                assert_eq!(result, Ok(block));
                assert!(read.buf.as_ref() == content(*number), "block {number}");
            }
            (Self::Blocks(number), Io::ReadV(read)) => {
                assert_eq!(result, Ok(2 * block));
                for (number, buf) in (*number..).zip(&read.bufs) {
                    assert!(buf.as_ref() == content(number), "block {number}");
                }
            }
            (Self::Zeros, Io::Read(read)) => {
                assert_eq!(result, Ok(block));
                assert!(read.buf.as_ref().iter().all(|&byte| byte == 0));
            }
            (Self::Written, Io::Write(_)) => assert_eq!(result, Ok(block)),
            (Self::Refused, Io::Write(_)) => assert_eq!(result, Err(Errno::EBADF)),
            _ => unreachable!("an operation comes back as what it was"),
        }
    }
}

/// A future, and what it must give.
pub(crate) struct Started {
    pub(crate) future: OpFuture<Counted<Io>>,
    pub(crate) expected: Expected,
}

impl Started {
    pub(crate) async fn check(self) {
        let (result, io) = self.future.await;
        self.expected.check(result, &io.op);
    }

    /// Polls it, with a waker that does nothing. `None` if that was the end of it.
    pub(crate) fn poll_once(mut self) -> Option<Self> {
        let mut context = Context::from_waker(Waker::noop());
        match pin!(&mut self.future).poll(&mut context) {
            Poll::Pending => Some(self),
            Poll::Ready((result, io)) => {
                self.expected.check(result, &io.op);
                None
            }
        }
    }
}

pub(crate) type Waiting = OpFuture<Counted<op::Poll<Arc<EventFd>>>>;

impl World {
    pub(crate) fn counted<O>(&self, op: O) -> Counted<O> {
        self.counts.made.fetch_add(1, Ordering::Relaxed);
        Counted { op, panics: false, prepared: false, counts: Arc::clone(&self.counts) }
    }

    /// An operation of any kind that ends by itself.
    pub(crate) fn io(&self, rng: &mut Rng) -> Started {
        let (number, buf) = (rng.u64(..BLOCKS - 1), self.pool.take());
        let (disk, zero) = (Arc::clone(&self.disk), Arc::clone(&self.zero));
        let at = number * BLOCK as u64;
        let (io, expected) = match rng.u32(..12) {
            0..5 => (Io::Read(Read::new(disk, buf, at)), Expected::Blocks(number)),
            5..7 => (Io::Read(Read::new(zero, buf, 0)), Expected::Zeros),
            7 => {
                let bufs = [buf, self.pool.take()];
                (Io::ReadV(ReadV::new(disk, bufs, at)), Expected::Blocks(number))
            }
            8..11 => {
                let write = Write::new(disk, buf.with(&content(number)), at);
                (Io::Write(write), Expected::Written)
            }
            // Not open for writing: the kernel refuses it at submission.
            _ => (Io::Write(Write::new(zero, buf, 0)), Expected::Refused),
        };
        Started { future: self.driver.perform(self.counted(io)), expected }
    }

    /// One that ends when the eventfd is readable, or dropped.
    pub(crate) fn wait_for(&self, fd: &Arc<EventFd>) -> Waiting {
        self.driver.perform(self.counted(op::Poll::new(Arc::clone(fd), PollEvents::IN)))
    }
}
