//! What is done to the library while its system calls fail, and what must hold all the same: an
//! operation comes back once, or not at all where the machine cannot go on; with its data, or with
//! the very error that was injected; and the operation itself is dropped once.

use super::strace::{FAULT, FAULTY_CALLS};
use crate::common::files::{Pipe, file_with, open_direct, pattern, pipe};
use core::cell::Cell;
use core::mem::{self, MaybeUninit};
use core::time::Duration;
use linux_aio::op::{Any, Fsync, Poll, Read, Write};
use linux_aio::{
    AlignedBuf, Completion, Driver, Errno, IoContext, IoEvent, Iocb, PollEvents, PushError, Queue,
    Reaper, Scope, SetupError, SigSet, Slot, Submitter, Token,
};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use tempfile::TempDir;

const BLOCK: usize = 4096;
const BLOCKS: usize = 12;
const CAPACITY: u32 = 4;

/// How often in succession the same call may fail before a victim gives up, as a user would. A
/// signal is answered by trying again.
fn attempts(fault: Fault) -> impl Iterator {
    0..if fault.0 == Some(Errno::EINTR) { usize::MAX } else { 3 }
}

/// The error that is injected. Without one, everything must succeed.
#[derive(Clone, Copy)]
struct Fault(Option<Errno>);

impl Fault {
    fn of_this_process() -> Self {
        let Ok(number) = std::env::var(FAULT) else { return Self(None) };
        // A call that returns 0 and does nothing has no room, or its time is up.
        Self(Some(Errno::from_raw(number.parse().expect("a number")).unwrap_or(Errno::EAGAIN)))
    }

    /// The error is the injected one.
    #[track_caller]
    fn expect(self, errno: Errno) {
        // Of a return value of 0, and of a driver that has retried.
        let of_eagain = [Errno::ETIMEDOUT, Errno::EXHAUSTED].contains(&errno);
        let expected = self.0 == Some(errno) || (of_eagain && self.0 == Some(Errno::EAGAIN));
        assert!(expected, "{errno:?} where {:?} is", self.0);
    }

    /// What could be made; `None` where it was the injected error that it could not.
    fn setup<T, E: SetupFailure>(self, mut make: impl FnMut() -> Result<T, E>) -> Option<T> {
        loop {
            match make().map_err(|error| error.errno()) {
                Ok(made) => return Some(made),
                // Other tests have used up fs.aio-max-nr.
                Err(Errno::EAGAIN) if self.0 != Some(Errno::EAGAIN) => {
                    thread::sleep(Duration::from_millis(100));
                }
                Err(errno) => {
                    self.expect(errno);
                    return None;
                }
            }
        }
    }
}

/// Why there is no context or driver: an error that names its cause.
trait SetupFailure {
    fn errno(&self) -> Errno;
}

impl SetupFailure for SetupError {
    fn errno(&self) -> Errno {
        let (errno, text) = (SetupError::errno(self), self.to_string());
        assert!(
            text.starts_with("io_setup(4): ") && text.contains(&format!("{errno:?}")),
            "{text}"
        );
        errno
    }
}

impl SetupFailure for io::Error {
    fn errno(&self) -> Errno {
        match self.get_ref().and_then(|inner| inner.downcast_ref::<SetupError>()) {
            Some(setup) => SetupFailure::errno(setup),
            None => Errno::from_io_error(self).expect("the kernel's error"),
        }
    }
}

type Transfer = Any<Arc<File>, AlignedBuf>;

/// A file of zeros at first, on the disk itself where that can be had.
struct Disk {
    file: Arc<File>,
    content: Vec<u8>,
    _dir: TempDir,
}

impl Disk {
    fn new() -> Self {
        let (dir, path, file) = file_with(&[0; BLOCK * BLOCKS]);
        let file = Arc::new(open_direct(&path).unwrap_or(file));
        Self { file, content: pattern(BLOCK * BLOCKS), _dir: dir }
    }

