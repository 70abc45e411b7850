//! Target `scope`: sequences of operations on borrowed buffers in [`IoContext::scope`], left by
//! return and by panic with operations in flight, compared with a [model](crate::files) of the
//! file.
//!
//! What must hold: each operation completes once, whole, as predicted; after the scope the kernel
//! writes nothing any more; the next scope of the same context sees no event of the last.

use crate::divergence::{Divergence, Verdict, ensure};
use crate::files::{Files, LONGEST, What};
use crate::input::Source;
use linux_aio::op::{Any, Fdsync, Fsync, Poll, Read, Write};
use linux_aio::{Completion, Errno, IoContext, Scope, Slot, Token};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// Operations at a time. More than a scope queues before it submits by itself.
const SLOTS: usize = 80;
/// Buffers of a scope.
const BUFFERS: usize = 90;

/// What all inputs share.
#[derive(Debug)]
pub struct Scopes {
    context: IoContext,
    files: Files,
    /// Operations pushed.
    pub operations: u64,
}

type Op<'b> = (Any<BorrowedFd<'b>, &'b mut [u8], &'b [u8]>, u64);

/// What a panic in a scope carries.
struct Left;

/// One scope.
struct Inside<'m, 'b> {
    files: &'m mut Files,
    fds: [BorrowedFd<'b>; 3],
    free: Vec<&'b mut [u8]>,
    constant: &'b [Vec<u8>],
    tokens: HashMap<u64, Token>,
    pushed: u64,
}

fn failed(errno: Errno) -> Divergence {
    Divergence(format!("an unexpected error: {errno}"))
}

impl Scopes {
    /// Makes a context.
    pub fn new() -> io::Result<Self> {
        // A panic on purpose is not printed.
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<Left>() {
                usual(info);
            }
        }));
        Ok(Self { context: IoContext::new(SLOTS as u32)?, files: Files::new()?, operations: 0 })
    }

    /// Runs one input.
    pub fn run(&mut self, data: &[u8]) -> Verdict {
        let mut source = Source::new(data);
        for _ in 0..40 {
            if source.is_empty() {
                break;
            }
            self.scope(&mut source)?;
        }
        Ok(())
    }

    fn scope(&mut self, source: &mut Source<'_>) -> Verdict {
        let fds = [&self.files.file, &self.files.readonly, &self.files.reader];
        let fds: Vec<_> = fds
            .iter()
            .map(|fd| fd.try_clone())
            .collect::<Result<_, _>>()
            .map_err(|error| Divergence(error.to_string()))?;
        let fds = [fds[0].as_fd(), fds[1].as_fd(), fds[2].as_fd()];
        let constant: Vec<Vec<u8>> = (0..4).map(|byte| vec![byte * 85; LONGEST]).collect();
        let mut buffers = vec![vec![0xee; LONGEST]; BUFFERS];
        let free = buffers.iter_mut().map(|buffer| &mut buffer[..]).collect();
        let (tokens, files) = (HashMap::new(), &mut self.files);
        let mut inside = Inside { files, fds, free, constant: &constant, tokens, pushed: 0 };
        let context = &mut self.context;
        let mut slots = [const { Slot::new() }; SLOTS];
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            linux_aio::scope(context, &mut slots, |io| inside.run(source, io))
        }));
        self.operations += inside.pushed;
        drop(inside);
        match outcome {
            Ok(Ok(verdict)) => verdict?,
            Ok(Err(error)) => return Err(Divergence(error.to_string())),
            Err(panic) if panic.is::<Left>() => {}
            Err(panic) => resume_unwind(panic),
        }
        self.files.abandon();
        self.check_silence(&mut buffers)?;
        self.files.check_content().map_err(Divergence)
    }

    /// Nothing writes the buffers once the scope has been left.
    fn check_silence(&mut self, buffers: &mut [Vec<u8>]) -> Verdict {
        buffers.iter_mut().for_each(|buffer| buffer.fill(0x11));
        let quiet = buffers.iter().flatten().all(|&byte| byte == 0x11);
        let outstanding = self.context.in_flight();
        ensure(quiet && outstanding == 0, || {
            format!("after a scope: {outstanding} outstanding, buffers quiet: {quiet}")
        })
    }
}

