//! [`File`], what an open file wants and how it behaves.
//!
//! # What may be submitted to a user's file
//!
//! Reads only, and only where they end: regular files of file systems that hold data, block
//! devices, `/dev/null` and its like, and directories (which refuse). Most reads are of zero bytes.
//! A file with `O_DIRECT` also sees a few of one block. They have NOWAIT where the file takes it,
//! so that dirty pages of the same range are not written back for our sake.
//!
//! Nothing else is touched: not the file position, not the descriptor's flags. The access time may
//! change, as by any read.

use super::bench::{Bench, LARGEST_BLOCK, Outcome, Request};
use super::report::{Rows, when};
use super::{AtomicWrites, DirectIo, FileSystem, FlagSupport, Support, Tally, Unusable};
use core::fmt;
use linux_aio::fd::{AsFd, BorrowedFd};
use linux_aio::geometry::Geometry;
use linux_aio::{Errno, Opcode, RwFlags};
use rustix::fs::{FileType, OFlags, Stat};

/// Describes what an open file wants and how it behaves. From [`file()`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let file = linux_aio_probe::file(std::fs::File::open("Cargo.toml")?)?;
/// println!("{}, open for {}; O_DIRECT: {}", file.kind, file.access, file.direct_io);
/// println!("io_submit: {}", file.submit);
/// println!("{file}"); // all of it
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct File {
    /// The kind of the file.
    pub kind: FileKind,
    /// The access that it is open for.
    pub access: Access,
    /// True if it is open with `O_DIRECT`. Without it, all I/O is done inside `io_submit`.
    pub direct: bool,
    /// True if it is open with `O_NONBLOCK`.
    pub nonblocking: bool,
    /// True if it is open with `O_APPEND`: writes ignore their offset.
    pub append: bool,
    /// The size of a regular file, in bytes.
    pub size: Option<u64>,
    /// The logical block of a block device, in bytes.
    pub logical_block: Option<u32>,
    /// The file system, of a regular file or directory.
    pub file_system: Option<FileSystem>,
    /// The alignment that `O_DIRECT` asks for, even if the file is not open with it.
    pub direct_io: DirectIo,
    /// The sizes of atomic writes, where the file supports them.
    pub atomic_writes: Option<AtomicWrites>,
    /// Which per-operation flags this file takes for a read (ATOMIC: for a write). For writes,
    /// [`directory`](super::directory) tries them.
    pub flags: FlagSupport,
    /// The time for which `io_submit` keeps its caller.
    pub submit: Submit,
}

/// The kind of a file.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio_probe::FileKind;
///
/// let report = linux_aio_probe::file(std::fs::File::open("/dev/null")?)?;
/// assert_eq!(report.kind, FileKind::NullDevice);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A block device: a disk, a partition, a volume.
    BlockDevice,
    /// `/dev/null`, `/dev/zero` or `/dev/full`.
    NullDevice,
    /// A terminal.
    Terminal,
    /// Another character device.
    CharacterDevice,
    /// A pipe or FIFO.
    Pipe,
    /// A socket.
    Socket,
    /// A directory.
    Directory,
    /// A symbolic link itself (`O_PATH` with `O_NOFOLLOW`).
    SymbolicLink,
    /// An object without a place in the file system: eventfd, timerfd, epoll and others.
    Anonymous,
}

/// Names what a file is open for.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio_probe::Access;
///
/// let report = linux_aio_probe::file(std::fs::File::open("Cargo.toml")?)?;
/// assert_eq!(report.access, Access::Read);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Access {
    /// Reading (`O_RDONLY`).
    Read,
    /// Writing (`O_WRONLY`).
    Write,
    /// Reading and writing (`O_RDWR`).
    ReadWrite,
    /// Neither: it only names a file (`O_PATH`).
    Neither,
}