    fn block(&self, at: usize) -> &[u8] {
        &self.content[at * BLOCK..][..BLOCK]
    }

    fn write(&self, at: usize) -> Transfer {
        Write::new(Arc::clone(&self.file), aligned(self.block(at)), (at * BLOCK) as u64).into()
    }

    fn read(&self, at: usize) -> Transfer {
        Read::new(Arc::clone(&self.file), aligned(&[0; BLOCK]), (at * BLOCK) as u64).into()
    }

    /// What a read of a block must give.
    fn check(&self, at: usize, written: bool, count: u32, buf: &[u8]) {
        assert_eq!(count as usize, BLOCK, "block {at}");
        let expected = if written { self.block(at) } else { &[0; BLOCK] };
        assert!(buf == expected, "block {at} is not what was written");
    }
}

fn aligned(content: &[u8]) -> AlignedBuf {
    let mut buf = AlignedBuf::new(content.len()).expect("memory");
    buf.copy_from_slice(content);
    buf
}

/// Rides along with an operation and counts its end.
struct Ticket {
    number: usize,
    ended: Rc<Cell<usize>>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.ended.set(self.ended.get() + 1);
    }
}

type Op = (Transfer, Ticket);

/// A queue or a scope.
trait Machine {
    fn push(&mut self, op: Op) -> Result<Token, PushError<Op>>;
    fn submit(&mut self) -> Result<usize, Errno>;
    fn wait(&mut self) -> Result<Option<Completion<Op>>, Errno>;
    fn cancel(&mut self, token: Token) -> Result<(), Errno>;
}

impl Machine for Queue<Op> {
    fn push(&mut self, op: Op) -> Result<Token, PushError<Op>> {
        Queue::push(self, op)
    }
    fn submit(&mut self) -> Result<usize, Errno> {
        Queue::submit(self).map_err(Errno::from)
    }
    fn wait(&mut self) -> Result<Option<Completion<Op>>, Errno> {
        Queue::wait(self).map_err(Errno::from)
    }
    fn cancel(&mut self, token: Token) -> Result<(), Errno> {
        Queue::cancel(self, token)
    }
}

impl Machine for &Scope<Op> {
    fn push(&mut self, op: Op) -> Result<Token, PushError<Op>> {
        Scope::push(self, op)
    }
    fn submit(&mut self) -> Result<usize, Errno> {
        Scope::submit(self).map_err(Errno::from)
    }
    fn wait(&mut self) -> Result<Option<Completion<Op>>, Errno> {
        Scope::wait(self).map_err(Errno::from)
    }
    fn cancel(&mut self, token: Token) -> Result<(), Errno> {
        Scope::cancel(self, token)
    }
}

/// The machine failed several times in succession.
struct GaveUp;

/// Gives operations to a machine and keeps account of them.
struct Clerk {
    fault: Fault,
    disk: Disk,
    silent: Pipe,
    /// By number: whether the operation is with the machine.
    given: Vec<bool>,
    /// How many tickets have been dropped.
    ended: Rc<Cell<usize>>,
    written: [bool; BLOCKS],
}

impl Clerk {
    fn new() -> Self {
        Self {
            fault: Fault::of_this_process(),
            disk: Disk::new(),
            silent: pipe(libc::O_NONBLOCK),
            given: Vec::new(),
            ended: Rc::default(),
            written: [false; BLOCKS],
        }
    }

    /// `None` where the machine has no slot, and has given the operation back.
    fn push(&mut self, machine: &mut impl Machine, op: Transfer) -> Option<Token> {
        let number = self.given.len();
        self.given.push(true);
        let pushed = machine.push((op, Ticket { number, ended: Rc::clone(&self.ended) }));
        pushed.map_err(|refused| self.take_back(refused)).ok()
    }

    fn take_back(&mut self, refused: PushError<Op>) {
        assert_eq!(refused.errno(), Errno::EAGAIN);
        assert!(mem::take(&mut self.given[refused.op.1.number]));
    }