impl<'b> Inside<'_, 'b> {
    fn run(&mut self, source: &mut Source<'_>, io: &Scope<Op<'b>>) -> Verdict {
        for _ in 0..300 {
            match source.below(24) {
                0..=11 => self.push(source, io)?,
                12 => {
                    io.submit().map_err(Errno::from).map_err(failed)?;
                }
                13..=15 => {
                    if let Some(done) = io.try_next().map_err(Errno::from).map_err(failed)? {
                        self.complete(done)?;
                    }
                }
                16..=18 => self.wait(source, io)?,
                19 | 20 => self.cancel(source, io)?,
                21 => self.files.wake().map_err(|error| Divergence(error.to_string()))?,
                22 if source.once_in(4) => std::panic::panic_any(Left),
                _ if source.once_in(4) || source.is_empty() => return Ok(()),
                _ => self.drain(io)?,
            }
            self.files.submitted(io.queued());
            self.check_counts(io)?;
        }
        Ok(())
    }

    fn check_counts(&self, io: &Scope<Op<'b>>) -> Verdict {
        let (queued, in_flight) = (io.queued(), io.in_flight());
        let (live, strays) = (self.files.live.len(), io.stats().stray_events);
        ensure(queued == self.files.pushed() && queued + in_flight <= live && strays == 0, || {
            format!("{queued} queued, {in_flight} in flight, {strays} strays; {live} operations")
        })
    }

    fn push(&mut self, source: &mut Source<'_>, io: &Scope<Op<'b>>) -> Verdict {
        let mut what = What::generate(source);
        if let What::Write(_, _, byte) = &mut what {
            *byte = *byte % 4 * 85;
        }
        let [file, readonly, reader] = self.fds;
        let op = match what {
            What::Read(len, at) => {
                let Some(buffer) = self.free.pop() else { return Ok(()) };
                let (buffer, rest) = buffer.split_at_mut(len);
                // The rest is not needed again in this scope.
                let _ = rest;
                buffer.fill(0xee);
                Any::Read(Read::new(file, buffer, at))
            }
            What::Write(len, at, byte) => {
                Any::Write(Write::new(file, &self.constant[byte as usize / 85][..len], at))
            }
            What::Forbidden => Any::Write(Write::new(readonly, &self.constant[0][..1], 0)),
            What::Sync if source.once_in(2) => Any::Fdsync(Fdsync::new(file)),
            What::Sync => Any::Fsync(Fsync::new(file)),
            What::Poll => Any::Poll(Poll::new(reader, Files::events())),
        };
        let full = self.files.live.len() == SLOTS;
        // A full list of pending operations is submitted first.
        let number = self.files.push(what);
        match io.push((op, number)) {
            Ok(token) => {
                self.pushed += 1;
                self.tokens.insert(number, token);
                ensure(!full, || "a push into a full scope was taken".into())
            }
            Err(refused) => {
                self.files.unpush(number);
                let whole = refused.op.1 == number && refused.errno() == Errno::EAGAIN;
                ensure(full && whole, || format!("a push was refused: {refused:?}"))
            }
        }
    }

    fn wait(&mut self, source: &mut Source<'_>, io: &Scope<Op<'b>>) -> Verdict {
        let ends = self.files.something_ends() && self.files.pushed() == 0;
        let done = if self.files.live.is_empty() || ends && source.once_in(2) {
            io.wait()
        } else {
            io.wait_timeout(Duration::from_micros(50))
        };
        self.files.submitted(io.queued());
        match done {
            Ok(Some(done)) => self.complete(done),
            Ok(None) => ensure(self.files.live.is_empty(), || "nothing to wait for?".into()),
            Err(error) if error.errno() == Errno::ETIMEDOUT && !self.files.live.is_empty() => {
                Ok(())
            }
            Err(error) => Err(failed(error.errno())),
        }
    }

    fn complete(&mut self, done: Completion<Op<'b>>) -> Verdict {
        let (op, number) = done.op;
        let bytes: &[u8] = match &op {
            Any::Read(op) => op.buf,
            _ => &[],
        };
        let what = self.files.complete(number, done.result, bytes).map_err(Divergence)?;
        let due = self.tokens.remove(&number);
        ensure(due == Some(done.token), || format!("{:?}, predicted {due:?}", done.token))?;
        let whole = match (&what, &op) {
            (What::Read(len, at), Any::Read(op)) => op.buf.len() == *len && op.offset == *at,
            (What::Write(len, at, _), Any::Write(op)) => op.buf.len() == *len && op.offset == *at,
            (What::Forbidden, Any::Write(_)) | (What::Poll, Any::Poll(_)) => true,
            (What::Sync, Any::Fsync(_) | Any::Fdsync(_)) => true,
            _ => false,
        };
        ensure(whole, || format!("{what:?} came back as {op:?}"))
    }

    fn cancel(&mut self, source: &mut Source<'_>, io: &Scope<Op<'b>>) -> Verdict {
        let mut numbers: Vec<u64> = self.tokens.keys().copied().collect();
        numbers.sort_unstable();
        if numbers.is_empty() {
            return Ok(());
        }
        let number = source.pick(&numbers);
        let outcome = io.cancel(self.tokens[&number]);
        let allowed: &[Result<(), Errno>] = match self.files.cancel(number) {
            true => &[Ok(()), Err(Errno::ENOENT)],
            false => &[Err(Errno::EINVAL), Err(Errno::ENOENT)],
        };
        ensure(allowed.contains(&outcome), || format!("cancelling gave {outcome:?}"))
    }

    /// Ends everything, and takes it.
    fn drain(&mut self, io: &Scope<Op<'b>>) -> Verdict {
        io.submit().map_err(Errno::from).map_err(failed)?;
        self.files.submitted(io.queued());
        self.files.wake().map_err(|error| Divergence(error.to_string()))?;
        while let Some(done) = io.wait().map_err(Errno::from).map_err(failed)? {
            self.complete(done)?;
        }
        self.files.calm();
        let left = &self.files.live;
        ensure(left.is_empty(), || format!("these never completed: {left:?}"))
    }
}
