//! [`Geometry`], what `statx(2)` says of a file: the alignment of `O_DIRECT`, and the sizes of
//! atomic writes.
//!
//! It asks the file alone. Whether I/O on it works, and is asynchronous, `linux-aio-probe` tries.

use crate::fd::{AsFd, BorrowedFd};
use core::fmt;
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags};

/// Says what `O_DIRECT` asks of an operation on a file.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::geometry::{DirectIo, Geometry};
///
/// let direct = Geometry::of(std::fs::File::open("Cargo.toml")?).direct_io;
/// match direct {
///     DirectIo::Unsupported => println!("open it without O_DIRECT"),
///     _ => println!("offsets and lengths: multiples of {}", direct.offset()),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DirectIo {
    /// The multiples that addresses, lengths and offsets must be.
    Aligned(Alignment),
    /// The file has no `O_DIRECT`.
    Unsupported,
    /// The kernel (before 6.1) or the file system does not say.
    Unreported,
}

/// The multiples of which addresses, lengths and offsets must be, in bytes.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::geometry::Geometry;
///
/// let geometry = Geometry::of(std::fs::File::open("Cargo.toml")?);
/// if let Some(alignment) = geometry.direct_io.alignment() {
///     println!("buffers: {}, offsets: {}", alignment.memory, alignment.offset);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Alignment {
    /// The address of a buffer.
    pub memory: u32,
    /// The offset in the file, and the length of each buffer.
    pub offset: u32,
    /// The same for reads, if they are served in smaller steps than writes.
    pub read_offset: u32,
}

impl Alignment {
    #[cfg(feature = "std")]
    pub(crate) fn new(memory: u32, offset: u32) -> Self {
        Self { memory, offset, read_offset: offset }
    }
}

/// Serves nearly every file whose file system does not say: a page, the usual block.
const UNREPORTED: usize = 4096;

impl DirectIo {
    /// Returns the multiple that the address of a buffer should be. It is what the kernel says, or
    /// 4096 if the kernel does not say. Pass it to
    /// [`AlignedBuf::with_alignment`](crate::AlignedBuf::with_alignment).
    pub fn memory(self) -> usize {
        self.alignment().map_or(UNREPORTED, |alignment| alignment.memory as usize)
    }

    /// Returns the multiple that offsets and lengths should be. It is what the kernel says, or 4096
    /// if the kernel does not say.
    pub fn offset(self) -> usize {
        self.alignment().map_or(UNREPORTED, |alignment| alignment.offset as usize)
    }

    /// Returns the numbers that the kernel gave.
    pub fn alignment(self) -> Option<Alignment> {
        match self {
            Self::Aligned(alignment) => Some(alignment),
            Self::Unsupported | Self::Unreported => None,
        }
    }

    fn from_statx(statx: &Statx) -> Self {
        if !StatxFlags::from_bits_retain(statx.stx_mask).contains(StatxFlags::DIOALIGN) {
            return Self::Unreported;
        }
        let (memory, offset) = (statx.stx_dio_mem_align, statx.stx_dio_offset_align);
        if !memory.is_power_of_two() || !offset.is_power_of_two() {
            return Self::Unsupported;
        }
        // Zero where it is the same, and where the kernel does not know the field.
        let read_offset = Some(statx.stx_dio_read_offset_align).filter(|&align| align != 0);
        Self::Aligned(Alignment { memory, offset, read_offset: read_offset.unwrap_or(offset) })
    }

    /// Returns the rule of every block device: the logical block is the unit.
    fn of_block_device(block: u32) -> Self {
        Self::Aligned(Alignment { memory: block, offset: block, read_offset: block })
    }
}

impl fmt::Display for DirectIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aligned(alignment) => alignment.fmt(f),
            Self::Unsupported => f.write_str("not supported by this file"),
            Self::Unreported => f.write_str(
                "alignment not reported (before Linux 6.1, or the file system does not say): use \
                 multiples of 4096",
            ),
        }
    }
}

impl fmt::Display for Alignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory, offset, read_offset } = *self;
        write!(f, "buffers at multiples of {memory}, offsets and lengths multiples of {offset}")?;
        if read_offset != offset {
            write!(f, " (reads: of {read_offset})")?;
        }
        f.write_str(" bytes")
    }
}