    /// The next completion, checked. `None` where there is nothing to wait for.
    fn wait(&mut self, machine: &mut impl Machine) -> Result<Option<usize>, GaveUp> {
        for _ in attempts(self.fault) {
            match machine.wait() {
                Ok(Some(done)) => return Ok(Some(self.complete(done))),
                Ok(None) => return Ok(None),
                Err(errno) => self.fault.expect(errno),
            }
        }
        Err(GaveUp)
    }

    fn complete(&mut self, done: Completion<Op>) -> usize {
        let (op, Ticket { number, .. }) = &done.op;
        assert!(mem::take(&mut self.given[*number]), "operation {number} came back twice");
        let count = match done.result {
            Ok(count) => count,
            // It was cancelled before it was submitted.
            Err(Errno::ECANCELED) if matches!(op, Any::Poll(_)) => return *number,
            Err(errno) => {
                self.fault.expect(errno);
                return *number;
            }
        };
        match op {
            Any::Write(write) => {
                assert_eq!(count as usize, BLOCK);
                self.written[write.offset as usize / BLOCK] = true;
            }
            Any::Read(read) => {
                let at = read.offset as usize / BLOCK;
                self.disk.check(at, self.written[at], count, &read.buf);
            }
            _ => {}
        }
        *number
    }

    /// Everything that a user does: writes more than there are slots, syncs, reads it back, waits
    /// for a pipe and cancels that; and leaves with operations in flight.
    fn work(&mut self, machine: &mut impl Machine) -> Result<(), GaveUp> {
        let write: fn(&Disk, usize) -> _ = Disk::write;
        for block in [write, Disk::read] {
            let mut next = 0;
            loop {
                while next < BLOCKS && self.push(machine, block(&self.disk, next)).is_some() {
                    next += 1;
                }
                if self.wait(machine)?.is_none() {
                    break;
                }
            }
            assert_eq!(next, BLOCKS);
            let fsync = Fsync::new(Arc::clone(&self.disk.file));
            self.push(machine, fsync.into()).expect("a slot");
            self.wait(machine)?.expect("the fsync");
        }
        self.cancel_one(machine)?;
        assert!(self.given.iter().all(|&given| !given), "something did not come back");

        let silent = self.poll();
        self.push(machine, silent).expect("a slot");
        for at in 0..2 {
            self.push(machine, self.disk.read(at)).expect("a slot");
        }
        self.submit(machine);
        Ok(())
    }

    fn cancel_one(&mut self, machine: &mut impl Machine) -> Result<(), GaveUp> {
        let poll = self.poll();
        let token = self.push(machine, poll).expect("a slot");
        self.submit(machine);
        let cancelled = machine.cancel(token);
        if let Err(errno) = cancelled {
            // ENOENT: it has been refused.
            if errno != Errno::ENOENT {
                self.fault.expect(errno);
            }
            self.silent.put(1);
        }
        self.wait(machine)?.expect("the POLL");
        if cancelled.is_err() {
            self.silent.get();
        }
        Ok(())
    }

    fn submit(&self, machine: &mut impl Machine) {
        if let Err(errno) = machine.submit() {
            self.fault.expect(errno);
        }
    }

    /// A POLL of a pipe that says nothing by itself.
    fn poll(&self) -> Transfer {
        let reader = self.silent.reader.try_clone().expect("a descriptor");
        Poll::new(Arc::new(reader), PollEvents::IN).into()
    }

    /// The machine is gone: every operation has been dropped once, or leaked where that is right.
    fn close(self, may_leak: bool) {
        let (given, ended) = (self.given.len(), self.ended.get());
        assert!(ended == given || (may_leak && ended < given), "{ended} of {given} were dropped");
    }
}

fn context(fault: Fault, ring: bool) -> Option<IoContext> {
    let mut context = fault.setup(|| IoContext::new(CAPACITY))?;
    context.use_ring(ring);
    Some(context)
}

