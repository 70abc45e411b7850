//! [`File`], a file whose positioned reads and writes are futures.

mod access;
mod buffers;
mod cached;
mod call;
mod chunk;
mod deadline;
mod direct;
mod drivers;
mod fair;
mod flagged;
#[cfg(feature = "futures-io")]
mod futures_io;
mod in_boxes;
mod memory;
mod open;
mod options;
mod ranges;
mod reader;
mod requests;
mod sides;
mod step;
#[cfg(feature = "stream")]
mod stream;
mod sync_range;
#[cfg(feature = "tokio")]
mod tokio_io;
mod transfer;
mod upkeep;
mod whole;
mod whole_blocks;
mod work;
mod writer;

pub use chunk::Chunk;
pub use deadline::FileWithDeadline;
pub(crate) use drivers::InPlace;
pub use open::{Direct, DirectState};
pub use options::OpenOptions;
pub use ranges::{RangeBytes, RangesOptions, ReadRanges};
pub use reader::{FileReader, ReaderOptions};
pub use sync_range::SyncRange;
pub use whole::UnexpectedEnd;
pub use writer::{FileWriter, WriterError, WriterOptions};

use crate::fd::{AsFd, BorrowedFd};
use crate::{Driver, IoPrio, RwFlags};
use access::Access;
use alloc::sync::Arc;
use drivers::Performs;
use open::Open;
use std::io;
use std::path::PathBuf;
use transfer::GoesOn;
use work::Work;

/// A file whose reads and writes are futures: any offset, any length, any memory, on any runtime.
///
/// `D` is its driver: [`Driver`], for futures on any thread, or
/// [`LocalDriver`](crate::LocalDriver), for futures of one thread. What opens a file infers `D`
/// from the driver that it is given.
///
/// Buffers are given and come back with the result, even if that is an error. They are those of
/// operations, [`ReadTo`](crate::ReadTo) and [`WriteFrom`](crate::WriteFrom), that can be sent:
/// `Vec<u8>`, [`AlignedBuf`](crate::AlignedBuf), [`PoolBuf`](crate::PoolBuf) or
/// [`Part`](crate::Part) to read (all of their length, not of their capacity), or
/// [`Spare`](crate::Spare) for memory that is not initialised; these, `bytes::Bytes` or
/// `&'static str` to write. [`Shared`](crate::Shared) is memory that other threads use meanwhile.
///
/// A clone is another handle of the same file. Flags and priorities belong to the handle:
/// [`with_rw_flags`](Self::with_rw_flags), [`with_ioprio`](Self::with_ioprio).
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::{Driver, File};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("data");
/// let driver = Driver::on_thread(32)?; // or `linux_aio::tokio::driver(32)`
/// pollster::block_on(async {
///     let options = File::options().read(true).write(true).create(true);
///     let file = options.open(&driver, path).await?;
///     file.write_all_at("any length", 777).await.0?;
///     file.sync_data().await?;
///     let (result, buf) = file.read_at(vec![0; 100], 781).await;
///     assert_eq!(&buf[..result?], b"length");
///     file.close().await
/// })
/// # }
/// ```
///
/// # Direct and buffered files
///
/// A file is opened with `O_DIRECT` if it supports that, unless
/// [`OpenOptions::direct`] says otherwise. [`direct`](Self::direct) tells which it is, and why.
///
/// - *Direct*: operations go to the disk by the [`Driver`], around the page cache. Aligned
///   requests are the fastest. For unaligned ones, heads and tails are handled as below.
/// - *Buffered*: a read copies from the page cache at once, on the task's thread. What is not there
///   is read by a thread of the driver, as is every write. A task gives way to others after 8 KiB.
///   None of this is an operation of the driver, so its `metrics`, `stats`, `overdue` and spans do
///   not show it.
///
/// Flags that a buffered file takes are those of `preadv2(2)`; priorities count for direct files
/// alone, as they do in the kernel.
///
/// # Unaligned requests on a direct file
///
/// A read reads the blocks around the wanted bytes. A write has its whole pages written with
/// `O_DIRECT`, and its head and tail through the page cache, by a second descriptor. No page is
/// written both ways at once. This is guaranteed where kernels keep the page cache coherent, as
/// ext4, xfs and btrfs do:
///
/// 1. Only the bytes given are written, in this process and in all others. Neighbours in a block
///    are never put back to an older value. (Two hosts on one disk are not covered.)
/// 2. The file is never longer than the furthest end asked for, and never cut. During a write that
///    extends it, others may see it grow in steps, with zeros where the write has not been yet.
/// 3. Overlapping writes that run at once may leave any mixture. Within one unit, a byte of the
///    later write may be lost.
/// 4. A write is durable after [`sync_data`](Self::sync_data), which also reports errors of heads
///    and tails. After a crash before that, each sector of the write is old or new, and the length
///    is old, new or between. No byte outside of the write has changed, if sectors are not torn.
/// 5. Others may append. Two appenders of yours need a lock, or a file with
///    [`append`](OpenOptions::append).
///
/// Writes of this file and its clones on the two sides of the page cache are kept apart in time,
/// and wait for one another. They need not be polled for that: a write that is in flight, or one
/// that waits, holds up no other because its task awaits something else. If another program, or
/// another `File` of the same file, writes through the page cache beside a direct write, the kernel
/// may report `EIO` at the next sync. So open a file once, and clone it.
///
/// Without `/proc`, or after a change of the file's rights, there may be no second descriptor. A
/// block device has none, since the kernel does not keep its page cache in step. Then
/// a head or tail is written by reading, changing and writing its whole block, under a lock of this
/// process. Bytes that *other* processes write to that block meanwhile may be lost, and a write
/// that would end within a block behind the end of the file gives `EINVAL`.
///
/// # Dropped futures
///
/// A dropped future leaves its buffer to the driver until the kernel is finished. What was begun is
/// done, and no further part of the request is begun: any part of a write may have been done.
/// [`with_deadline`](Self::with_deadline) does that when a time is up.
///
/// # On a local driver
///
/// A file of a [`LocalDriver`](crate::LocalDriver) has the same operations, with the same results.
/// Its handles and futures stay on the driver's thread. Buffers are `Send + 'static` all the same,
/// since threads of the driver do what blocks.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::{File, LocalDriver};
///
/// let driver = LocalDriver::new(32)?;
/// driver.block_on(async {
///     let file = File::open(&driver, "Cargo.toml").await?;
///     let (result, buf) = file.read_exact_at(vec![0; 9], 0).await;
///     result?;
///     assert_eq!(buf, b"[workspac");
///     file.close().await
/// })
/// # }
/// ```
///
/// # Blocking
///
/// What blocks is done by up to three threads of the driver, which start when they are first
/// needed. On a file system that is frozen, a direct write can block in `io_submit`. Use
/// [`Direct::Never`] for files on such a file system, or a driver [`on_thread`](Driver::on_thread).
/// To drop the last handle closes the file on the spot, which may block; [`close`](Self::close)
/// does not.
///
/// # Errors
///
/// The error of a request is made of a [`Diagnosis`](crate::Diagnosis). Its text names operation,
/// length, offset and descriptor, and says why it probably failed. It does not name the path, which
/// only the error of an open does. Its `kind()` is that of the errno, which
/// [`Errno::from_io_error`](crate::Errno::from_io_error) returns; `raw_os_error()` is `None`. A
/// driver that is [closed](Driver::close) gives `ECANCELED`, and in a forked child
/// [`Errno::FORKED`](crate::Errno::FORKED).
#[derive(Clone, Debug)]
pub struct File<D = Driver> {
    access: Access<D>,
}

