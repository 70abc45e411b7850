//! [`Directory`], how writes behave on a file system.
//!
//! All is tried on two temporary files, one with `O_DIRECT` and one without, which have no name
//! (`O_TMPFILE`) or lose it at once. Less than a megabyte is written.

use super::bench::{Bench, LARGEST_BLOCK, Request};
use super::report::Rows;
use super::{AtomicWrites, DirectIo, FileSystem, FlagSupport, Support, Tally, Unusable};
use alloc::format;
use core::fmt;
use linux_aio::fd::{AsFd, BorrowedFd, OwnedFd};
use linux_aio::geometry::Geometry;
use linux_aio::{Errno, Opcode, RwFlags};
use rustix::fs::{AtFlags, Mode, OFlags};

/// Describes how writes behave on the file system of a directory. From [`directory`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let directory = linux_aio_probe::directory(std::fs::File::open(std::env::temp_dir())?)?;
/// println!("buffered overwriting: {}", directory.buffered.overwriting);
/// println!("{directory}"); // all of it
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Directory {
    /// The file system.
    pub file_system: Option<FileSystem>,
    /// The kind of the temporary files.
    pub temporary_file: TemporaryFile,
    /// The alignment that `O_DIRECT` asks for, as the kernel says it.
    pub direct_io: DirectIo,
    /// The smallest multiple of a buffer's address with which a read through `O_DIRECT` was seen to
    /// work. Where this is less than the kernel says, the file system copies, or reads through the
    /// page cache.
    pub memory_found: Option<u32>,
    /// The smallest multiple of offset and length with which a read through `O_DIRECT` was seen to
    /// work.
    pub offset_found: Option<u32>,
    /// The sizes of atomic writes, where they are supported.
    pub atomic_writes: Option<AtomicWrites>,
    /// Through `O_DIRECT`; the error is that of opening a file with it.
    pub direct: Result<Writes, Errno>,
    /// Through the page cache.
    pub buffered: Writes,
}

/// Counts what became of writes to a temporary file.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let directory = std::fs::File::open(std::env::temp_dir())?;
/// let report = linux_aio_probe::directory(&directory)?;
/// if let Ok(writes) = report.direct {
///     println!("extending: {}; overwriting: {}", writes.extending, writes.overwriting);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Writes {
    /// Writes that make the file longer, of a block each.
    pub extending: Tally,
    /// Writes over the same blocks.
    pub overwriting: Tally,
    /// The same writes with NOWAIT. `would_wait` counts those for which `io_submit` would have
    /// waited.
    pub extending_nowait: Tally,
    /// The same overwriting writes with NOWAIT.
    pub overwriting_nowait: Tally,
    /// The outcome of a write with each flag. Of NOWAIT, [`Support::Accepted`] also where it gave
    /// `EAGAIN`; of APPEND, only where the data was appended.
    pub flags: FlagSupport,
    /// The outcome of FSYNC.
    pub fsync: Support,
    /// The outcome of FDSYNC.
    pub fdsync: Support,
}

/// Names the kind of a temporary file.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio_probe::TemporaryFile;
///
/// let report = linux_aio_probe::directory(std::fs::File::open(std::env::temp_dir())?)?;
/// if report.temporary_file == TemporaryFile::Unlinked {
///     println!("this file system has no O_TMPFILE");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TemporaryFile {
    /// One that never had a name (`O_TMPFILE`).
    Unnamed,
    /// One whose name, `.linux-aio-probe-` and a number, was removed at once, since the file
    /// system has no `O_TMPFILE`.
    Unlinked,
}

/// Says why a directory could not be probed. Its text names the cause and the cure.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio_probe::DirectoryError;
///
/// match linux_aio_probe::directory(std::fs::File::open("Cargo.toml")?) {
///     Err(DirectoryError::TemporaryFile(errno)) => println!("no directory: {errno}"),
///     other => println!("{other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectoryError {
    /// AIO cannot be used here.
    NoAio(Unusable),
    /// No temporary file could be made there.
    TemporaryFile(Errno),
}

