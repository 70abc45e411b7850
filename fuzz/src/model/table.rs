//! [`Table`]: the descriptors that operations may name, and [`State`]: what the model knows of
//! them.

use super::{FlagFacts, Pipe};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::path::Path;

/// What a descriptor names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file, by its number in [`State::files`].
    Regular {
        /// Which file.
        file: usize,
        /// Opened with `O_APPEND`.
        append: bool,
        /// Opened with `O_DIRECT`.
        direct: bool,
    },
    /// A directory.
    Directory,
    /// Nothing that I/O can be done with: closed, negative, or opened with `O_PATH`.
    NotOpen,
    /// The end of a pipe that is read, by its number in [`State::pipes`].
    PipeReader(usize),
    /// The end of a pipe that is written.
    PipeWriter(usize),
    /// A stream socket; what its reads and writes give, but for none of no bytes.
    Socket {
        /// `None`: the end of the stream.
        read: Option<i32>,
        /// Always an error.
        write: i32,
    },
    /// An eventfd, by its number in [`State::counters`].
    EventFd(usize),
    /// `/dev/null`.
    Null,
    /// `/dev/zero`.
    Zero,
    /// `/dev/full`.
    Full,
}

/// A number that operations may name.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// For reports.
    pub name: &'static str,
    /// The number.
    pub number: i32,
    /// What it names.
    pub kind: Kind,
    /// Opened for reading.
    pub readable: bool,
    /// Opened for writing.
    pub writable: bool,
    /// What it says to flags.
    pub flags: FlagFacts,
    /// What `poll(2)` says of it, where that does not change.
    pub poll: u32,
}

/// What the model knows of a regular file.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// Open for reading and writing, for the table's own use.
    number: i32,
    /// In bytes, now.
    pub size: u64,
    /// In bytes, when an input begins.
    first_size: u64,
    /// The largest offset that the file system has, which `lseek(2)` says.
    pub max_size: u64,
    /// What a buffered write with `RWF_NOWAIT` gives on this file system, whatever its length.
    pub nowait_write: Option<i32>,
    /// For `O_DIRECT`: what addresses and what offsets must be multiples of (`statx(2)`).
    pub alignment: (usize, usize),
    /// Sealed against writes.
    pub sealed: bool,
}

/// What the model knows and operations change.
#[derive(Clone, Debug)]
pub struct State {
    /// Regular files.
    pub files: Vec<File>,
    /// Pipes.
    pub pipes: Vec<Pipe>,
    /// Counters of eventfds.
    pub counters: Vec<u64>,
}

/// The descriptors, open until the process ends, and their state.
#[derive(Debug)]
pub struct Table {
    /// All that operations may name.
    pub descriptors: Vec<Descriptor>,
    /// The eventfd for `IOCB_FLAG_RESFD`, which no operation reads.
    pub signalled: i32,
    /// What the model knows.
    pub state: State,
    drained: i32,
    counted: i32,
}

/// In [`State::pipes`]: the one with both ends in the table.
const LIVE_PIPE: usize = 0;
/// In [`State::counters`]: the one that is not zero at the start.
const COUNTED: usize = 1;
/// What it is at the start.
const COUNT: u64 = 5;
/// Bytes of the files at the start; not a multiple of anything.
const ODD_SIZE: u64 = 10_007;
/// Bytes of the file for `O_DIRECT`.
const DIRECT_SIZE: u64 = 64 << 10;

fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// The largest offset that `lseek(2)` takes.
fn max_size(fd: i32) -> u64 {
    let (mut good, mut bad) = (0u64, 1u64 << 63);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        // SAFETY: The call touches no memory.
        let moved = unsafe { libc::lseek(fd, middle as i64, libc::SEEK_SET) };
        if moved < 0 {
            bad = middle;
        } else {
            good = middle;
        }
    }
    good
}

/// What a write of one byte with `RWF_NOWAIT` gives: an errno that says "never", or nothing.
fn nowait_write(fd: i32) -> Option<i32> {
    let byte = 0u8;
    let vector = libc::iovec { iov_base: (&raw const byte).cast_mut().cast(), iov_len: 1 };
    // SAFETY: `vector` names one byte, and both live during the call.
    let put = unsafe { libc::pwritev2(fd, &raw const vector, 1, 0, libc::RWF_NOWAIT) };
    (put < 0).then(last_errno).filter(|&errno| errno != libc::EAGAIN)
}