fn queue(ring: bool) {
    let mut clerk = Clerk::new();
    let Some(context) = context(clerk.fault, ring) else { return };
    let mut queue = Queue::new(context, CAPACITY).expect("a fresh context");
    let _ = clerk.work(&mut queue);
    drop(queue);
    // Only io_destroy proves that a queue's buffers are free.
    clerk.close(std::env::var(FAULTY_CALLS).is_ok_and(|calls| calls.contains("io_destroy")));
}

fn scope(ring: bool) {
    let mut clerk = Clerk::new();
    let Some(mut context) = context(clerk.fault, ring) else { return };
    linux_aio::scope(&mut context, &mut [const { Slot::new() }; CAPACITY as usize], |mut scope| {
        let _ = clerk.work(&mut scope);
    })
    .expect("a fresh context");
    drop(context);
    clerk.close(false);
}

/// Retries for that long where the kernel has no resources. If it does so without end, it expects
/// everything to succeed.
fn driver(retry: Duration) {
    let fault = Fault::of_this_process();
    let disk = Disk::new();
    let Some(driver) = fault.setup(|| Driver::on_thread(CAPACITY)) else { return };
    driver.retry_submits_for(retry);
    let fault = if retry == Duration::MAX { Fault(None) } else { fault };
    let executor = smol::LocalExecutor::new();
    // More at once than there are slots.
    let spawn = |block: fn(&Disk, usize) -> _, at| executor.spawn(driver.perform(block(&disk, at)));
    smol::block_on(executor.run(async {
        let mut written = [false; BLOCKS];
        let writes: Vec<_> = (0..BLOCKS).map(|at| spawn(Disk::write, at)).collect();
        for (at, write) in writes.into_iter().enumerate() {
            match write.await.0 {
                Ok(count) => {
                    assert_eq!(count as usize, BLOCK);
                    written[at] = true;
                }
                Err(errno) => fault.expect(errno),
            }
        }
        let reads: Vec<_> = (0..BLOCKS).map(|at| spawn(Disk::read, at)).collect();
        for (at, read) in reads.into_iter().enumerate() {
            match read.await {
                (Ok(count), Any::Read(read)) => disk.check(at, written[at], count, &read.buf),
                (Ok(_), other) => panic!("a read came back as {other:?}"),
                (Err(errno), _) => fault.expect(errno),
            }
        }
        assert_eq!(driver.outstanding(), 0);
    }));
    smol::block_on(driver.close());
}

/// The bare calls, with as many operations in flight as there is room for.
fn raw(ring: bool) {
    let fault = Fault::of_this_process();
    let disk = Disk::new();
    disk.file.write_all_at(&aligned(&disk.content), 0).expect("an open file");
    let silent = pipe(libc::O_NONBLOCK);
    let Some(mut context) = context(fault, ring) else { return };

    let mut buffers: Vec<_> = (0..BLOCKS).map(|_| aligned(&[0; BLOCK])).collect();
    let mut iocbs: Vec<_> = (0..)
        .zip(&mut buffers)
        .map(|(at, buf)| {
            let (fd, offset) = (disk.file.as_raw_fd(), at * BLOCK as u64);
            Iocb::pread(fd, buf.as_mut_ptr(), BLOCK, offset).user_data(at)
        })
        .collect();
    iocbs.push(Iocb::poll(silent.reader.as_raw_fd(), PollEvents::IN).user_data(BLOCKS as u64));
    let iocbs: Vec<*mut Iocb> = iocbs.iter_mut().map(|iocb| &raw mut *iocb).collect();
    let mut back = [None; BLOCKS + 1];
    let done = raw_work(fault, &mut context, &iocbs, &mut back);
    drop(context);

    for (at, buf) in buffers.iter().enumerate().filter(|_| done.is_ok()) {
        assert_eq!(back[at], Some(BLOCK as u32), "read {at}");
        assert!(**buf == *disk.block(at), "block {at} is not what was written");
    }
    // Where nothing proved that the kernel is finished with them, they must not be freed.
    mem::forget(buffers);
}