/// Measures how writes behave on the file system of a directory, on temporary files there.
///
/// The directory is left as it was, but for its modification time where the file system has no
/// `O_TMPFILE`. Writes are subject to `RLIMIT_FSIZE`, whose signal ends the process, as for any
/// write; less than a megabyte is written.
///
/// # Errors
/// [`DirectoryError`]: it is no directory, not writable, or full; or AIO is not there.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let report = linux_aio_probe::directory(std::fs::File::open(std::env::temp_dir())?)?;
/// match report.direct {
///     Ok(writes) => println!("overwriting through O_DIRECT: {}", writes.overwriting),
///     Err(errno) => println!("no O_DIRECT here: {errno}"),
/// }
/// # Ok(()) }
/// ```
pub fn directory(dir: impl AsFd) -> Result<Directory, DirectoryError> {
    let dir = dir.as_fd();
    let (file, temporary_file) = temporary(dir).map_err(DirectoryError::TemporaryFile)?;
    let mut bench = Bench::new().map_err(DirectoryError::NoAio)?;
    let reported = Geometry::of(&file);
    let mut directory = Directory {
        file_system: FileSystem::of(file.as_fd()).ok(),
        temporary_file,
        direct_io: reported.direct_io,
        memory_found: None,
        offset_found: None,
        atomic_writes: reported.atomic_writes,
        direct: Err(Errno::EINVAL),
        buffered: Writes::measure(&mut bench, file.as_fd(), &reported),
    };
    drop(file);
    directory.try_direct(&mut bench, dir, &reported);
    Ok(directory)
}

impl Directory {
    fn try_direct(&mut self, bench: &mut Bench, dir: BorrowedFd<'_>, reported: &Geometry) {
        let file = match temporary_as(self.temporary_file, dir, OFlags::DIRECT) {
            Ok(file) => file,
            Err(errno) => return self.direct = Err(errno),
        };
        let file = file.as_fd();
        self.direct = Ok(Writes::measure(bench, file, reported));
        self.offset_found = smallest(
            LARGEST_BLOCK,
            |align| Request { len: align, offset: align as u64, ..Request::empty(Opcode::PREAD) },
            bench,
            file,
        );
        let len = block_of(reported);
        self.memory_found = smallest(
            4096,
            |align| Request { start: align, len, ..Request::empty(Opcode::PREAD) },
            bench,
            file,
        );
    }
}

/// Returns the smallest power of two up to `largest` whose request is done.
fn smallest(
    largest: usize,
    request: impl Fn(usize) -> Request,
    bench: &mut Bench,
    file: BorrowedFd<'_>,
) -> Option<u32> {
    let powers = (0..=largest.ilog2()).map(|bits| 1 << bits);
    powers
        .into_iter()
        .find(|&align| matches!(bench.run(file, request(align as usize)).result(), Some(Ok(_))))
}

/// Returns the size of one write of a measurement: the unit of `O_DIRECT`, or 4096 bytes if that is
/// more.
fn block_of(reported: &Geometry) -> usize {
    reported.direct_io.offset().clamp(4096, LARGEST_BLOCK)
}

impl Writes {
    fn measure(bench: &mut Bench, file: BorrowedFd<'_>, reported: &Geometry) -> Self {
        const WRITES: u32 = 4;
        let len = block_of(reported);
        let mut write = |block: u32, flags| {
            let offset = u64::from(block) * len as u64;
            bench.run(file, Request { len, offset, flags, ..Request::empty(Opcode::PWRITE) })
        };
        let (none, nowait) = (RwFlags::empty(), RwFlags::NOWAIT);
        let extending = Tally::of(WRITES, |n| write(n, none));
        let overwriting = Tally::of(WRITES, |n| write(n, none));
        let overwriting_nowait = Tally::of(WRITES, |n| write(n, nowait));
        let extending_nowait = Tally::of(WRITES, |n| write(WRITES + n, nowait));
        Self {
            extending,
            overwriting,
            extending_nowait,
            overwriting_nowait,
            flags: flags_of_writes(bench, file, reported),
            fsync: bench.run(file, Request::empty(Opcode::FSYNC)).support(),
            fdsync: bench.run(file, Request::empty(Opcode::FDSYNC)).support(),
        }
    }
}