/// A driver that a [`File`] works with: [`Driver`] or [`LocalDriver`](crate::LocalDriver).
///
/// A function that takes a file of any driver names it:
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::{Driver, File, FileDriver, LocalDriver};
///
/// async fn first_byte<D: FileDriver>(file: &File<D>) -> std::io::Result<u8> {
///     let (result, [byte]) = file.read_exact_at([0], 0).await;
///     result.map(|()| byte)
/// }
///
/// let (shared, local) = (Driver::on_thread(1)?, LocalDriver::new(1)?);
/// let file = File::from_std(std::fs::File::open("/dev/zero")?, &shared)?;
/// assert_eq!(pollster::block_on(first_byte(&file))?, 0);
/// let file = File::from_std(std::fs::File::open("/dev/zero")?, &local)?;
/// assert_eq!(local.block_on(first_byte(&file))?, 0);
/// # Ok(()) }
/// ```
pub trait FileDriver: Performs + Work + GoesOn {}

/// The result of a request, and its buffer.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::{Driver, File, Outcome};
///
/// let driver = Driver::on_thread(1)?;
/// let file = File::from_std(std::fs::File::open("/dev/zero")?, &driver)?;
/// let outcome: Outcome<Vec<u8>> = pollster::block_on(file.read_at(vec![1; 64], 0));
/// let (result, buf) = outcome; // the buffer comes back after an error, too
/// assert_eq!((result?, buf), (64, vec![0; 64]));
/// # Ok(()) }
/// ```
pub type Outcome<B, T = usize> = (io::Result<T>, B);

impl OpenOptions {
    /// Opens the file. A thread of the driver waits for that.
    ///
    /// # Errors
    /// Those of `open(2)`; `Unsupported` if `O_DIRECT` is [required](Direct::Require) and the file
    /// has none; and those of [`File::from_std`]. The text names the path.
    #[doc(alias = "openat")]
    pub async fn open<D: FileDriver>(
        &self,
        driver: &D,
        path: impl Into<PathBuf>,
    ) -> io::Result<File<D>> {
        let open = self.open_file(driver, path.into()).await?;
        Ok(File::of(open, driver))
    }
}

