//! [`Open`], the descriptors of a file, and what is known of it.

use super::call;
use super::sides::Sides;
use crate::geometry::{Alignment, DirectIo, Geometry};
use crate::{AlignedBuf, Errno};
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::AtomicBool;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::OFlags;
#[cfg(any(feature = "futures-io", feature = "tokio"))]
use rustix::fs::SeekFrom;
use std::fs::OpenOptions as StdOptions;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};

/// Says whether a file is opened with `O_DIRECT`. From
/// [`OpenOptions::direct`](super::OpenOptions::direct).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Direct, Driver, File};
///
/// let driver = Driver::on_thread(32)?;
/// pollster::block_on(async {
///     let options = File::options().read(true).direct(Direct::Never);
///     let file = options.open(&driver, "Cargo.toml").await?;
///     assert!(!file.is_direct());
///     file.close().await
/// })?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Direct {
    /// Opens the file with `O_DIRECT`, or fails.
    Require,
    /// Opens the file with `O_DIRECT` if it supports that.
    #[default]
    Prefer,
    /// Uses the page cache.
    Never,
}

/// Says how a [`File`](super::File) does its reads and writes. From
/// [`File::direct`](super::File::direct).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Driver, File};
///
/// let driver = Driver::on_thread(32)?;
/// pollster::block_on(async {
///     let file = File::open(&driver, "Cargo.toml").await?;
///     println!("around the page cache: {}", file.direct());
///     file.close().await
/// })?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectState {
    /// Around the page cache, in multiples of this alignment.
    #[non_exhaustive]
    Direct {
        /// The alignment that the file asks for.
        alignment: Alignment,
        /// The errno if no second descriptor, without `O_DIRECT`, was to be had. Unaligned writes
        /// are then done by reading and writing whole blocks. For a block device it is
        /// `EOPNOTSUPP`.
        without_second: Option<Errno>,
    },
    /// Through the page cache, since the program has asked for no `O_DIRECT`.
    NotAskedFor,
    /// Through the page cache, since the file refused `O_DIRECT` with this errno.
    Refused(Errno),
    /// Through the page cache: the file accepts `O_DIRECT`, but says that it does not support it.
    Unsupported,
    /// In memory, where there is no disk.
    InMemory,
    /// One operation at a time: a pipe, a socket or a character device.
    Stream,
}

impl fmt::Display for DirectState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct { alignment, without_second: None } => write!(f, "direct, {alignment}"),
            Self::Direct { alignment, without_second: Some(errno) } => {
                write!(f, "direct, {alignment}; no second descriptor: {errno}")
            }
            Self::NotAskedFor => f.write_str("page cache: O_DIRECT was not asked for"),
            Self::Refused(errno) => write!(f, "page cache: O_DIRECT was refused: {errno}"),
            Self::Unsupported => f.write_str("page cache: the file does not support O_DIRECT"),
            Self::InMemory => f.write_str("page cache: the file system is in memory"),
            Self::Stream => f.write_str("no file of a file system, and no block device"),
        }
    }
}

/// The descriptors of a file, and what is known of it.
#[derive(Debug)]
pub(super) struct Open {
    /// With `O_DIRECT` if the state is direct.
    pub(super) main: std::fs::File,
    /// The same file without `O_DIRECT`, for what is not aligned.
    pub(super) second: Option<std::fs::File>,
    pub(super) state: DirectState,
    /// The unit in which the page cache and `O_DIRECT` are kept apart: no page is written both
    /// ways.
    pub(super) unit: u64,
    pub(super) appends: bool,
    pub(super) is_block_device: bool,
    /// Reads with `RWF_NOWAIT` are refused.
    pub(super) nowait_refused: AtomicBool,
    pub(super) sides: Arc<Sides>,
}

impl Open {
    /// Finds out about a file that others may have descriptors of. Opens it a second time if it is
    /// to be direct and is not, or the other way round.
    pub(super) fn of_std(file: std::fs::File, direct: Direct) -> io::Result<Self> {
        let open = Self::with_or_switched(file, direct, false)?;
        if direct != Direct::Never || !matches!(open.state, DirectState::Direct { .. }) {
            return Ok(open);
        }
        let through = reopen(&open.main, OFlags::empty()).map_err(|errno| {
            let text = alloc::format!("a second descriptor, without O_DIRECT: {errno}");
            io::Error::new(io::ErrorKind::Unsupported, text)
        })?;
        Self::as_it_is(through)
    }

    /// Finds out about a file that was opened without `O_DIRECT`, and opens it with it a second
    /// time.
    pub(super) fn with(file: std::fs::File, direct: Direct) -> io::Result<Self> {
        Self::with_or_switched(file, direct, true)
    }