/// Writes the first block again with each flag; with ATOMIC, as many bytes as that needs.
fn flags_of_writes(bench: &mut Bench, file: BorrowedFd<'_>, reported: &Geometry) -> FlagSupport {
    let block = block_of(reported);
    let smallest_atomic = reported.atomic_writes.map_or(block, |atomic| atomic.unit_min as usize);
    FlagSupport::ask(|flags| {
        let len = if flags == RwFlags::ATOMIC { smallest_atomic.min(LARGEST_BLOCK) } else { block };
        let before = size_of(file);
        let request = Request { len, flags, ..Request::empty(Opcode::PWRITE) };
        match bench.run(file, request).support() {
            Support::Accepted if flags == RwFlags::APPEND && size_of(file) == before => {
                Support::Ignored
            }
            Support::Refused(Errno::EAGAIN) if flags == RwFlags::NOWAIT => Support::Accepted,
            other => other,
        }
    })
}

fn size_of(file: BorrowedFd<'_>) -> Option<u64> {
    rustix::fs::fstat(file).ok().map(|stat| stat.st_size as u64)
}

/// Makes a buffered file that is gone when it is closed, and returns how it was made.
fn temporary(dir: BorrowedFd<'_>) -> Result<(OwnedFd, TemporaryFile), Errno> {
    match temporary_as(TemporaryFile::Unnamed, dir, OFlags::empty()) {
        Ok(file) => Ok((file, TemporaryFile::Unnamed)),
        // This file system or kernel (before 3.11) has none, or the directory has been removed,
        // which the other way says more clearly.
        Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL | Errno::ENOENT | Errno::EPERM) => {
            let file = temporary_as(TemporaryFile::Unlinked, dir, OFlags::empty())?;
            Ok((file, TemporaryFile::Unlinked))
        }
        Err(errno) => Err(errno),
    }
}

/// Makes a file that is gone when it is closed, with `flags`.
fn temporary_as(kind: TemporaryFile, dir: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
    const MODE: Mode = Mode::RUSR.union(Mode::WUSR);
    const NAMES: u32 = 1000;
    let flags = flags | OFlags::RDWR | OFlags::CLOEXEC;
    if kind == TemporaryFile::Unnamed {
        return Ok(rustix::fs::openat(dir, c".", flags | OFlags::TMPFILE, MODE)?);
    }
    // The first name that nobody has. The file is made without the flags: one that is refused
    // because of O_DIRECT would have been made all the same.
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let mut names = (0..NAMES).map(|number| format!(".linux-aio-probe-{number}"));
    loop {
        let name = names.next().ok_or(rustix::io::Errno::EXIST)?;
        match rustix::fs::openat(dir, name.as_str(), create, MODE) {
            Ok(_) => {}
            Err(rustix::io::Errno::EXIST) => continue,
            Err(errno) => return Err(errno.into()),
        }
        let opened = rustix::fs::openat(dir, name.as_str(), flags, MODE);
        rustix::fs::unlinkat(dir, name.as_str(), AtFlags::empty())?;
        return Ok(opened?);
    }
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoAio(error) => error.fmt(f),
            Self::TemporaryFile(errno) => {
                write!(f, "no temporary file can be made there: {errno:?}{}", cure(errno))
            }
        }
    }
}

fn cure(errno: Errno) -> &'static str {
    match errno {
        Errno::EROFS => "; name a directory that can be written, where the data shall be",
        Errno::EACCES => "; the process needs permission to write and search the directory",
        Errno::ENOSPC | Errno::EDQUOT => "; free some space first",
        Errno::ENOENT => "; the directory is gone, or its file system takes no new files",
        Errno::EPERM => "; it is immutable (chattr -i), or a security module forbids it",
        Errno::ENOTDIR => "; this is not a directory: name one",
        _ => "",
    }
}

impl DirectoryError {
    /// Returns the errno: that of [`Unusable`], or of the call that makes a file.
    ///
    /// ```
    /// use linux_aio::Errno;
    /// use linux_aio_probe::DirectoryError;
    ///
    /// let error = DirectoryError::TemporaryFile(Errno::EROFS);
    /// assert_eq!(error.errno(), Errno::EROFS);
    /// ```
    pub fn errno(&self) -> Errno {
        match *self {
            Self::NoAio(error) => error.errno(),
            Self::TemporaryFile(errno) => errno,
        }
    }
}

