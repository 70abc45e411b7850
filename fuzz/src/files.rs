//! What the targets `queue` and `scope` share: a model of one file, and what each operation on it
//! is to complete with.
//!
//! The file is a `memfd`, on which reads and writes are done inside of `io_submit`, in order: so
//! what a read must deliver is known when it is submitted.

use crate::input::Source;
use libc::{POLLIN, POLLRDNORM};
use linux_aio::{Errno, PollEvents};
use rustix::fs::{MemfdFlags, OFlags, memfd_create};
use rustix::pipe::{PipeFlags, pipe_with};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Bytes of the file at the start; it does not grow, since no write goes further.
pub const SIZE: usize = 20_000;
/// The longest read or write.
pub const LONGEST: usize = 6000;

/// What an operation does, in the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Reads so many bytes at an offset.
    Read(usize, u64),
    /// Writes so many bytes of this value at an offset.
    Write(usize, u64, u8),
    /// A write to a descriptor that is open for reading.
    Forbidden,
    /// FSYNC or FDSYNC.
    Sync,
    /// POLL for reading, at the pipe.
    Poll,
}

impl What {
    /// Some operation.
    pub fn generate(source: &mut Source<'_>) -> Self {
        let (len, at) = (source.below(LONGEST), source.below(SIZE + 1000) as u64);
        match source.below(12) {
            0..=2 => Self::Read(len, at),
            // Far behind the end, by more than 32 bits can say: there is nothing.
            3 => Self::Read(len, at | 1 << 32),
            4..=7 => {
                let at = at.min(SIZE as u64);
                Self::Write(len.min(SIZE - at as usize), at, source.byte())
            }
            8 => Self::Forbidden,
            9 => Self::Sync,
            _ => Self::Poll,
        }
    }
}

/// What is known of the end of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The kernel does not have it.
    Pushed,
    /// It completes with this, and a read with these bytes.
    Known(Result<u32, Errno>, Option<Vec<u8>>),
    /// A POLL that nothing has ended.
    Waits,
    /// A POLL that data has ended.
    Woken,
    /// A POLL that has been cancelled; perhaps after data had ended it.
    Cancelled,
}

/// The files and what is known of them and of the operations.
#[derive(Debug)]
pub struct Files {
    /// Open for reading and writing.
    pub file: OwnedFd,
    /// The same file, open for reading.
    pub readonly: OwnedFd,
    /// The end of a pipe that is polled.
    pub reader: OwnedFd,
    writer: OwnedFd,
    content: Vec<u8>,
    has_data: bool,
    next: u64,
    /// Pushed and not submitted, oldest first.
    pushed: VecDeque<u64>,
    /// All operations that have not come back, by number.
    pub live: HashMap<u64, (What, End)>,
}

impl Files {
    /// Opens them.
    pub fn new() -> io::Result<Self> {
        let file = memfd_create("linux-aio-fuzz", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&file, SIZE as u64)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let readonly = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        Ok(Self {
            file,
            readonly,
            reader,
            writer,
            content: vec![0; SIZE],
            has_data: false,
            next: 0,
            pushed: VecDeque::new(),
            live: HashMap::new(),
        })
    }

    /// Notes an operation that is pushed, and gives it a number.
    pub fn push(&mut self, what: What) -> u64 {
        self.next += 1;
        self.pushed.push_back(self.next);
        self.live.insert(self.next, (what, End::Pushed));
        self.next
    }

    /// The push did not happen.
    pub fn unpush(&mut self, number: u64) {
        self.pushed.retain(|&pushed| pushed != number);
        self.live.remove(&number);
    }

    /// How many are pushed and not submitted.
    pub fn pushed(&self) -> usize {
        self.pushed.len()
    }

    /// The kernel was given all but the last `left` of what was pushed.
    pub fn submitted(&mut self, left: usize) {
        while self.pushed.len() > left {
            let Some(number) = self.pushed.pop_front() else { return };
            let Some((what, _)) = self.live.get(&number) else { continue };
            let end = self.execute(&what.clone());
            if let Some((_, place)) = self.live.get_mut(&number) {
                *place = end;
            }
        }
    }