/// Says how long `io_submit` keeps its caller.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio_probe::Submit;
///
/// match linux_aio_probe::file(std::fs::File::open("Cargo.toml")?)?.submit {
///     Submit::DoesTheWork => println!("open it with O_DIRECT"),
///     Submit::Measured(tally) => println!("asynchronous: {:?}", tally.is_asynchronous()),
///     other => println!("{other}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Submit {
    /// Perhaps for ever: until somebody sends or takes data. Nothing was submitted to find this
    /// out; the kind of the file says it.
    MayNeverReturn,
    /// Not at all: the file is open with `O_NONBLOCK`, and gives `EAGAIN` instead.
    NeverWaits,
    /// For the whole operation, since the file is not open with `O_DIRECT`.
    DoesTheWork,
    /// Shown by these reads of one block each, with NOWAIT where the file takes it. Those that
    /// would wait ([`Tally::would_wait`]) often do so because the file was written a moment ago:
    /// its pages in memory are written back before a read through `O_DIRECT`.
    Measured(Tally),
    /// The file takes no reads or writes.
    Refused(Errno),
    /// It was not tried.
    Untried(Untried),
}

/// Says why nothing was tried on a file.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio_probe::{Submit, Untried};
///
/// let file = std::fs::File::options().write(true).open("/dev/null")?;
/// match linux_aio_probe::file(&file)?.submit {
///     Submit::Untried(Untried::NotReadable) => println!("open it for reading, too"),
///     other => println!("{other}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Untried {
    /// AIO cannot be used here.
    NoAio(Unusable),
    /// It is not open for reading, and writes are never tried on a user's file.
    NotReadable,
    /// It is empty.
    Empty,
    /// It is an interface of the kernel (`/proc`, `/sys` and the like): a read may have effects.
    Interface,
    /// The kernel does not say what file system it is on (`fstatfs(2)` is refused), so it may be an
    /// interface of the kernel.
    UnknownFileSystem,
    /// It is a device of which this crate knows nothing: a read may wait or have effects.
    Device,
    /// Its blocks are larger than 64 KiB, as none were when this was written.
    LargeBlocks,
}

/// Asks what an open file wants and how it behaves, without changing it.
///
/// Nothing is written, extended or evicted; the descriptor is neither duplicated nor changed.
/// Nothing at all is submitted where `io_submit` might not return. Where the file is open with
/// `O_DIRECT`, eight reads of one block show whether they are asynchronous.
///
/// # Errors
/// - `EBADF`: no open file has the number, which is possible if `fd` came from outside of Rust.
/// - `EIO`, `ESTALE`: `fstat(2)` failed, on a file system that has lost its disk or server.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio_probe::Submit;
///
/// let (one_end, _other_end) = std::os::unix::net::UnixStream::pair()?;
/// let socket = linux_aio_probe::file(&one_end)?;
/// assert_eq!(socket.submit, Submit::MayNeverReturn);
/// println!("{socket}");
/// # Ok(()) }
/// ```
pub fn file(fd: impl AsFd) -> Result<File, Errno> {
    let fd = fd.as_fd();
    let stat = rustix::fs::fstat(fd)?;
    let flags = rustix::fs::fcntl_getfl(fd)?;
    let kind = FileKind::of(fd, &stat);
    let reported = Geometry::of(fd);
    let in_file_system = matches!(kind, FileKind::Regular | FileKind::Directory);
    let mut file = File {
        kind,
        access: Access::of(flags),
        direct: flags.contains(OFlags::DIRECT),
        nonblocking: flags.contains(OFlags::NONBLOCK),
        append: flags.contains(OFlags::APPEND),
        size: (kind == FileKind::Regular).then_some(stat.st_size as u64),
        logical_block: reported.logical_block,
        file_system: if in_file_system { FileSystem::of(fd).ok() } else { None },
        direct_io: reported.direct_io,
        atomic_writes: reported.atomic_writes,
        flags: FlagSupport::all(Support::Unknown),
        submit: Submit::MayNeverReturn,
    };
    file.submit = file.submit_by_kind().unwrap_or_else(|| file.try_reads(fd));
    Ok(file)
}

impl File {
    fn holds_data(&self) -> bool {
        let interface = self.file_system.is_some_and(FileSystem::is_interface);
        matches!(self.kind, FileKind::Regular | FileKind::BlockDevice) && !interface
    }