    fn with_or_switched(file: std::fs::File, direct: Direct, may_switch: bool) -> io::Result<Self> {
        let open = Self::as_it_is(file)?;
        let refusal = match (open.state, direct) {
            (DirectState::NotAskedFor, Direct::Never) => return Ok(open),
            (DirectState::NotAskedFor, _) => match reopen(&open.main, OFlags::DIRECT) {
                Ok(main) => {
                    let second = Some(open.main);
                    let direct_open = Self::direct(main, second, None)?;
                    if matches!(direct_open.state, DirectState::Direct { .. }) {
                        return Ok(direct_open);
                    }
                    if direct == Direct::Require {
                        return Err(required(direct_open.state));
                    }
                    return Ok(direct_open.through_the_page_cache());
                }
                Err(Errno::EINVAL) => DirectState::Refused(Errno::EINVAL),
                Err(Errno::EOPNOTSUPP) => DirectState::Refused(Errno::EOPNOTSUPP),
                Err(why) if !may_switch => DirectState::Refused(why),
                // No /proc, or the rights have changed: this descriptor can be switched.
                Err(why) => {
                    let flags = call::flags(&open.main)?;
                    match call::set_flags(&open.main, flags | OFlags::DIRECT) {
                        Ok(()) => return Self::direct(open.main, None, Some(why)),
                        Err(errno) => DirectState::Refused(errno),
                    }
                }
            },
            (DirectState::Direct { .. }, _) => return Ok(open),
            (state, Direct::Require) => return Err(required(state)),
            (_, _) => return Ok(open),
        };
        if direct == Direct::Require {
            return Err(required(refusal));
        }
        Ok(Self { state: refusal, ..open })
    }

    /// Finds out about a file. It has `O_DIRECT` if it is open with it.
    pub(super) fn as_it_is(file: std::fs::File) -> io::Result<Self> {
        let kind = file.metadata()?.file_type();
        let flags = call::flags(&file)?;
        let is_block_device = kind.is_block_device();
        let state = if kind.is_file() || kind.is_dir() || is_block_device {
            DirectState::NotAskedFor
        } else if can_wait_without_end(&file, flags)? {
            return Err(waits_without_end());
        } else {
            DirectState::Stream
        };
        if state != DirectState::Stream && !kind.is_dir() && flags.contains(OFlags::DIRECT) {
            return match reopen(&file, OFlags::empty()) {
                Ok(second) => Self::direct(file, Some(second), None),
                Err(why) => Self::direct(file, None, Some(why)),
            };
        }
        let in_memory = kind.is_file() && is_in_memory(&file);
        Ok(Self {
            main: file,
            second: None,
            state: if in_memory { DirectState::InMemory } else { state },
            unit: 1,
            appends: flags.contains(OFlags::APPEND),
            is_block_device,
            nowait_refused: AtomicBool::new(false),
            sides: Sides::new(),
        })
    }

    fn direct(
        main: std::fs::File,
        second: Option<std::fs::File>,
        without_second: Option<Errno>,
    ) -> io::Result<Self> {
        let alignment = match Geometry::of(&main).direct_io {
            DirectIo::Aligned(alignment) => Some(alignment),
            DirectIo::Unsupported => None,
            DirectIo::Unreported => Some(alignment_by_reading(&main)?),
        };
        let is_block_device = main.metadata()?.file_type().is_block_device();
        // The kernel drops pages of a device before an asynchronous write, not after it. Whoever
        // reads the device meanwhile leaves old bytes in the page cache, and a head or tail that
        // is put into such a page would bring its neighbours back to the disk.
        let (second, without_second) = match second {
            Some(_) if is_block_device && alignment.is_some() => (None, Some(Errno::EOPNOTSUPP)),
            second => (second, without_second),
        };
        let state = match alignment {
            Some(alignment) => DirectState::Direct { alignment, without_second },
            None => DirectState::Unsupported,
        };
        Ok(Self {
            unit: alignment
                .map_or(1, |alignment| u64::from(alignment.offset))
                .max(cached_unit(&main)),
            appends: call::flags(&main)?.contains(OFlags::APPEND),
            is_block_device,
            main,
            second,
            state,
            nowait_refused: AtomicBool::new(false),
            sides: Sides::new(),
        })
    }

    /// Drops the descriptor with `O_DIRECT`.
    fn through_the_page_cache(self) -> Self {
        let Some(main) = self.second else { return self };
        Self { main, second: None, ..self }
    }

    pub(super) fn alignment(&self) -> Option<Alignment> {
        match self.state {
            DirectState::Direct { alignment, .. } => Some(alignment),
            _ => None,
        }
    }

    /// Returns the unit of writes with `O_DIRECT`: a smaller part goes another way.
    pub(super) fn direct_unit(&self) -> u64 {
        match self.alignment() {
            // Without a second descriptor there is no page cache to keep apart.
            Some(alignment) if self.second.is_none() => u64::from(alignment.offset),
            _ => self.unit,
        }
    }

    /// Returns the offset at which the file or the device ends.
    #[cfg(any(feature = "futures-io", feature = "tokio"))]
    pub(super) fn end(&self) -> io::Result<u64> {
        if self.is_block_device {
            // A descriptor of its own, since the position of this one is the user's.
            let again = reopen(&self.main, OFlags::empty())?;
            return Ok(rustix::fs::seek(again, SeekFrom::End(0))?);
        }
        let metadata = self.main.metadata()?;
        if metadata.is_file() {
            return Ok(metadata.len());
        }
        Err(io::Error::new(io::ErrorKind::Unsupported, "it is no file that has an end"))
    }

