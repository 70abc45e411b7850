//! Target `queue`: sequences of push, submit, wait, look, cancel, drop and forget on a
//! [`Queue`], compared with a [model](crate::files) of the file.
//!
//! What must hold: each operation completes once, with its token, whole, with the predicted result
//! and bytes; the counts are right; every buffer is dropped once.

use crate::divergence::{Divergence, Verdict, ensure};
use crate::files::{Files, LONGEST, What};
use crate::input::Source;
use linux_aio::op::{Any, Fdsync, Fsync, Poll, Read, Write};
use linux_aio::{Completion, Errno, Queue, Token};
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Buffers that exist.
static BUFFERS: AtomicI64 = AtomicI64::new(0);

/// A buffer that is counted.
#[derive(Debug)]
struct Counted(Vec<u8>);

impl Counted {
    fn new(len: usize, byte: u8) -> Self {
        BUFFERS.fetch_add(1, Ordering::Relaxed);
        Self(vec![byte; len])
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        BUFFERS.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for Counted {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// An operation, its buffer also where it needs none, and its number.
type Op = (Any<Arc<OwnedFd>, Counted>, u64);

/// Operations at a time.
const CAPACITY: u32 = 24;
/// Queues that may be forgotten in the life of the process: their contexts stay.
const FORGOTTEN_QUEUES: u32 = 32;

/// What all inputs share.
#[derive(Debug)]
pub struct Queues {
    queue: Option<Queue<Op>>,
    files: Files,
    file: Arc<OwnedFd>,
    readonly: Arc<OwnedFd>,
    reader: Arc<OwnedFd>,
    tokens: HashMap<u64, Token>,
    /// Tokens of operations that are over.
    stale: Vec<Token>,
    forgotten_slots: usize,
    forgotten_buffers: i64,
    forgotten_queues: u32,
    /// Operations pushed.
    pub operations: u64,
}

fn report(text: String) -> Divergence {
    Divergence(text)
}

fn failed(errno: Errno) -> Divergence {
    Divergence(format!("an unexpected error: {errno}"))
}

impl Queues {
    /// Makes a queue.
    pub fn new(_directory: &Path) -> io::Result<Self> {
        let files = Files::new()?;
        let share = |fd: &OwnedFd| Ok::<_, io::Error>(Arc::new(fd.try_clone()?));
        Ok(Self {
            file: share(&files.file)?,
            readonly: share(&files.readonly)?,
            reader: share(&files.reader)?,
            files,
            queue: None,
            tokens: HashMap::new(),
            stale: Vec::new(),
            forgotten_slots: 0,
            forgotten_buffers: 0,
            forgotten_queues: 0,
            operations: 0,
        })
    }

    /// Runs one input.
    pub fn run(&mut self, data: &[u8]) -> Verdict {
        let mut source = Source::new(data);
        let mut queue = match self.queue.take() {
            Some(queue) => queue,
            None => self.fresh()?,
        };
        for _ in 0..600 {
            if source.is_empty() {
                break;
            }
            queue = self.step(&mut source, queue)?;
            self.check_counts(&queue)?;
        }
        self.drain(&mut queue)?;
        self.files.check_content().map_err(report)?;
        let buffers = BUFFERS.load(Ordering::Relaxed) - self.forgotten_buffers;
        ensure(buffers == 0, || format!("{buffers} buffers are left"))?;
        self.queue = (self.forgotten_slots < 12).then_some(queue);
        Ok(())
    }

    fn fresh(&mut self) -> Verdict<Queue<Op>> {
        // What a queue had in forgotten slots has gone with it.
        self.forgotten_buffers -= self.forgotten_slots as i64;
        self.forgotten_slots = 0;
        Queue::with_capacity(CAPACITY).map_err(|error| Divergence(error.to_string()))
    }

    fn step(&mut self, source: &mut Source<'_>, mut queue: Queue<Op>) -> Verdict<Queue<Op>> {
        match source.below(24) {
            0..=9 => self.push(source, &mut queue)?,
            10 | 11 => {
                queue.submit().map_err(Errno::from).map_err(failed)?;
                self.files.submitted(queue.queued());
            }
            12..=14 => {
                if let Some(done) = queue.try_next().map_err(Errno::from).map_err(failed)? {
                    self.complete(done)?;
                }
            }
            15..=17 => self.wait(source, &mut queue)?,
            18 => self.ready(source, &mut queue)?,
            19 | 20 => self.cancel(source, &mut queue)?,
            21 => self.files.wake().map_err(|error| Divergence(error.to_string()))?,
            22 if source.once_in(2) => self.drain(&mut queue)?,
            _ if source.once_in(64) => return self.replace(source, queue),
            _ => {}
        }
        Ok(queue)
    }

    fn operation(&self, what: &What, sync_data: bool) -> Any<Arc<OwnedFd>, Counted> {
        let file = Arc::clone(&self.file);
        match *what {
            What::Read(len, at) => Any::Read(Read::new(file, Counted::new(len, 0xee), at)),
            What::Write(len, at, byte) => Any::Write(Write::new(file, Counted::new(len, byte), at)),
            What::Forbidden => {
                Any::Write(Write::new(Arc::clone(&self.readonly), Counted::new(1, 0), 0))
            }
            What::Sync if sync_data => Any::Fdsync(Fdsync::new(file)),
            What::Sync => Any::Fsync(Fsync::new(file)),
            What::Poll => Any::Poll(Poll::new(Arc::clone(&self.reader), Files::events())),
        }
    }

    fn push(&mut self, source: &mut Source<'_>, queue: &mut Queue<Op>) -> Verdict {
        let what = What::generate(source);
        let op = self.operation(&what, source.once_in(2));
        let full = self.files.live.len() + self.forgotten_slots == CAPACITY as usize;
        let number = self.files.push(what);
        match queue.push((op, number)) {
            Ok(token) => {
                self.operations += 1;
                self.tokens.insert(number, token);
                ensure(!full, || "a push into a full queue was taken".into())
            }
            Err(refused) => {
                self.files.unpush(number);
                let whole = refused.op.1 == number && refused.errno() == Errno::EAGAIN;
                ensure(full && whole, || format!("a push was refused: {refused:?}"))
            }
        }
    }

    fn wait(&mut self, source: &mut Source<'_>, queue: &mut Queue<Op>) -> Verdict {
        // What is pushed may be submitted by it and may end; what waits for data does not.
        let ends = self.files.something_ends() && self.files.pushed() == 0;
        let done = if self.files.live.is_empty() || ends && source.once_in(2) {
            queue.wait()
        } else {
            queue.wait_timeout(Duration::from_micros(50))
        };
        self.files.submitted(queue.queued());
        match done {
            Ok(Some(done)) => self.complete(done),
            Ok(None) => ensure(self.files.live.is_empty(), || "nothing to wait for?".into()),
            Err(error) if error.errno() == Errno::ETIMEDOUT && !self.files.live.is_empty() => {
                Ok(())
            }
            Err(error) => Err(failed(error.errno())),
        }
    }

    fn complete(&mut self, done: Completion<Op>) -> Verdict {
        let (op, number) = done.op;
        self.check(number, done.token, done.result, &op)
    }

    fn check(
        &mut self,
        number: u64,
        token: Token,
        result: Result<u32, Errno>,
        op: &Any<Arc<OwnedFd>, Counted>,
    ) -> Verdict {
        let none = Vec::new();
        let bytes = match op {
            Any::Read(op) => &op.buf.0,
            Any::Write(op) => &op.buf.0,
            _ => &none,
        };
        let what = self.files.complete(number, result, bytes).map_err(report)?;
        let due = self.tokens.remove(&number);
        ensure(due == Some(token), || format!("token {token:?}, predicted {due:?}"))?;
        if self.stale.len() < 64 {
            self.stale.push(token);
        }
        let whole = match (&what, op) {
            (What::Read(len, at), Any::Read(op)) => op.buf.0.len() == *len && op.offset == *at,
            (What::Write(len, at, byte), Any::Write(op)) => {
                op.buf.0.len() == *len && op.offset == *at && op.buf.0.iter().all(|b| b == byte)
            }
            (What::Forbidden, Any::Write(_)) | (What::Poll, Any::Poll(_)) => true,
            (What::Sync, Any::Fsync(_) | Any::Fdsync(_)) => true,
            _ => false,
        };
        ensure(whole, || format!("{what:?} came back as {op:?}"))
    }

    /// A completion in its slot: taken, pushed again, dropped or forgotten.
    fn ready(&mut self, source: &mut Source<'_>, queue: &mut Queue<Op>) -> Verdict {
        let ready = queue.ready().map_err(Errno::from).map_err(failed)?;
        let Some(ready) = ready else { return Ok(()) };
        let (number, token, result) = (ready.op().1, ready.token(), ready.result());
        let what = self.files.live.get(&number).map(|(what, _)| what.clone());
        self.check(number, token, result, &ready.op().0)?;
        match source.below(8) {
            0 if !matches!(what, None | Some(What::Write(..))) => {
                let Some(what) = what else { return Ok(()) };
                let again = self.files.push(what);
                let mut ready = ready;
                ready.op_mut().1 = again;
                self.tokens.insert(again, ready.push_again());
            }
            1 => {
                let has_buffer = matches!(ready.op().0, Any::Read(_) | Any::Write(_));
                self.forgotten_slots += 1;
                self.forgotten_buffers += i64::from(has_buffer);
                if !has_buffer {
                    // So that each forgotten slot has one to give back.
                    self.forgotten_slots -= 1;
                    drop(ready);
                } else {
                    std::mem::forget(ready);
                }
            }
            2..=4 => drop(ready),
            _ => drop(ready.take()),
        }
        Ok(())
    }

    fn cancel(&mut self, source: &mut Source<'_>, queue: &mut Queue<Op>) -> Verdict {
        if source.once_in(4) && !self.stale.is_empty() {
            let token = source.pick(&self.stale);
            let outcome = queue.cancel(token);
            return ensure(outcome == Err(Errno::ENOENT), || {
                format!("cancelling what is over gave {outcome:?}")
            });
        }
        let mut numbers: Vec<u64> = self.tokens.keys().copied().collect();
        numbers.sort_unstable();
        if numbers.is_empty() {
            return Ok(());
        }
        let number = source.pick(&numbers);
        let outcome = queue.cancel(self.tokens[&number]);
        let possible = self.files.live.get(&number).map(|(what, _)| what.clone());
        let cancelled = self.files.cancel(number);
        // Refused operations and cancelled ones are over, and so are completed ones which have not
        // been taken out, as far as the queue has seen them.
        let allowed: &[Result<(), Errno>] = match cancelled {
            true => &[Ok(()), Err(Errno::ENOENT)],
            false => &[Err(Errno::EINVAL), Err(Errno::ENOENT)],
        };
        ensure(allowed.contains(&outcome), || format!("cancelling {possible:?} gave {outcome:?}"))
    }

    /// Drops or forgets the queue with what is in it.
    fn replace(&mut self, source: &mut Source<'_>, queue: Queue<Op>) -> Verdict<Queue<Op>> {
        if source.once_in(4) && self.forgotten_queues < FORGOTTEN_QUEUES {
            self.forgotten_queues += 1;
            // What it owns stays for ever, also what forgotten slots have.
            self.forgotten_slots = 0;
            std::mem::forget(queue);
            self.forgotten_buffers = BUFFERS.load(Ordering::Relaxed);
        } else {
            drop(queue);
            self.forgotten_buffers -= self.forgotten_slots as i64;
            self.forgotten_slots = 0;
            let left = BUFFERS.load(Ordering::Relaxed) - self.forgotten_buffers;
            ensure(left == 0, || format!("dropping a queue left {left} buffers"))?;
        }
        self.files.abandon();
        self.tokens.clear();
        self.stale.clear();
        self.files.check_content().map_err(report)?;
        self.fresh()
    }

    fn check_counts(&self, queue: &Queue<Op>) -> Verdict {
        let (queued, in_flight) = (queue.queued(), queue.in_flight());
        let live = self.files.live.len();
        let good = queued == self.files.pushed() && queued + in_flight <= live;
        let strays = queue.stats().stray_events;
        ensure(good && strays == 0 && queue.capacity() == CAPACITY as usize, || {
            format!("{queued} queued, {in_flight} in flight, {strays} strays; {live} operations")
        })?;
        let buffers = BUFFERS.load(Ordering::Relaxed) - self.forgotten_buffers;
        ensure((0..=live as i64).contains(&buffers), || {
            format!("{buffers} buffers for {live} operations of up to {LONGEST} bytes")
        })
    }

    /// Ends everything, and takes it.
    fn drain(&mut self, queue: &mut Queue<Op>) -> Verdict {
        queue.submit().map_err(Errno::from).map_err(failed)?;
        self.files.submitted(queue.queued());
        self.files.wake().map_err(|error| Divergence(error.to_string()))?;
        while let Some(done) = queue.wait().map_err(Errno::from).map_err(failed)? {
            self.complete(done)?;
        }
        self.files.calm();
        let left = &self.files.live;
        ensure(left.is_empty(), || format!("these never completed: {left:?}"))
    }
}