    /// Returns what the kind of the file alone says, or `None` if reads may be tried.
    fn submit_by_kind(&self) -> Option<Submit> {
        if self.access == Access::Neither {
            return Some(Submit::Refused(Errno::EBADF));
        }
        match self.kind {
            FileKind::Pipe | FileKind::Socket | FileKind::Terminal | FileKind::Anonymous => {
                let waits = Submit::MayNeverReturn;
                Some(if self.nonblocking { Submit::NeverWaits } else { waits })
            }
            FileKind::CharacterDevice => Some(Submit::Untried(Untried::Device)),
            FileKind::SymbolicLink => Some(Submit::Refused(Errno::EBADF)),
            FileKind::Regular => match self.file_system {
                None => Some(Submit::Untried(Untried::UnknownFileSystem)),
                Some(known) => known.is_interface().then_some(Submit::Untried(Untried::Interface)),
            },
            FileKind::Directory | FileKind::BlockDevice | FileKind::NullDevice => None,
        }
    }

    /// Tries the flags, and reads if that says something.
    fn try_reads(&mut self, fd: BorrowedFd<'_>) -> Submit {
        let mut bench = match Bench::new() {
            Ok(bench) => bench,
            Err(error) => return Submit::Untried(Untried::NoAio(error)),
        };
        if let Outcome::Refused(errno) = bench.run(fd, Request::empty(Opcode::PREAD)) {
            if self.access != Access::Write || errno != Errno::EBADF {
                return Submit::Refused(errno);
            }
        }
        self.flags = self.flags_of_reads(&mut bench, fd);
        if !self.direct {
            return Submit::DoesTheWork;
        }
        if self.access == Access::Write {
            return Submit::Untried(Untried::NotReadable);
        }
        if self.size == Some(0) {
            return Submit::Untried(Untried::Empty);
        }
        self.measure_reads(&mut bench, fd)
    }

    fn flags_of_reads(&self, bench: &mut Bench, fd: BorrowedFd<'_>) -> FlagSupport {
        let write_only = self.access == Access::Write;
        let mut flags = FlagSupport::ask(|flags| {
            let request = Request { flags, ..Request::empty(Opcode::PREAD) };
            match bench.run(fd, request).support() {
                // The kernel looks at the flags first, then at what the file is open for.
                Support::Refused(Errno::EBADF) if write_only => Support::Accepted,
                other => other,
            }
        });
        // Never right for a read. Of a write, `statx` has said it.
        flags.amend(RwFlags::ATOMIC, |for_a_read| match for_a_read {
            Support::Refused(_) if self.atomic_writes.is_some() => Support::Accepted,
            other => other,
        });
        flags
    }

    fn measure_reads(&self, bench: &mut Bench, fd: BorrowedFd<'_>) -> Submit {
        const READS: u32 = 8;
        let block = self.direct_io.offset().max(4096);
        if block > LARGEST_BLOCK {
            return Submit::Untried(Untried::LargeBlocks);
        }
        // Of a block device, the first block again and again: its size is not known here.
        let blocks = self.size.map_or(1, |size| size.div_ceil(block as u64));
        let nowait = self.flags.of(RwFlags::NOWAIT).is_accepted();
        let flags = if nowait { RwFlags::NOWAIT } else { RwFlags::empty() };
        Submit::Measured(Tally::of(READS, |n| {
            let offset = u64::from(n) % blocks * block as u64;
            let request = Request { len: block, offset, flags, ..Request::empty(Opcode::PREAD) };
            bench.run(fd, request)
        }))
    }
}

impl FileKind {
    fn of(fd: BorrowedFd<'_>, stat: &Stat) -> Self {
        match FileType::from_raw_mode(stat.st_mode as _) {
            FileType::RegularFile => Self::Regular,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Directory => Self::Directory,
            FileType::Fifo => Self::Pipe,
            FileType::Socket => Self::Socket,
            FileType::Symlink => Self::SymbolicLink,
            FileType::CharacterDevice if is_null_device(stat) => Self::NullDevice,
            FileType::CharacterDevice if rustix::termios::isatty(fd) => Self::Terminal,
            FileType::CharacterDevice => Self::CharacterDevice,
            FileType::Unknown => Self::Anonymous,
        }
    }
}

