//! [`File`], a file whose positioned reads and writes are futures.

use super::fallback::{Fallback, Support, Transfer};
use crate::Driver;
use crate::op::{Fdsync, Fsync, Read, ReadV, Write, WriteV};
use crate::{Errno, IoPrio, Operation, RwFlags};
use ::tokio::task::consume_budget;
use alloc::sync::Arc;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fs::OFlags;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::FileTypeExt;

/// A file whose positioned reads and writes go through a [`Driver`].
///
/// Buffers are given and come back, with the result, even if it is an error. They are anything
/// that holds bytes and can be sent: `Vec<u8>`, [`AlignedBuf`](crate::AlignedBuf) or
/// `bytes::BytesMut` to read (all of their length, not of their capacity); these, `bytes::Bytes` or
/// `&'static str` to write. A future that is dropped keeps its buffer until the kernel is finished
/// with it.
///
/// A clone is another handle of the same file. Flags and priorities belong to the handle:
/// [`with_rw_flags`](Self::with_rw_flags), [`with_ioprio`](Self::with_ioprio).
///
/// # Errors
///
/// The error of an operation is made of a [`Diagnosis`](crate::Diagnosis). Its text says what the
/// operation was and why it probably failed. Its `kind()` is that of the errno, which
/// [`Errno::from_io_error`] returns; `raw_os_error()` is `None`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use linux_aio::{Errno, tokio::{File, driver}};
///
/// let directory = File::new(std::fs::File::open("/")?, &driver(1)?)?;
/// let (result, _buf) = directory.read_at(vec![0; 512], 0).await;
/// let error = result.unwrap_err();
/// assert_eq!(Errno::from_io_error(&error), Some(Errno::EINVAL));
/// assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
/// assert!(error.to_string().contains("the file takes no asynchronous reads or writes"));
/// # Ok(()) }
/// ```
///
/// # Blocking
///
/// Open the file with `O_DIRECT`, and align buffers, lengths and offsets as
/// [`Geometry`](crate::geometry::Geometry) says. For any other file the kernel does the I/O inside of
/// `io_submit`, which holds up a thread of the runtime; with a [`Fallback`], only what is in the page
/// cache is done there.
#[derive(Clone, Debug)]
pub struct File {
    file: Arc<std::fs::File>,
    driver: Driver,
    fallback: Option<(Fallback, Arc<Support>)>,
    rw_flags: RwFlags,
    ioprio: IoPrio,
}

/// The result of an operation, and its buffer.
pub type Outcome<B> = (io::Result<usize>, B);

