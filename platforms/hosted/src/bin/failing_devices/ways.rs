//! The ways to do a list of operations: each ends once, and with its own buffer.

use linux_aio::op::{Any, Fsync, Read, Write};
use linux_aio::{AlignedBuf, Driver, Errno, IoContext, IoEvent, Iocb, Queue, Slot};
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// Operations in flight at a time.
const DEPTH: usize = 16;

/// What is asked of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    Fsync,
}

/// One operation, with its buffer, which is empty for an fsync.
#[derive(Debug)]
pub struct Job {
    pub kind: Kind,
    pub offset: u64,
    pub buf: AlignedBuf,
}

/// Does all of them, and gives each back with its result, in their order.
pub type Way = fn(&Arc<File>, Vec<Job>) -> Vec<(Result<u32, Errno>, Job)>;

pub const WAYS: [(&str, Way); 4] =
    [("raw", raw), ("scope", scope), ("queue", queue), ("driver", driver)];

/// The results by the number of the operation; each comes once.
struct Results(Vec<Option<Result<u32, Errno>>>);

impl Results {
    fn set(&mut self, at: usize, result: Result<u32, Errno>) {
        assert!(self.0[at].replace(result).is_none(), "operation {at} ended twice");
    }

    fn with(self, jobs: Vec<Job>) -> Vec<(Result<u32, Errno>, Job)> {
        let results = self.0.into_iter().map(|result| result.expect("each operation ends"));
        results.zip(jobs).collect()
    }
}

fn raw(file: &Arc<File>, mut jobs: Vec<Job>) -> Vec<(Result<u32, Errno>, Job)> {
    let mut results = Results(vec![None; jobs.len()]);
    let mut context = IoContext::new(DEPTH as u32).expect("a context");
    let (submitter, mut reaper) = context.split();
    for (first, some) in jobs.chunks_mut(DEPTH).enumerate() {
        let numbers = (first * DEPTH) as u64..;
        let mut iocbs: Vec<_> =
            numbers.zip(&mut *some).map(|(n, job)| iocb(file, n, job)).collect();
        let pointers: Vec<*mut Iocb> = iocbs.iter_mut().map(std::ptr::from_mut).collect();
        let mut submitted = 0;
        while submitted < pointers.len() {
            // SAFETY: The iocbs and the buffers stay where they are, and untouched, until all the
            // events have been reaped below.
            submitted += unsafe { submitter.submit(&pointers[submitted..]) }.expect("room");
        }
        let mut left = submitted;
        while left > 0 {
            let mut events = [const { MaybeUninit::<IoEvent>::uninit() }; DEPTH];
            let events = reaper.wait(1, None, &mut events).expect("a wait");
            for event in events {
                results.set(event.user_data() as usize, event.result());
            }
            left = left.checked_sub(events.len()).expect("no more events than operations");
        }
    }
    assert_eq!(context.in_flight(), 0);
    results.with(jobs)
}

fn iocb(file: &File, number: u64, job: &mut Job) -> Iocb {
    let (fd, len) = (file.as_raw_fd(), job.buf.len());
    let iocb = match job.kind {
        Kind::Read => Iocb::pread(fd, job.buf.as_mut_ptr(), len, job.offset),
        Kind::Write => Iocb::pwrite(fd, job.buf.as_ptr(), len, job.offset),
        Kind::Fsync => Iocb::fsync(fd),
    };
    iocb.user_data(number)
}

fn scope(file: &Arc<File>, mut jobs: Vec<Job>) -> Vec<(Result<u32, Errno>, Job)> {
    let file = &**file;
    let mut results = Results(vec![None; jobs.len()]);
    let mut context = IoContext::new(DEPTH as u32).expect("a context");
    let mut to_do = jobs.iter_mut().enumerate();
    let scoped = linux_aio::scope(&mut context, &mut [const { Slot::new() }; DEPTH], |io| {
        let mut push = || {
            let Some((at, job)) = to_do.next() else { return };
            let op: Any<_, &mut [u8], &[u8]> = match job.kind {
                Kind::Read => Read::new(file, &mut *job.buf, job.offset).into(),
                Kind::Write => Write::new(file, &*job.buf, job.offset).into(),
                Kind::Fsync => Fsync::new(file).into(),
            };
            assert!(io.push((op, at)).is_ok(), "there is a free slot");
        };
        (0..DEPTH).for_each(|_| push());
        while let Some(done) = io.wait().expect("a wait") {
            results.set(done.op.1, done.result);
            push();
        }
    });
    scoped.expect("a fresh context");
    results.with(jobs)
}

/// An operation that owns what it needs.
pub type Owned = Any<Arc<File>, AlignedBuf>;

/// As such an operation.
pub fn owned(file: &Arc<File>, job: Job) -> Owned {
    let file = Arc::clone(file);
    match job.kind {
        Kind::Read => Read::new(file, job.buf, job.offset).into(),
        Kind::Write => Write::new(file, job.buf, job.offset).into(),
        Kind::Fsync => Fsync::new(file).into(),
    }
}

/// What it was made from.
pub fn given_back(op: Owned) -> Job {
    match op {
        Any::Read(Read { buf, offset, .. }) => Job { kind: Kind::Read, offset, buf },
        Any::Write(Write { buf, offset, .. }) => Job { kind: Kind::Write, offset, buf },
        Any::Fsync(_) => Job::fsync(),
        other => panic!("nobody made {other:?}"),
    }
}

impl Job {
    /// An fsync.
    pub fn fsync() -> Self {
        Self { kind: Kind::Fsync, offset: 0, buf: AlignedBuf::new(0).expect("nothing") }
    }
}

fn queue(file: &Arc<File>, jobs: Vec<Job>) -> Vec<(Result<u32, Errno>, Job)> {
    let mut results = Results(vec![None; jobs.len()]);
    let mut back: Vec<_> = jobs.iter().map(|_| None).collect();
    let mut queue = Queue::with_capacity(DEPTH as u32).expect("a queue");
    let mut to_do = jobs.into_iter().enumerate();
    loop {
        let free = DEPTH - queue.in_flight() - queue.queued();
        for (at, job) in to_do.by_ref().take(free) {
            queue.push((owned(file, job), at)).expect("a free slot");
        }
        let Some(done) = queue.wait().expect("a wait") else { break };
        let (op, at) = done.op;
        results.set(at, done.result);
        back[at] = Some(given_back(op));
    }
    results.with(back.into_iter().map(|job| job.expect("each operation comes back")).collect())
}

fn driver(file: &Arc<File>, jobs: Vec<Job>) -> Vec<(Result<u32, Errno>, Job)> {
    let driver = Driver::on_thread(DEPTH as u32).expect("a driver");
    let mut futures: Vec<_> =
        jobs.into_iter().map(|job| driver.perform(owned(file, job))).map(Some).collect();
    let mut ended: Vec<_> = futures.iter().map(|_| None).collect();
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    // All at once, and each only once it has not ended.
    while futures.iter().any(Option::is_some) {
        for (future, ended) in futures.iter_mut().zip(&mut ended) {
            let Some(running) = future else { continue };
            if let Poll::Ready((result, op)) = pin!(running).poll(&mut Context::from_waker(&waker))
            {
                *ended = Some((result, given_back(op)));
                *future = None;
            }
        }
        if futures.iter().any(Option::is_some) {
            thread::park();
        }
    }
    assert_eq!(driver.outstanding(), 0);
    ended.into_iter().map(|ended| ended.expect("each operation ends")).collect()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