fn poll_mask(fd: i32) -> u32 {
    let mut asked = libc::pollfd { fd, events: !0, revents: 0 };
    // SAFETY: One entry, which lives during the call.
    unsafe { libc::poll(&raw mut asked, 1, 0) };
    asked.revents as u16 as u32
}

impl File {
    fn new(number: i32, size: u64) -> Self {
        Self {
            number,
            size,
            first_size: size,
            max_size: max_size(number),
            nowait_write: nowait_write(number),
            alignment: (1, 1),
            sealed: false,
        }
    }

    /// Whether the bytes lie where the file had blocks from the start.
    pub fn is_solid(&self, at: u64, len: usize) -> bool {
        at.checked_add(len as u64).is_some_and(|end| end <= self.first_size)
    }

    /// Looks at the file for its size, where what was asked left it open.
    pub fn measure(&mut self) {
        // SAFETY: The call touches no memory.
        let size = unsafe { libc::lseek(self.number, 0, libc::SEEK_END) };
        assert!(size >= 0, "lseek: {}", io::Error::last_os_error());
        self.size = size as u64;
    }

    fn restore(&mut self) {
        if self.size == self.first_size {
            return;
        }
        // SAFETY: The call touches no memory.
        let cut = unsafe { libc::ftruncate(self.number, self.first_size as i64) };
        assert_eq!(cut, 0, "ftruncate: {}", io::Error::last_os_error());
        self.size = self.first_size;
    }
}

/// Puts descriptors together.
struct Builder {
    descriptors: Vec<Descriptor>,
    state: State,
}

impl Builder {
    fn add(&mut self, name: &'static str, fd: OwnedFd, kind: Kind, flags: FlagFacts) -> i32 {
        let number = fd.into_raw_fd();
        // SAFETY: The call touches no memory.
        let mode = unsafe { libc::fcntl(number, libc::F_GETFL) } & libc::O_ACCMODE;
        let (readable, writable) = (mode != libc::O_WRONLY, mode != libc::O_RDONLY);
        let poll = poll_mask(number);
        let descriptor = Descriptor { name, number, kind, readable, writable, flags, poll };
        self.descriptors.push(descriptor);
        number
    }

    fn file(&mut self, number: i32, size: u64) -> (usize, FlagFacts) {
        self.state.files.push(File::new(number, size));
        (self.state.files.len() - 1, FlagFacts::measure(number, 0))
    }

    fn pipe(&mut self, name: [&'static str; 2], change: fn(Pipe) -> Pipe) -> io::Result<[i32; 2]> {
        let (reader, writer) = rustix::pipe::pipe_with(
            rustix::pipe::PipeFlags::NONBLOCK | rustix::pipe::PipeFlags::CLOEXEC,
        )?;
        let capacity = rustix::pipe::fcntl_getpipe_size(&reader)?;
        let flags = FlagFacts::measure(reader.as_raw_fd(), -1);
        let pipe = self.state.pipes.len();
        self.state.pipes.push(change(Pipe::new(capacity, crate::memory::page())));
        let ends = [
            self.add(name[0], reader, Kind::PipeReader(pipe), flags),
            self.add(name[1], writer, Kind::PipeWriter(pipe), flags),
        ];
        Ok(ends)
    }

    /// Takes one descriptor out again and closes it, or keeps it open beside the table.
    fn hide(&mut self, number: i32, close: bool) {
        self.descriptors.retain(|descriptor| descriptor.number != number);
        if close {
            // SAFETY: The number is the builder's own, and nobody uses it from now on.
            unsafe { libc::close(number) };
        }
    }

    fn refresh_polls(&mut self) {
        for descriptor in &mut self.descriptors {
            descriptor.poll = poll_mask(descriptor.number);
        }
    }

    fn regular_files(&mut self, directory: &Path) -> io::Result<()> {
        let path = directory.join(format!("linux-aio-fuzz.{}", std::process::id()));
        let all = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        (&all).write_all(&vec![0; ODD_SIZE as usize])?;
        let (file, flags) = self.file(all.as_raw_fd(), ODD_SIZE);
        let kind = |append| Kind::Regular { file, append, direct: false };
        let open = |options: &mut OpenOptions| options.open(&path).map(OwnedFd::from);
        let reading = open(OpenOptions::new().read(true))?;
        let writing = open(OpenOptions::new().write(true))?;
        let appending = open(OpenOptions::new().read(true).append(true))?;
        std::fs::remove_file(&path)?;
        self.add("file", all.into(), kind(false), flags);
        self.add("file, read-only", reading, kind(false), flags);
        self.add("file, write-only", writing, kind(false), flags);
        self.add("file, O_APPEND", appending, kind(true), flags);
        Ok(())
    }

    fn direct_file(&mut self, directory: &Path) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = directory.join(format!("linux-aio-fuzz-direct.{}", std::process::id()));
        let plain = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        (&plain).write_all(&vec![0; DIRECT_SIZE as usize])?;
        plain.sync_all()?;
        let (file, _) = self.file(plain.as_raw_fd(), DIRECT_SIZE);
        let direct = |write| {
            OpenOptions::new().read(true).write(write).custom_flags(libc::O_DIRECT).open(&path)
        };
        let opened = direct(true).and_then(|both| Ok([both, direct(false)?]));
        std::fs::remove_file(&path)?;
        std::mem::forget(plain);
        // A file system without O_DIRECT: then the table has no such descriptors.
        let Ok([both, reading]) = opened else { return Ok(()) };
        self.state.files[file].alignment = direct_alignment(&both)?;
        let flags = FlagFacts::measure(both.as_raw_fd(), 0);
        let kind = Kind::Regular { file, append: false, direct: true };
        self.add("file, O_DIRECT", both.into(), kind, flags);
        self.add("file, O_DIRECT, read-only", reading.into(), kind, flags);
        Ok(())
    }

