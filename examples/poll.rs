//! Waits for other things beside disk I/O, in one queue and one loop. The program reads a file
//! block by block, a thread ticks, and a line on standard input ends it early.
//!
//! A POLL operation completes, once, when a descriptor is ready. So one wait serves disks, pipes,
//! terminals, sockets and timers, and neither a second event loop nor a thread for each is needed.
//!
//! ```text
//! cargo run --release --example poll                  # reads its own executable
//! cargo run --release --example poll -- /dev/zero     # until Enter is pressed
//! ```
#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use linux_aio::op::{Poll, Read};
use linux_aio::{Errno, EventFd, Operation, PollEvents, Prepared, Queue, Token};
use std::env::{args_os, current_exe};
use std::fs::File;
use std::io::{Read as _, Stdin, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Names what the loop waits for: each has its own kind of file.
enum Job {
    Block(Read<Arc<File>, Vec<u8>>),
    Tick(Poll<Arc<EventFd>>),
    Line(Poll<Stdin>),
}

impl Operation for Job {
    fn prepare(&mut self) -> Prepared<'_> {
        match self {
            Self::Block(read) => read.prepare(),
            Self::Tick(poll) => poll.prepare(),
            Self::Line(poll) => poll.prepare(),
        }
    }
}

/// Reads the file until it ends or a line comes.
fn read_file(path: &Path) -> Result<()> {
    let file = Arc::new(File::open(path).with_context(|| path.display().to_string())?);
    ensure!(!file.metadata()?.is_dir(), "{} is a directory", path.display());
    let mut queue = Queue::with_capacity(3)?;
    queue.push(Job::Block(Read::new(file, vec![0; 64 << 10], 0)))?;
    let mut tick = queue.push(Job::Tick(Poll::new(start_ticking()?, PollEvents::IN)))?;
    let line = queue.push(Job::Line(Poll::new(stdin(), PollEvents::IN)))?;

    let mut bytes = 0;
    let reason = loop {
        let Some(done) = queue.wait()? else { break "there is nothing to wait for" };
        let result =
            done.result.with_context(|| format!("after {bytes} bytes of {}", path.display()))?;
        match done.op {
            Job::Block(_) if result == 0 => break "the file has ended",
            Job::Block(read) => {
                bytes += u64::from(result);
                queue.push(Job::Block(Read { offset: bytes, ..read }))?;
            }
            Job::Tick(poll) => {
                poll.fd.take()?;
                println!("tick: {bytes} bytes read");
                tick = queue.push(Job::Tick(poll))?;
            }
            Job::Line(_) if stdin().read(&mut [0; 64])? > 0 => break "a line has come",
            Job::Line(_) => println!("standard input has ended, and is not waited for any more"),
        }
    };
    println!("{bytes} bytes read: {reason}");
    stop_waiting(queue, [tick, line])
}

/// Cancels what has not completed, and takes the last completions. (To drop the queue would do the
/// same.)
fn stop_waiting(mut queue: Queue<Job>, polls: [Token; 2]) -> Result<()> {
    for poll in polls {
        match queue.cancel(poll) {
            // The errors: it has completed, and was taken or is about to come.
            Ok(()) | Err(Errno::ENOENT | Errno::EINVAL) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    while let Some(done) = queue.wait()? {
        match done.op {
            Job::Block(_) => {}
            Job::Tick(_) => println!("no longer waiting for a tick"),
            Job::Line(_) => println!("no longer waiting for a line"),
        }
    }
    Ok(())
}

/// Returns a counter that a thread adds to, ten times a second.
fn start_ticking() -> Result<Arc<EventFd>> {
    let ticks = Arc::new(EventFd::new()?);
    let counter = Arc::clone(&ticks);
    thread::spawn(move || {
        while counter.add(1).is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    });
    Ok(ticks)
}

fn main() -> ExitCode {
    let file = args_os().nth(1).map(PathBuf::from).map_or_else(current_exe, Ok);
    let Err(error) = file.map_err(Into::into).and_then(|file| read_file(&file)) else {
        return ExitCode::SUCCESS;
    };
    eprintln!("poll: {error:#}");
    ExitCode::FAILURE
}