    fn execute(&mut self, what: &What) -> End {
        match *what {
            What::Read(len, at) => {
                let from = (at as usize).min(SIZE);
                let bytes = self.content[from..(from + len).min(SIZE)].to_vec();
                End::Known(Ok(bytes.len() as u32), Some(bytes))
            }
            What::Write(len, at, byte) => {
                self.content[at as usize..at as usize + len].fill(byte);
                End::Known(Ok(len as u32), None)
            }
            What::Forbidden => End::Known(Err(Errno::EBADF), None),
            What::Sync => End::Known(Ok(0), None),
            What::Poll if self.has_data => End::Known(Ok(POLLIN as u32), None),
            What::Poll => End::Waits,
        }
    }

    /// Ends what waits for the pipe.
    pub fn wake(&mut self) -> io::Result<()> {
        rustix::io::write(&self.writer, &[1])?;
        self.has_data = true;
        for (_, end) in self.live.values_mut() {
            if *end == End::Waits {
                *end = End::Woken;
            }
        }
        Ok(())
    }

    /// Empties the pipe, when nothing waits for it.
    pub fn calm(&mut self) {
        let mut bytes = [0; 512];
        while self.has_data && rustix::io::read(&self.reader, &mut bytes).is_ok() {}
        self.has_data = false;
    }

    /// Cancels in the model; `false` where the kernel cannot, which it then says.
    pub fn cancel(&mut self, number: u64) -> bool {
        let Some((what, end)) = self.live.get_mut(&number) else { return false };
        match end {
            End::Pushed => {
                *end = End::Known(Err(Errno::ECANCELED), None);
                self.pushed.retain(|&pushed| pushed != number);
            }
            End::Waits | End::Woken => *end = End::Cancelled,
            _ => return *what == What::Poll,
        }
        true
    }

    /// Whether something completes by itself.
    pub fn something_ends(&self) -> bool {
        self.live.values().any(|(_, end)| !matches!(end, End::Waits))
    }

    /// Takes note of a completion: what it was, or a report of what is wrong with it.
    pub fn complete(
        &mut self,
        number: u64,
        result: Result<u32, Errno>,
        bytes: &[u8],
    ) -> Result<What, String> {
        let Some((what, end)) = self.live.remove(&number) else {
            return Err(format!("operation {number} completed twice, or never was"));
        };
        const KEY: u32 = (POLLIN | POLLRDNORM) as u32;
        let ready = [Ok(POLLIN as u32), Ok(KEY)].contains(&result);
        let good = match &end {
            End::Known(due, content) => {
                let same = content.as_ref().is_none_or(|due| bytes[..due.len()] == due[..]);
                result == *due && same
            }
            End::Woken => ready,
            End::Cancelled => ready || result == Ok(0),
            End::Pushed | End::Waits => false,
        };
        if good { Ok(what) } else { Err(format!("{what:?} gave {result:?}, predicted {end:?}")) }
    }

    /// Nothing of what is live comes back: its owner is gone. What was submitted has happened.
    pub fn abandon(&mut self) {
        self.pushed.clear();
        self.live.clear();
        self.calm();
    }

    /// The events that POLLs here wait for.
    pub fn events() -> PollEvents {
        PollEvents::IN
    }

    /// Compares the file with the model.
    pub fn check_content(&self) -> Result<(), String> {
        let mut content = vec![0; SIZE + 1];
        let count = rustix::io::pread(&self.file, &mut content, 0).map_err(|e| e.to_string())?;
        if content[..count] == self.content[..] {
            return Ok(());
        }
        let at = (0..SIZE).find(|&at| content[at] != self.content[at]);
        Err(format!("the file differs from the model at {at:?}, its size is {count}"))
    }
}