    fn memory_files(&mut self) -> io::Result<()> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        for (name, sealed) in [("memfd", false), ("memfd, sealed", true)] {
            let fd = rustix::fs::memfd_create("linux-aio-fuzz", flags)?;
            rustix::fs::ftruncate(&fd, ODD_SIZE)?;
            let (file, facts) = self.file(fd.as_raw_fd(), ODD_SIZE);
            if sealed {
                rustix::fs::fcntl_add_seals(&fd, SealFlags::WRITE)?;
                self.state.files[file].sealed = true;
            }
            self.add(name, fd, Kind::Regular { file, append: false, direct: false }, facts);
        }
        Ok(())
    }

    fn directory(&mut self, directory: &Path) -> io::Result<()> {
        let open = |flags| rustix::fs::open(directory, flags | OFlags::CLOEXEC, Mode::empty());
        let flags = FlagFacts::default();
        let listed = open(OFlags::RDONLY | OFlags::DIRECTORY)?;
        // Refused before flags are looked at, so `preadv2` cannot say; NOWAIT is a matter of the
        // file system's open and is left out of the domain for it.
        self.add("directory", listed, Kind::Directory, flags);
        self.add("O_PATH", open(OFlags::PATH)?, Kind::NotOpen, flags);
        Ok(())
    }

    fn pipes(&mut self) -> io::Result<i32> {
        let [drained, _] = self.pipe(["pipe, reader", "pipe, writer"], |pipe| pipe)?;
        let [_, writer] = self.pipe(["pipe without writer", ""], Pipe::without_writer)?;
        self.hide(writer, true);
        let [reader, _] = self.pipe(["", "pipe without reader"], Pipe::without_reader)?;
        self.hide(reader, true);
        let [reader, writer] = self.pipe(["", "full pipe, writer"], Pipe::full)?;
        let pages = vec![0u8; crate::memory::page()];
        // SAFETY: The buffer lives during the call.
        while unsafe { libc::write(writer, pages.as_ptr().cast(), pages.len()) } > 0 {}
        self.hide(reader, false);
        let [_, writer] = self.pipe(["empty pipe, reader", ""], |pipe| pipe)?;
        self.hide(writer, false);
        Ok(drained)
    }

    fn sockets(&mut self) -> io::Result<()> {
        use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair};
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let pair = || socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let facts = FlagFacts { nowait: true, dontcache: false };

        let (silent, peer) = pair()?;
        std::mem::forget(peer);
        shutdown(&silent, Shutdown::Write)?;
        let kind = Kind::Socket { read: Some(libc::EAGAIN), write: libc::EPIPE };
        self.add("socket, shut down for writing", silent, kind, facts);

        let (deserted, peer) = pair()?;
        drop(peer);
        let kind = Kind::Socket { read: None, write: libc::EPIPE };
        self.add("socket without peer", deserted, kind, facts);

        let (full, peer) = pair()?;
        std::mem::forget(peer);
        while rustix::io::write(&full, &[0]).is_ok() {}
        let kind = Kind::Socket { read: Some(libc::EAGAIN), write: libc::EAGAIN };
        self.add("full socket", full, kind, facts);
        Ok(())
    }

    fn counters(&mut self) -> io::Result<[i32; 2]> {
        use rustix::event::{EventfdFlags, eventfd};
        let new = || eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
        let (zero, counted) = (new()?, new()?);
        let facts = FlagFacts::measure(zero.as_raw_fd(), -1);
        self.add("eventfd at zero", zero, Kind::EventFd(0), facts);
        let counted = self.add("eventfd", counted, Kind::EventFd(COUNTED), facts);
        self.state.counters = vec![0, 0];
        Ok([counted, new()?.into_raw_fd()])
    }

    fn devices(&mut self) -> io::Result<()> {
        let devices =
            [("/dev/null", Kind::Null), ("/dev/zero", Kind::Zero), ("/dev/full", Kind::Full)];
        for (path, kind) in devices {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            let facts = FlagFacts::measure(file.as_raw_fd(), 0);
            self.add(path, file.into(), kind, facts);
        }
        Ok(())
    }

    fn closed(&mut self) {
        for (name, number) in [("closed", 19_999), ("-1", -1), ("i32::MAX", i32::MAX)] {
            let (kind, flags) = (Kind::NotOpen, FlagFacts::default());
            let (readable, writable) = (false, false);
            let poll = 0;
            let descriptor = Descriptor { name, number, kind, readable, writable, flags, poll };
            self.descriptors.push(descriptor);
        }
    }
}