/// Returns whether the file is one of the memory devices that read and write nothing
/// (`Documentation/admin-guide/devices.txt`).
fn is_null_device(stat: &Stat) -> bool {
    const MEMORY: u32 = 1;
    let number = stat.st_rdev as _;
    rustix::fs::major(number) == MEMORY && matches!(rustix::fs::minor(number), 3 | 5 | 7)
}

impl Access {
    fn of(flags: OFlags) -> Self {
        if flags.contains(OFlags::PATH) {
            return Self::Neither;
        }
        match flags & OFlags::RWMODE {
            OFlags::RDONLY => Self::Read,
            OFlags::WRONLY => Self::Write,
            OFlags::RDWR => Self::ReadWrite,
            _ => Self::Neither,
        }
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Rows::new(f);
        rows.row("kind", Description(self))?;
        let opened = [
            when(self.direct, ", O_DIRECT"),
            when(self.nonblocking, ", O_NONBLOCK"),
            when(self.append, ", O_APPEND"),
        ];
        rows.row("open for", format_args!("{}{}", self.access, opened.concat()))?;
        if self.holds_data() {
            rows.row("O_DIRECT", self.direct_io)?;
            match self.atomic_writes {
                Some(atomic_writes) => rows.row("atomic writes", atomic_writes)?,
                None => rows.row("atomic writes", "none")?,
            }
        }
        if self.flags != FlagSupport::all(Support::Unknown) {
            rows.row("flags of reads", self.flags)?;
        }
        rows.row("io_submit", self.submit)
    }
}

/// `regular file of 4096 bytes on xfs`.
struct Description<'a>(&'a File);

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.kind.fmt(f)?;
        if let Some(size) = self.0.size {
            write!(f, " of {size} bytes")?;
        }
        if let Some(block) = self.0.logical_block {
            write!(f, " with blocks of {block} bytes")?;
        }
        match self.0.file_system {
            Some(file_system) => write!(f, " on {file_system}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Regular => "regular file",
            Self::BlockDevice => "block device",
            Self::NullDevice => "null device",
            Self::Terminal => "terminal",
            Self::CharacterDevice => "character device",
            Self::Pipe => "pipe",
            Self::Socket => "socket",
            Self::Directory => "directory",
            Self::SymbolicLink => "symbolic link",
            Self::Anonymous => "object without a name (eventfd, timerfd, epoll and the like)",
        })
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "reading",
            Self::Write => "writing",
            Self::ReadWrite => "reading and writing",
            Self::Neither => "neither reading nor writing",
        })
    }
}

impl fmt::Display for Submit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MayNeverReturn => f.write_str(
                "MAY NEVER RETURN: a read waits in it for data, a write for room; set O_NONBLOCK, \
                 or submit a POLL first",
            ),
            Self::NeverWaits => f.write_str("gives EAGAIN instead of waiting (O_NONBLOCK)"),
            Self::DoesTheWork => f.write_str(
                "does all the work before it returns, as for any file not open with O_DIRECT",
            ),
            Self::Measured(tally) if tally.would_wait > 0 => {
                write!(f, "reads: {tally}, for instance until pages in memory are written back")
            }
            Self::Measured(tally) => write!(f, "reads: {tally}"),
            Self::Refused(errno) => write!(f, "takes no reads or writes: {errno}"),
            Self::Untried(reason) => write!(f, "not tried: {reason}"),
        }
    }
}

impl fmt::Display for Untried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAio(error) => error.fmt(f),
            Self::NotReadable => f.write_str(
                "the file is not open for reading, and writes are not tried on it; a directory of \
                 the same file system can be probed instead",
            ),
            Self::Empty => f.write_str("the file is empty"),
            Self::Interface => {
                f.write_str("the file is an interface of the kernel, where reads may have effects")
            }
            Self::UnknownFileSystem => f.write_str(
                "fstatfs is refused, so the file may be an interface of the kernel, where reads \
                 may have effects: allow fstatfs in the seccomp profile",
            ),
            Self::Device => f.write_str("a read of this device may wait or have effects"),
            Self::LargeBlocks => f.write_str("its blocks are larger than 64 KiB"),
        }
    }
}