    /// Returns the descriptor to use: with `O_DIRECT`, or without where there is such a one.
    pub(super) fn descriptor(&self, direct: bool) -> &std::fs::File {
        if direct { &self.main } else { self.second.as_ref().unwrap_or(&self.main) }
    }
}

impl AsFd for Open {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.main.as_fd()
    }
}

pub(super) fn waits_without_end() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "a read of this file could block io_submit without end: set O_NONBLOCK, and POLL",
    )
}

fn required(state: DirectState) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, alloc::format!("O_DIRECT is required. {state}"))
}

/// Opens a file a second time, in the same direction, with or without `O_DIRECT`.
fn reopen(file: &std::fs::File, direct: OFlags) -> Result<std::fs::File, Errno> {
    let flags = call::flags(file)?;
    let kept = OFlags::APPEND | OFlags::DSYNC | OFlags::SYNC | OFlags::NOATIME;
    let (read, write) = match flags & OFlags::ACCMODE {
        OFlags::RDWR => (true, true),
        OFlags::WRONLY => (false, true),
        _ => (true, false),
    };
    let mut options = StdOptions::new();
    options.read(read).write(write).custom_flags(((flags & kept) | direct).bits() as i32);
    let flags = flags & (kept | OFlags::ACCMODE) | direct;
    let of_io = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::EINVAL);
    let again = call::reopen(file, &options, flags).map_err(of_io)?;
    if call::is_simulated(file) {
        // Each descriptor of a simulation has an inode of its own.
        return Ok(again);
    }
    let (one, other) = (file.metadata().map_err(of_io)?, again.metadata().map_err(of_io)?);
    let same = (one.dev(), one.ino(), one.rdev()) == (other.dev(), other.ino(), other.rdev());
    if same { Ok(again) } else { Err(Errno::ENOENT) }
}

/// Finds the alignment where the kernel does not say it: the smallest that a read is done with. If
/// the file cannot tell, since it is empty or not readable, it is the file system's block and a
/// page, which are multiples of every alignment.
fn alignment_by_reading(file: &std::fs::File) -> io::Result<Alignment> {
    let (metadata, page) = (file.metadata()?, page() as usize);
    let largest = page.max(usize::try_from(metadata.blksize()).unwrap_or(page)).next_power_of_two();
    let whole = Alignment::new(page as u32, largest as u32);
    if !metadata.file_type().is_file() {
        return Ok(whole);
    }
    let mut buf = AlignedBuf::with_alignment(largest * 2, largest)?;
    let mut align = 512;
    // A read at an odd multiple, of just as much.
    let offset = loop {
        if align >= largest || metadata.len() <= align as u64 {
            break largest;
        }
        match rustix::io::pread(file, &mut buf[..align], align as u64) {
            Ok(count) if count > 0 => break align,
            Err(rustix::io::Errno::INVAL) => align *= 2,
            _ => break largest,
        }
    };
    if offset == largest {
        return Ok(whole);
    }
    // The same read, to an address that is an odd multiple.
    let mut address = 512;
    while address < page {
        let to = &mut buf[address..][..offset];
        match rustix::io::pread(file, to, offset as u64) {
            Ok(_) => break,
            Err(_) => address *= 2,
        }
    }
    Ok(Alignment::new(address as u32, offset as u32))
}

/// Returns what the page cache has in one piece at least: a page, or a block of the file system. If
/// one piece is written in both ways at once, the kernel cannot drop it from the page cache after
/// the direct write. It reports `EIO` at the next sync then.
fn cached_unit(file: &std::fs::File) -> u64 {
    /// No file system of Linux has a larger one. What network file systems call so is the size of
    /// a request.
    const LARGEST_BLOCK: u64 = 64 << 10;
    if call::is_simulated(file) {
        return page();
    }
    let block = rustix::fs::fstatfs(file).map_or(0, |stat| stat.f_bsize as u64);
    let is_block = block.is_power_of_two() && block <= LARGEST_BLOCK;
    if is_block { page().max(block) } else { page() }
}

/// Returns whether a file system has no disk, and so takes `O_DIRECT` without having it.
fn is_in_memory(file: &std::fs::File) -> bool {
    // `TMPFS_MAGIC`, `RAMFS_MAGIC`, `HUGETLBFS_MAGIC` of `linux/magic.h`.
    const KINDS: [u64; 3] = [0x0102_1994, 0x8584_58f6, 0x9584_58f6];
    !call::is_simulated(file)
        && rustix::fs::fstatfs(file)
            .is_ok_and(|stat| KINDS.contains(&(stat.f_type as u64 & 0xffff_ffff)))
}

/// Returns whether a read or write may wait for somebody else: where the file can be polled, as
/// opposed to disks and memory, and is not set to return instead.
fn can_wait_without_end(file: &std::fs::File, flags: OFlags) -> io::Result<bool> {
    if flags.contains(OFlags::NONBLOCK) {
        return Ok(false);
    }
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    match epoll::add(&epoll, file, EventData::new_u64(0), EventFlags::IN) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::PERM) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn page() -> u64 {
    rustix::param::page_size() as u64
}