impl core::error::Error for DirectoryError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            // The text is that of the error.
            Self::NoAio(error) => error.source(),
            Self::TemporaryFile(errno) => Some(errno),
        }
    }
}

impl From<DirectoryError> for Errno {
    fn from(error: DirectoryError) -> Self {
        error.errno()
    }
}

#[cfg(feature = "std")]
impl From<DirectoryError> for std::io::Error {
    fn from(error: DirectoryError) -> Self {
        Self::new(Self::from(error.errno()).kind(), error)
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Rows::new(f);
        match self.file_system {
            Some(file_system) => rows.row("file system", file_system)?,
            None => rows.row("file system", "unknown")?,
        }
        rows.row("temporary file", self.temporary_file)?;
        rows.row("O_DIRECT", self.direct_io)?;
        if let (Some(memory), Some(offset)) = (self.memory_found, self.offset_found) {
            let found = format!(
                "reads work with buffers at multiples of {memory}, offsets and lengths multiples \
                 of {offset}"
            );
            rows.row("", found)?;
        }
        match self.atomic_writes {
            Some(atomic_writes) => rows.row("atomic writes", atomic_writes)?,
            None => rows.row("atomic writes", "none")?,
        }
        match &self.direct {
            Ok(writes) => writes.rows(&mut rows, "with O_DIRECT")?,
            Err(errno) => rows.row("with O_DIRECT", format_args!("refused: {errno}"))?,
        }
        self.buffered.rows(&mut rows, "buffered")
    }
}

impl Writes {
    fn rows(&self, rows: &mut Rows<'_, '_>, title: &str) -> fmt::Result {
        rows.row(title, format_args!("extending writes: {}", self.extending))?;
        rows.row("", format_args!("overwriting: {}", self.overwriting))?;
        if self.flags.of(RwFlags::NOWAIT).is_accepted() {
            rows.row("", format_args!("extending with NOWAIT: {}", self.extending_nowait))?;
            rows.row("", format_args!("overwriting with NOWAIT: {}", self.overwriting_nowait))?;
        }
        rows.row("", format_args!("flags: {}", self.flags))?;
        rows.row("", format_args!("FSYNC {}, FDSYNC {}", self.fsync, self.fdsync))
    }
}

impl fmt::Display for TemporaryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unnamed => "without a name (O_TMPFILE)",
            Self::Unlinked => "unlinked at once (the file system has no O_TMPFILE)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{TemporaryFile, temporary_as};
    use linux_aio::fd::AsFd;
    use rustix::fs::OFlags;
    use std::vec::Vec;

    fn names(dir: &std::path::Path) -> Vec<std::ffi::OsString> {
        let entries = std::fs::read_dir(dir).expect("a directory");
        entries.map(|entry| entry.expect("an entry").file_name()).collect()
    }

    /// Goal: where there is no O_TMPFILE, no name stays behind, whether or not O_DIRECT is refused,
    /// and a file of somebody else's is not touched. Method: the first two names are taken.
    #[test]
    fn a_temporary_file_with_a_name_loses_it_at_once() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let taken = [".linux-aio-probe-0", ".linux-aio-probe-1"];
        for name in taken {
            std::fs::write(scratch.path().join(name), name).expect("a file");
        }
        let dir = std::fs::File::open(scratch.path()).expect("a directory");
        for flags in [OFlags::empty(), OFlags::DIRECT, OFlags::DIRECTORY] {
            let file = temporary_as(TemporaryFile::Unlinked, dir.as_fd(), flags);
            assert_eq!(file.is_err(), flags == OFlags::DIRECTORY, "{flags:?}: {file:?}");
            let mut left = names(scratch.path());
            left.sort();
            assert_eq!(left, taken);
        }
        for name in taken {
            let content = std::fs::read_to_string(scratch.path().join(name));
            assert_eq!(content.expect("a file"), name);
        }
    }
}