fn raw_work(
    fault: Fault,
    context: &mut IoContext,
    iocbs: &[*mut Iocb],
    back: &mut [Option<u32>],
) -> Result<(), GaveUp> {
    let (submitter, mut reaper) = context.split();
    assert!(submitter.is_alive() || fault.0.is_some());
    for group in iocbs.chunks(CAPACITY as usize) {
        submit_all(fault, submitter, group)?;
        if group.last() == iocbs.last() {
            cancel(fault, submitter, iocbs[BLOCKS])?;
        }
        for turn in 0..group.len() {
            let event = wait_for_one(fault, &mut reaper, turn % 2 == 1)?;
            let place = &mut back[event.user_data() as usize];
            assert!(place.is_none(), "operation {} came back twice", event.user_data());
            *place = Some(event.result().unwrap_or_else(|errno| panic!("{errno}")));
        }
    }
    let more = insist(fault, || Ok(reaper.reap(&mut [MaybeUninit::uninit(); 1])?.len()))?;
    assert_eq!(more, 0);
    Ok(())
}

/// Repeats a call until it succeeds.
fn insist<T>(fault: Fault, mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, GaveUp> {
    for _ in attempts(fault) {
        match call() {
            Ok(value) => return Ok(value),
            Err(errno) => fault.expect(errno),
        }
    }
    Err(GaveUp)
}

fn submit_all(
    fault: Fault,
    submitter: Submitter<'_>,
    mut group: &[*mut Iocb],
) -> Result<(), GaveUp> {
    while !group.is_empty() {
        let accepted = insist(fault, || {
            // SAFETY: The iocbs stay where they are; the buffers are kept until the context has
            // been dropped, and for ever after that.
            match unsafe { submitter.submit(group) }? {
                0 => Err(Errno::EAGAIN),
                accepted => Ok(accepted),
            }
        })?;
        group = &group[accepted..];
    }
    Ok(())
}

fn cancel(fault: Fault, submitter: Submitter<'_>, iocb: *mut Iocb) -> Result<(), GaveUp> {
    insist(fault, || submitter.cancel(iocb))
}

fn wait_for_one(fault: Fault, reaper: &mut Reaper<'_>, masked: bool) -> Result<IoEvent, GaveUp> {
    insist(fault, || {
        let mut events = [MaybeUninit::uninit(); 1];
        let taken = match masked {
            true => reaper.wait_masked(1, None, &SigSet::full(), &mut events)?,
            false => reaper.wait(1, None, &mut events)?,
        };
        taken.first().copied().ok_or(Errno::EAGAIN)
    })
}

/// By name.
pub(crate) const VICTIMS: [(&str, fn()); 7] = [
    ("queue", || queue(true)),
    ("queue without ring", || queue(false)),
    ("scope", || scope(true)),
    ("scope without ring", || scope(false)),
    ("raw", || raw(true)),
    ("raw without ring", || raw(false)),
    // A call that fails for good must not take long.
    ("driver", || driver(Duration::from_millis(20))),
];

/// By name; not for faults other than `EAGAIN` of `io_submit` that passes.
const PATIENT_DRIVER: (&str, fn()) = ("patient driver", || driver(Duration::MAX));

/// The environment variable that chooses one.
const VICTIM: &str = "LINUX_AIO_VICTIM";

/// Runs the one that the environment names, or all.
pub(crate) fn run_chosen() {
    let chosen = std::env::var(VICTIM);
    for (name, run) in VICTIMS.into_iter().chain([PATIENT_DRIVER]) {
        if chosen.as_deref().map_or(true, |chosen| chosen == name) {
            run();
        }
    }
}

/// A command that runs one: this program's ignored test `a_victim`, which calls [`run_chosen`].
pub(crate) fn command(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    command.args(["a_victim", "--exact", "--ignored", "--test-threads=1"]).env(VICTIM, name);
    command
}