/// The sizes that a write with [`ATOMIC`](crate::RwFlags::ATOMIC) may have. Since Linux 6.11.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::geometry::Geometry;
///
/// let page = 4096;
/// let geometry = Geometry::of(std::fs::File::open("Cargo.toml")?);
/// let fits = geometry.atomic_writes.is_some_and(|sizes| {
///     (sizes.unit_min..=sizes.unit_max).contains(&page)
/// });
/// println!("a page of {page} bytes is written as a whole or not at all: {fits}");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AtomicWrites {
    /// The smallest, in bytes; a power of two.
    pub unit_min: u32,
    /// The largest, in bytes; a power of two.
    pub unit_max: u32,
    /// The largest that needs no copy-on-write by the file system, in bytes; 0 where it is
    /// [`unit_max`](Self::unit_max).
    pub unit_max_optimal: u32,
    /// The largest number of buffers of one write.
    pub segments_max: u32,
}

impl AtomicWrites {
    fn from_statx(statx: &Statx) -> Option<Self> {
        let reported = StatxFlags::from_bits_retain(statx.stx_mask).contains(WRITE_ATOMIC);
        (reported && statx.stx_atomic_write_unit_max > 0).then_some(Self {
            unit_min: statx.stx_atomic_write_unit_min,
            unit_max: statx.stx_atomic_write_unit_max,
            unit_max_optimal: statx.stx_atomic_write_unit_max_opt,
            segments_max: statx.stx_atomic_write_segments_max,
        })
    }
}

impl fmt::Display for AtomicWrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unit_min, unit_max, segments_max, .. } = self;
        write!(f, "{unit_min} to {unit_max} bytes in up to {segments_max} buffers")
    }
}

/// `STATX_WRITE_ATOMIC`, since Linux 6.11.
const WRITE_ATOMIC: StatxFlags = StatxFlags::from_bits_retain(0x1_0000);

/// Describes what an open file asks of its users. From [`Geometry::of`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::geometry::Geometry;
///
/// let geometry = Geometry::of(std::fs::File::open("Cargo.toml")?);
/// println!("O_DIRECT: {}", geometry.direct_io);
/// match geometry.atomic_writes {
///     Some(sizes) => println!("atomic writes of {sizes}"),
///     None => println!("no atomic writes"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Geometry {
    /// The alignment that `O_DIRECT` asks for, even if the file is not open with it.
    pub direct_io: DirectIo,
    /// The sizes of atomic writes, where the file supports them.
    pub atomic_writes: Option<AtomicWrites>,
    /// The logical block of a block device, in bytes.
    pub logical_block: Option<u32>,
}

impl Geometry {
    /// Asks an open file, without changing it. Where `statx` is missing or refused, and for what it
    /// leaves out, the answers are empty.
    ///
    /// ```
    /// use linux_aio::{AlignedBuf, geometry::Geometry};
    ///
    /// let file = std::fs::File::open("/etc/os-release")?;
    /// let buf = AlignedBuf::with_alignment(65536, Geometry::of(&file).direct_io.memory())?;
    /// # drop(buf);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn of(fd: impl AsFd) -> Self {
        let fd = fd.as_fd();
        #[cfg(feature = "sim")]
        if let Some(direct_io) = simulated(fd) {
            return Self { direct_io, atomic_writes: None, logical_block: None };
        }
        let mask = StatxFlags::DIOALIGN | WRITE_ATOMIC;
        let statx = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, mask).ok();
        let direct_io = statx.as_ref().map_or(DirectIo::Unreported, DirectIo::from_statx);
        let atomic_writes = statx.as_ref().and_then(AtomicWrites::from_statx);
        let logical_block = logical_block_of(fd);
        let direct_io = match (direct_io, logical_block) {
            (DirectIo::Unreported, Some(block)) => DirectIo::of_block_device(block),
            (reported, _) => reported,
        };
        Self { direct_io, atomic_writes, logical_block }
    }
}

/// Returns what a simulated file asks for.
#[cfg(feature = "sim")]
fn simulated(fd: BorrowedFd<'_>) -> Option<DirectIo> {
    use crate::fd::AsRawFd;
    use crate::sys::sim::{FileCall, file};
    // SAFETY: The call names no memory.
    let answer = unsafe { file(fd.as_raw_fd(), FileCall::Alignment) }?;
    Some(u32::try_from(answer).map_or(DirectIo::Unsupported, DirectIo::of_block_device))
}

/// Returns the logical block of a block device. No other file is asked: the number of the request
/// may mean something else to its driver.
fn logical_block_of(fd: BorrowedFd<'_>) -> Option<u32> {
    let stat = rustix::fs::fstat(fd).ok()?;
    let block_device = FileType::from_raw_mode(stat.st_mode as _) == FileType::BlockDevice;
    if block_device { rustix::fs::ioctl_blksszget(fd).ok() } else { None }
}
