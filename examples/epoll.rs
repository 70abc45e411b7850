//! Waits for a disk and for a timer in one call of `epoll`: a queue in an event loop of one's own.
//!
//! The queue has one descriptor, which is readable while there are completions. So it joins any
//! loop that waits for descriptors: epoll, mio, glib, the loop of a virtual machine monitor.
//!
//! ```text
//! cargo run --release --example epoll                  # reads its own executable
//! cargo run --release --example epoll -- /dev/zero     # until it is interrupted
//! ```
#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use linux_aio::Queue;
use linux_aio::op::Read;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::env::{args_os, current_exe};
use std::fs::File;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Sets how many reads are in flight.
const DEPTH: u32 = 8;
/// Sets how many bytes each reads.
const BLOCK: usize = 64 << 10;

/// Tells the events of the loop apart.
const DISK: u64 = 0;
const TIMER: u64 = 1;

/// Reads a file block by block.
struct Reader {
    queue: Queue<Read<Arc<File>, Vec<u8>>>,
    /// Holds the offset of the next block.
    next: u64,
    /// The bytes that were read.
    bytes: u64,
    at_end: bool,
}

impl Reader {
    /// Starts the first reads.
    fn start(path: &Path) -> Result<Self> {
        let file = Arc::new(File::open(path).with_context(|| path.display().to_string())?);
        ensure!(!file.metadata()?.is_dir(), "{} is a directory", path.display());
        let mut reader =
            Self { queue: Queue::with_capacity(DEPTH)?, next: 0, bytes: 0, at_end: false };
        // Before the first submit, so that every operation makes the descriptor readable.
        reader.queue.completion_fd()?;
        for _ in 0..DEPTH {
            let read = Read::new(Arc::clone(&file), vec![0; BLOCK], reader.next);
            reader.next += BLOCK as u64;
            reader.queue.push(read)?;
        }
        reader.queue.submit()?;
        Ok(reader)
    }

    /// Takes every completion that is there, and reads on.
    fn continue_reading(&mut self) -> Result<()> {
        while let Some(done) = self.queue.try_next()? {
            let count = done.result.with_context(|| format!("after {} bytes", self.bytes))?;
            let mut read = done.op;
            self.bytes += u64::from(count);
            if count == 0 {
                self.at_end = true;
            } else if (count as usize) < read.buf.len() {
                // The rest of the block, if there is more.
                read.offset += u64::from(count);
                read.buf.truncate(read.buf.len() - count as usize);
                self.queue.push(read)?;
            } else if !self.at_end {
                read.offset = self.next;
                read.buf.resize(BLOCK, 0);
                self.next += BLOCK as u64;
                self.queue.push(read)?;
            }
        }
        self.queue.submit()?;
        Ok(())
    }

    fn is_finished(&self) -> bool {
        self.queue.in_flight() + self.queue.queued() == 0
    }
}

/// Returns a timer that is readable ten times a second.
fn start_ticking() -> Result<OwnedFd> {
    let tenth = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    let repeated = Itimerspec { it_interval: tenth, it_value: tenth };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &repeated)?;
    Ok(timer)
}

/// Runs the event loop.
fn read_file(path: &Path) -> Result<()> {
    let mut reader = Reader::start(path)?;
    let timer = start_ticking()?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let disk = reader.queue.completion_fd()?;
    epoll::add(&epoll, disk, EventData::new_u64(DISK), EventFlags::IN)?;
    epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
    while !reader.is_finished() {
        let mut events = [MaybeUninit::uninit(); 2];
        let (events, _) = epoll::wait(&epoll, &mut events, None)?;
        for event in events {
            match event.data.u64() {
                DISK => reader.continue_reading()?,
                _ => {
                    rustix::io::read(&timer, &mut [0; 8])?;
                    println!("tick: {} bytes read", reader.bytes);
                }
            }
        }
    }
    println!("{} bytes read", reader.bytes);
    Ok(())
}

fn main() -> ExitCode {
    let file = args_os().nth(1).map_or_else(current_exe, |path| Ok(PathBuf::from(path)));
    let Err(error) = file.map_err(Into::into).and_then(|file| read_file(&file)) else {
        return ExitCode::SUCCESS;
    };
    eprintln!("epoll: {error:#}");
    ExitCode::FAILURE
}