/// What `O_DIRECT` wants of addresses and of offsets.
fn direct_alignment(file: &std::fs::File) -> io::Result<(usize, usize)> {
    // SAFETY: All of it is integers, for which zero is a value.
    let mut seen: libc::statx = unsafe { std::mem::zeroed() };
    let (path, mask) = (c"", libc::STATX_DIOALIGN);
    let flags = libc::AT_EMPTY_PATH;
    // SAFETY: `path` and `seen` live during the call.
    let done = unsafe { libc::statx(file.as_raw_fd(), path.as_ptr(), flags, mask, &raw mut seen) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    if seen.stx_mask & mask == 0 || seen.stx_dio_mem_align == 0 {
        return Ok((1, 1));
    }
    Ok((seen.stx_dio_mem_align as usize, seen.stx_dio_offset_align as usize))
}

impl Table {
    /// Opens everything; regular files in `directory`.
    pub fn new(directory: &Path) -> io::Result<Self> {
        let state = State { files: Vec::new(), pipes: Vec::new(), counters: Vec::new() };
        let mut builder = Builder { descriptors: Vec::new(), state };
        builder.regular_files(directory)?;
        builder.direct_file(directory)?;
        builder.memory_files()?;
        builder.directory(directory)?;
        let drained = builder.pipes()?;
        builder.sockets()?;
        let [counted, signalled] = builder.counters()?;
        builder.devices()?;
        builder.closed();
        builder.refresh_polls();
        let Builder { descriptors, state } = builder;
        Ok(Self { descriptors, signalled, state, drained, counted })
    }

    /// The descriptor of that number.
    pub fn find(&self, number: u32) -> Option<&Descriptor> {
        self.descriptors.iter().find(|descriptor| descriptor.number as u32 == number)
    }

    /// Puts everything back to how an input finds it. Nothing may be in flight.
    pub fn restore(&mut self) {
        self.state.files.iter_mut().for_each(File::restore);
        if !self.state.pipes[LIVE_PIPE].is_empty() {
            let mut bytes = [0u8; 4096];
            // SAFETY: The buffer lives during the call.
            while unsafe { libc::read(self.drained, bytes.as_mut_ptr().cast(), bytes.len()) } > 0 {}
            self.state.pipes[LIVE_PIPE].drain();
        }
        if self.state.counters[COUNTED] != COUNT {
            self.add_to_counter(COUNT - self.state.counters[COUNTED]);
            self.state.counters[COUNTED] = COUNT;
        }
    }

    fn add_to_counter(&self, count: u64) {
        // SAFETY: The number lives during the call.
        let put = unsafe { libc::write(self.counted, (&raw const count).cast(), 8) };
        assert_eq!(put, 8, "eventfd: {}", io::Error::last_os_error());
    }
}