impl File {
    /// Returns the options to open a file with.
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }
}

impl<D: FileDriver> File<D> {
    /// Opens a file for reading. Short for the [options](Self::options) `read(true)`.
    ///
    /// # Errors
    /// Those of [`OpenOptions::open`].
    pub async fn open(driver: &D, path: impl Into<PathBuf>) -> io::Result<Self> {
        OpenOptions::new().read(true).open(driver, path).await
    }

    /// Takes a file that is open. It is direct if it is open with `O_DIRECT`; use
    /// [`from_std_with`](Self::from_std_with) to make it so.
    ///
    /// This asks the kernel for the file's geometry, which does not wait for the disk unless the
    /// kernel does not know it.
    ///
    /// # Errors
    /// `InvalidInput` for a pipe, socket, terminal or other device on which the kernel could wait
    /// for data without end inside of `io_submit`: one that is not set to `O_NONBLOCK`. With it,
    /// reads give `WouldBlock` where there is nothing to read; [`op::Poll`](crate::op::Poll) waits
    /// for data. Also those of `fstat(2)`, `fcntl(2)` and `epoll_create1(2)`.
    pub fn from_std(file: std::fs::File, driver: &D) -> io::Result<Self> {
        Ok(Self::of(Open::as_it_is(file)?, driver))
    }

    /// Takes a file that is open, and uses `O_DIRECT` as `direct` says.
    ///
    /// A file that is open without it is opened a second time, through `/proc`, with the rights of
    /// the process. The flags of the file itself stay as they are, since clones of its descriptor
    /// have the same. [`direct`](Self::direct) tells what came of it. This may block, as `open(2)`
    /// may.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::{Direct, Driver, File};
    ///
    /// let driver = Driver::on_thread(8)?;
    /// let plain = std::fs::File::open("Cargo.toml")?;
    /// let file = File::from_std_with(plain, &driver, Direct::Prefer)?;
    /// println!("{}", file.direct()); // such as: direct, buffers at multiples of 4, …
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Unsupported`:
    /// - `O_DIRECT` is [required](Direct::Require), and the file does not support it or could not
    ///   be opened again.
    /// - [`Direct::Never`] is asked for, and the file could not be opened without `O_DIRECT`.
    ///
    /// Otherwise those of [`from_std`](Self::from_std).
    pub fn from_std_with(file: std::fs::File, driver: &D, direct: Direct) -> io::Result<Self> {
        Ok(Self::of(Open::of_std(file, direct)?, driver))
    }

    fn of(open: Open, driver: &D) -> Self {
        let (rw_flags, ioprio) = (RwFlags::empty(), IoPrio::INHERIT);
        Self { access: Access { open: Arc::new(open), driver: driver.clone(), rw_flags, ioprio } }
    }

    /// Returns whether reads and writes go around the page cache.
    pub fn is_direct(&self) -> bool {
        matches!(self.direct(), DirectState::Direct { .. })
    }

    /// Returns how reads and writes are done, and the reason.
    pub fn direct(&self) -> DirectState {
        self.access.open.state
    }

    /// Gives `flags` to every read and write of this handle, instead of those that it had.
    ///
    /// Keep a handle for each purpose, since a flag for writes may make a read fail:
    /// [`ATOMIC`](RwFlags::ATOMIC) does. A file system may refuse a flag with `EOPNOTSUPP`;
    /// [`linux-aio-probe`](https://docs.rs/linux-aio-probe) tells which. gVisor ignores all flags.
    ///
    /// With [`ATOMIC`](RwFlags::ATOMIC) or [`NOWAIT`](RwFlags::NOWAIT), a request of a direct file
    /// is one operation as it is, so it must be aligned. With `NOWAIT` a count may be short
    /// anywhere.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::{Driver, File, RwFlags};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("log");
    /// let driver = Driver::on_thread(8)?;
    /// # pollster::block_on(async {
    /// let file = File::options().write(true).create_new(true).open(&driver, path).await?;
    /// // Each write of this handle is durable when it completes, without a sync after it.
    /// let durable = file.clone().with_rw_flags(RwFlags::DSYNC);
    /// let (result, _buf) = durable.write_all_at(b"committed", 0).await;
    /// result
    /// # }) }
    /// ```
    #[must_use]
    pub fn with_rw_flags(mut self, flags: RwFlags) -> Self {
        self.access.rw_flags = flags;
        self
    }

    /// Gives every read and write of this handle an I/O priority, instead of the one that it had.
    #[must_use]
    pub fn with_ioprio(mut self, priority: IoPrio) -> Self {
        self.access.ioprio = priority;
        self
    }

    /// Returns the file itself: the descriptor with `O_DIRECT` if the file is direct.
    pub fn get_ref(&self) -> &std::fs::File {
        &self.access.open.main
    }
}

impl<D: FileDriver> AsFd for File<D> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}
