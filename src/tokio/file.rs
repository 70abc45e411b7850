//! [`File`], a file whose positioned reads and writes are futures.

use super::fallback::{Fallback, Support, Transfer};
use crate::driver::Driver;
use crate::op::{Fdsync, Fsync, Read, ReadV, Write, WriteV};
use crate::{Errno, Operation};
use ::tokio::task::consume_budget;
use alloc::sync::Arc;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fs::OFlags;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::FileTypeExt;

/// A file whose positioned reads and writes go through a [`Driver`].
///
/// Buffers are given and come back, with the result, also when it is an error. They are anything
/// that holds bytes and can be sent: `Vec<u8>`, [`AlignedBuf`](crate::AlignedBuf) or
/// `bytes::BytesMut` to read (all of their length, not of their capacity); these, `bytes::Bytes` or
/// `&'static str` to write. A future that is dropped keeps its buffer until the kernel is finished
/// with it.
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
        Ok(Self { file: Arc::new(file), driver: driver.clone(), fallback: None })
    }

    /// Has reads and writes that would block the driver done by the threads of `fallback`.
    ///
    /// A read that is in the page cache in part gives that part, as a short count.
    #[must_use]
    pub fn fall_back_to(mut self, fallback: &Fallback) -> Self {
        self.fallback = Some((fallback.clone(), Arc::default()));
        self
    }

    /// Reads at `offset` to `buf`: how many bytes, 0 at the end of the file.
    pub async fn read_at<B: AsMut<[u8]> + Send + 'static>(
        &self,
        buf: B,
        offset: u64,
    ) -> Outcome<B> {
        let (result, op) = self.transfer(Read::new(Arc::clone(&self.file), buf, offset)).await;
        (result, op.buf)
    }

    /// Writes `buf` at `offset`: how many bytes, which may be fewer.
    pub async fn write_at<B: AsRef<[u8]> + Send + 'static>(
        &self,
        buf: B,
        offset: u64,
    ) -> Outcome<B> {
        let (result, op) = self.transfer(Write::new(Arc::clone(&self.file), buf, offset)).await;
        (result, op.buf)
    }

    /// Reads at `offset` to several buffers, one after the other.
    pub async fn readv_at<B: AsMut<[u8]> + Send + 'static, const N: usize>(
        &self,
        bufs: [B; N],
        offset: u64,
    ) -> Outcome<[B; N]> {
        let (result, op) = self.transfer(ReadV::new(Arc::clone(&self.file), bufs, offset)).await;
        (result, op.bufs)
    }

    /// Writes several buffers, one after the other, at `offset`.
    pub async fn writev_at<B: AsRef<[u8]> + Send + 'static, const N: usize>(
        &self,
        bufs: [B; N],
        offset: u64,
    ) -> Outcome<[B; N]> {
        let (result, op) = self.transfer(WriteV::new(Arc::clone(&self.file), bufs, offset)).await;
        (result, op.bufs)
    }

    /// Data and metadata to stable storage.
    ///
    /// # Errors
    /// As `fsync(2)`.
    pub async fn sync_all(&self) -> io::Result<()> {
        self.run(Fsync::new(Arc::clone(&self.file))).await.0.map(drop)
    }

    /// Data, and the metadata needed to read it, to stable storage.
    ///
    /// # Errors
    /// As `fdatasync(2)`.
    pub async fn sync_data(&self) -> io::Result<()> {
        self.run(Fdsync::new(Arc::clone(&self.file))).await.0.map(drop)
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

    async fn transfer<O: Transfer>(&self, op: O) -> (io::Result<usize>, O) {
        // What is done inside of `io_submit` is ready at once: a loop of that would keep the thread.
        consume_budget().await;
        let (result, op) = match &self.fallback {
            None => self.driver.submit(op).await,
            Some((fallback, support)) => fallback.submit(&self.driver, support, op).await,
        };
        (count(result), op)
    }

    async fn run<O: Operation + Send + 'static>(&self, op: O) -> (io::Result<usize>, O) {
        consume_budget().await;
        let (result, op) = self.driver.submit(op).await;
        (count(result), op)
    }
}

fn count(result: Result<u32, Errno>) -> io::Result<usize> {
    result.map(|count| count as usize).map_err(Errno::into)
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