impl File {
    /// `file`, by `driver`.
    ///
    /// # Errors
    /// `InvalidInput` for a pipe, socket, terminal or other device on which the kernel could wait for
    /// data without end inside of `io_submit`: one that is not set to `O_NONBLOCK`. With it, reads
    /// give `WouldBlock` where there is nothing to read; [`op::Poll`](crate::op::Poll) waits for
    /// data. Also those of `fstat(2)`, `fcntl(2)` and `epoll_create1(2)`.
    pub fn new(file: std::fs::File, driver: &Driver) -> io::Result<Self> {
        if can_wait_without_end(&file)? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a read of this file could block io_submit without end: set O_NONBLOCK, and POLL",
            ));
        }
        Ok(Self {
            file: Arc::new(file),
            driver: driver.clone(),
            fallback: None,
            rw_flags: RwFlags::empty(),
            ioprio: IoPrio::INHERIT,
        })
    }

    /// Has reads and writes that would block the driver done by the threads of `fallback`.
    ///
    /// A read that is in the page cache in part gives that part, as a short count. Reads and writes
    /// of a handle with [`RwFlags::NOWAIT`] fail with `EAGAIN` instead.
    #[must_use]
    pub fn fall_back_to(mut self, fallback: &Fallback) -> Self {
        self.fallback = Some((fallback.clone(), Arc::default()));
        self
    }

    /// Gives `flags` to every read and write of this handle, instead of those that it had.
    ///
    /// Keep a handle for each purpose, since a flag for writes may make a read fail:
    /// [`ATOMIC`](RwFlags::ATOMIC) does. A file system may refuse a flag with `EOPNOTSUPP`;
    /// [`linux-aio-probe`](https://docs.rs/linux-aio-probe) tells which. gVisor ignores all flags.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// use linux_aio::{RwFlags, tokio::{File, driver}};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("log");
    /// let file = File::new(std::fs::File::create_new(path)?, &driver(8)?)?;
    /// // Each write of this handle is durable when it completes, without a sync after it.
    /// let durable = file.clone().with_rw_flags(RwFlags::DSYNC);
    /// let (result, _buf) = durable.write_at(b"committed".to_vec(), 0).await;
    /// assert_eq!(result?, 9);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_rw_flags(mut self, flags: RwFlags) -> Self {
        self.rw_flags = flags;
        self
    }

    /// Gives every read and write of this handle an I/O priority, instead of the one that it had.
    #[must_use]
    pub fn with_ioprio(mut self, priority: IoPrio) -> Self {
        self.ioprio = priority;
        self
    }

    /// Reads at `offset` to `buf`. Returns the number of bytes, 0 at the end of the file.
    ///
    /// # Errors
    /// `InvalidInput` for a buffer of length 0, such as `Vec::with_capacity(n)`: a read fills a
    /// buffer's length, and 0 bytes would look like the end of the file. Use `vec![0; n]`.
    pub async fn read_at<B: AsMut<[u8]> + Send + 'static>(
        &self,
        mut buf: B,
        offset: u64,
    ) -> Outcome<B> {
        if buf.as_mut().is_empty() {
            return (Err(no_room()), buf);
        }
        let (result, op) = self.transfer(Read::new(Arc::clone(&self.file), buf, offset)).await;
        (result, op.buf)
    }

    /// Writes `buf` at `offset`. Returns the number of bytes, which may be fewer.
    ///
    /// If the file is open with `O_APPEND`, the kernel ignores the offset and writes at the end of
    /// the file. [`RwFlags::NOAPPEND`] makes the offset count (since Linux 6.9), and
    /// [`RwFlags::APPEND`] appends to any file.
    pub async fn write_at<B: AsRef<[u8]> + Send + 'static>(
        &self,
        buf: B,
        offset: u64,
    ) -> Outcome<B> {
        let (result, op) = self.transfer(Write::new(Arc::clone(&self.file), buf, offset)).await;
        (result, op.buf)
    }

    /// Reads at `offset` to several buffers, one after the other. Returns the number of bytes, 0 at
    /// the end of the file.
    ///
    /// # Errors
    /// `InvalidInput` if all buffers together have length 0, as for [`read_at`](Self::read_at).
    pub async fn readv_at<B: AsMut<[u8]> + Send + 'static, const N: usize>(
        &self,
        mut bufs: [B; N],
        offset: u64,
    ) -> Outcome<[B; N]> {
        if bufs.iter_mut().all(|buf| buf.as_mut().is_empty()) {
            return (Err(no_room()), bufs);
        }
        let (result, op) = self.transfer(ReadV::new(Arc::clone(&self.file), bufs, offset)).await;
        (result, op.bufs)
    }

    /// Writes several buffers, one after the other, at `offset`. Returns the number of bytes, which
    /// may be fewer.
    ///
    /// Of a file that is open with `O_APPEND`, the same holds as for [`write_at`](Self::write_at).
    pub async fn writev_at<B: AsRef<[u8]> + Send + 'static, const N: usize>(
        &self,
        bufs: [B; N],
        offset: u64,
    ) -> Outcome<[B; N]> {
        let (result, op) = self.transfer(WriteV::new(Arc::clone(&self.file), bufs, offset)).await;
        (result, op.bufs)
    }

    /// Brings the file's data and metadata to stable storage.
    ///
    /// It covers the writes that have completed. It is not ordered with writes in flight: await
    /// them first. To write and make durable in one operation, write with [`RwFlags::DSYNC`] or
    /// [`RwFlags::SYNC`], as [`with_rw_flags`](Self::with_rw_flags) shows.
    ///
    /// # Errors
    /// Those of `fsync(2)`.
    pub async fn sync_all(&self) -> io::Result<()> {
        self.run(Fsync::new(Arc::clone(&self.file))).await
    }

    /// Brings the file's data, and the metadata needed to read it, to stable storage.
    ///
    /// It covers the writes that have completed, as [`sync_all`](Self::sync_all) does.
    ///
    /// # Errors
    /// Those of `fdatasync(2)`.
    pub async fn sync_data(&self) -> io::Result<()> {
        self.run(Fdsync::new(Arc::clone(&self.file))).await
    }

    /// Metadata of the file. Answered from memory for an open file, so not as a future.
    ///
    /// # Errors
    /// As `fstat(2)`.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// The file itself.
    pub fn get_ref(&self) -> &std::fs::File {
        &self.file
    }

    async fn transfer<O: Transfer>(&self, mut op: O) -> (io::Result<usize>, O) {
        *op.rw_flags() = self.rw_flags;
        *op.ioprio() = self.ioprio;
        // What is done inside of `io_submit` is ready at once: a loop of that would keep the thread.
        consume_budget().await;
        let (result, mut op) = match &self.fallback {
            None => self.driver.perform(op).await,
            Some((fallback, support)) => fallback.submit(&self.driver, support, op).await,
        };
        (diagnosed(result, &mut op), op)
    }

    async fn run<O: Operation + Send + 'static>(&self, op: O) -> io::Result<()> {
        consume_budget().await;
        let (result, mut op) = self.driver.perform(op).await;
        diagnosed(result, &mut op).map(drop)
    }
}

fn diagnosed<O: Operation>(result: Result<u32, Errno>, op: &mut O) -> io::Result<usize> {
    match result {
        Ok(count) => Ok(count as usize),
        Err(errno) => Err(op.prepare().diagnose(errno).into()),
    }
}

fn no_room() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the buffer has length 0, and a read fills a buffer's length, not its capacity: use \
         vec![0; n]",
    )
}

/// Whether a read or write may wait for somebody else: where the file can be polled, as opposed to
/// disks and memory, and is not set to return instead.
fn can_wait_without_end(file: &std::fs::File) -> io::Result<bool> {
    let kind = file.metadata()?.file_type();
    // A file of a file system in user space can be polled, too.
    if kind.is_file() || kind.is_dir() || kind.is_block_device() {
        return Ok(false);
    }
    if rustix::fs::fcntl_getfl(file)?.contains(OFlags::NONBLOCK) {
        return Ok(false);
    }
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    match epoll::add(&epoll, file, EventData::new_u64(0), EventFlags::IN) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::PERM) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
