//! [`FileWithDeadline`], a handle whose requests end at a time even if the disk hangs.

use super::FileDriver;
use super::options::OpenOptions;
use super::{File, Outcome, SyncRange};
use crate::clock;
use crate::driver::alarm_clock::Rings;
use crate::op::Buffers;
use crate::{Driver, DriverWithDeadline, Opcode, ReadTo, WriteFrom};
use alloc::string::String;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// A handle of a file whose requests are given up after a time. From [`File::with_deadline`] and
/// [`DriverWithDeadline::open`].
///
/// Requests that wait have a deadline: reads and writes, syncs, lengths, and blocks. For the rest,
/// such as [`File::metadata`], and [`File::reader`], which has no deadline, use
/// [`get_ref`](Self::get_ref).
///
/// The time of a request begins when its future is polled first. Each request gives what that of
/// [`File`] gives, in an `Ok`, or an error of the kind `TimedOut` once its time is up.
///
/// # What becomes of a request
///
/// The kernel cannot take back a read, a write or a sync. So **a request that timed out gives no
/// buffer back**: the driver keeps it until the kernel or the thread is finished, and drops it
/// then. What was begun is done, and no further part of the request is begun: any part of a write
/// may be done, even later. [`overdue`](Driver::overdue) of the driver lists the operations that
/// are late.
///
/// A request that is complete when its future is polled gives its result, even if its time is up.
///
/// # When it fires
///
/// A thread of the driver wakes the task, so the task must be able to run. In
/// [`LocalDriver::block_on`](crate::LocalDriver::block_on) the sleep ends instead. An `io_submit`
/// that blocks, on a file system that is frozen, holds the thread that is in it: see
/// [`File`](File#blocking).
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::{Driver, File};
/// use std::time::Duration;
///
/// let driver = Driver::on_thread(8)?;
/// # pollster::block_on(async {
/// let file = File::open(&driver, "Cargo.toml").await?.with_deadline(Duration::from_secs(30));
/// match file.read_exact_at(vec![0; 9], 0).await {
///     Ok((result, buf)) => {
///         result?;
///         assert_eq!(buf, b"[workspac");
///     }
///     Err(late) => println!("{late}"), // The buffer stays with the driver.
/// }
/// # Ok(()) }) }
/// ```
#[derive(Clone, Debug)]
pub struct FileWithDeadline<D = Driver> {
    file: File<D>,
    time: Duration,
}

impl<D: FileDriver> File<D> {
    /// Gives up every request of this handle after a time. [`FileWithDeadline`] says what becomes
    /// of the buffer. [`Duration::MAX`] sets no deadline.
    ///
    /// Flags and priority of the handle stay.
    #[doc(alias = "timeout")]
    pub fn with_deadline(self, time: Duration) -> FileWithDeadline<D> {
        FileWithDeadline { file: self, time }
    }
}

impl<D: FileDriver> FileWithDeadline<D> {
    /// Returns the handle without a deadline.
    pub fn get_ref(&self) -> &File<D> {
        &self.file
    }

    /// Gives up every request of this handle after another time, which may also be longer.
    /// [`Duration::MAX`] sets no deadline.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::{Driver, File};
    /// use std::time::Duration;
    ///
    /// let driver = Driver::on_thread(8)?;
    /// let file = File::from_std(std::fs::File::open("Cargo.toml")?, &driver)?;
    /// let hasty = file.with_deadline(Duration::from_millis(100));
    /// let patient = hasty.clone().with_deadline(Duration::from_secs(60));
    /// # Ok(()) }
    /// ```
    pub fn with_deadline(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// Reads as [`File::read_at`] does.
    ///
    /// # Errors
    /// `TimedOut`; `WouldBlock` if the thread for deadlines cannot be started. In the result those
    /// of [`File::read_at`].
    pub async fn read_at<B>(&self, buf: B, offset: u64) -> io::Result<Outcome<B>>
    where
        B: ReadTo + Send + 'static,
    {
        self.within(Opcode::PREAD, offset, self.file.read_at(buf, offset)).await
    }

    /// Reads as [`File::read_exact_at`] does.
    ///
    /// # Errors
    /// Those of [`read_at`](Self::read_at). In the result those of [`File::read_exact_at`].
    pub async fn read_exact_at<B>(&self, buf: B, offset: u64) -> io::Result<Outcome<B, ()>>
    where
        B: ReadTo + Send + 'static,
    {
        self.within(Opcode::PREAD, offset, self.file.read_exact_at(buf, offset)).await
    }

    /// Reads as [`File::readv_at`] does.
    ///
    /// # Errors
    /// Those of [`read_at`](Self::read_at). In the result those of [`File::readv_at`].
    pub async fn readv_at<S>(&self, bufs: S, offset: u64) -> io::Result<Outcome<S>>
    where
        S: Buffers<Buffer: ReadTo> + Send + 'static,
    {
        self.within(Opcode::PREADV, offset, self.file.readv_at(bufs, offset)).await
    }

    /// Reads as [`File::readv_exact_at`] does.
    ///
    /// # Errors
    /// Those of [`read_at`](Self::read_at). In the result those of [`File::readv_exact_at`].
    pub async fn readv_exact_at<S>(&self, bufs: S, offset: u64) -> io::Result<Outcome<S, ()>>
    where
        S: Buffers<Buffer: ReadTo> + Send + 'static,
    {
        self.within(Opcode::PREADV, offset, self.file.readv_exact_at(bufs, offset)).await
    }

    /// Writes as [`File::write_at`] does.
    ///
    /// # Errors
    /// Those of [`read_at`](Self::read_at). In the result those of [`File::write_at`].
    pub async fn write_at<B>(&self, buf: B, offset: u64) -> io::Result<Outcome<B>>
    where
        B: WriteFrom + Send + 'static,
    {
        self.within(Opcode::PWRITE, offset, self.file.write_at(buf, offset)).await
    }

    /// Writes as [`File::write_all_at`] does.
    ///
    /// # Errors
    /// Those of [`read_at`](Self::read_at). In the result those of [`File::write_all_at`].
    pub async fn write_all_at<B>(&self, buf: B, offset: u64) -> io::Result<Outcome<B, ()>>
    where
        B: WriteFrom + Send + 'static,
    {
        self.within(Opcode::PWRITE, offset, self.file.write_all_at(buf, offset)).await
    }

    /// Writes as [`File::writev_at`] does.
    ///
    /// # Errors
    /// Those of [`read_at`](Self::read_at). In the result those of [`File::writev_at`].
    pub async fn writev_at<S>(&self, bufs: S, offset: u64) -> io::Result<Outcome<S>>
    where
        S: Buffers<Buffer: WriteFrom> + Send + 'static,
    {
        self.within(Opcode::PWRITEV, offset, self.file.writev_at(bufs, offset)).await
    }

    /// Writes as [`File::writev_all_at`] does.
    ///
    /// # Errors
    /// Those of [`read_at`](Self::read_at). In the result those of [`File::writev_all_at`].
    pub async fn writev_all_at<S>(&self, bufs: S, offset: u64) -> io::Result<Outcome<S, ()>>
    where
        S: Buffers<Buffer: WriteFrom> + Send + 'static,
    {
        self.within(Opcode::PWRITEV, offset, self.file.writev_all_at(bufs, offset)).await
    }

    /// Brings data and metadata to stable storage as [`File::sync_all`] does.
    ///
    /// # Errors
    /// Those of [`read_at`](Self::read_at), and of [`File::sync_all`]. After a `TimedOut`, nothing
    /// is known of what is on stable storage.
    pub async fn sync_all(&self) -> io::Result<()> {
        self.within(Opcode::FSYNC, 0, self.file.sync_all()).await?
    }

    /// Brings data to stable storage as [`File::sync_data`] does.
    ///
    /// # Errors
    /// Those of [`sync_all`](Self::sync_all).
    pub async fn sync_data(&self) -> io::Result<()> {
        self.within(Opcode::FDSYNC, 0, self.file.sync_data()).await?
    }

    /// Writes pages of the page cache to the disk as [`File::sync_range`] does.
    ///
    /// # Errors
    /// Those of [`read_at`](Self::read_at), and of [`File::sync_range`].
    pub async fn sync_range(&self, offset: u64, len: u64, how: SyncRange) -> io::Result<()> {
        let what = || alloc::format!("sync_file_range of {len} bytes at offset {offset}");
        self.call_within(what, self.file.sync_range(offset, len, how)).await?
    }

    /// Sets the length of the file as [`File::set_len`] does.
    ///
    /// # Errors
    /// Those of [`read_at`](Self::read_at), and of [`File::set_len`]. After a `TimedOut` the file
    /// may have either length, and may change even later.
    pub async fn set_len(&self, len: u64) -> io::Result<()> {
        let what = || alloc::format!("ftruncate to {len} bytes");
        self.call_within(what, self.file.set_len(len)).await?
    }

    /// Allocates blocks as [`File::allocate`] does.
    ///
    /// # Errors
    /// Those of [`read_at`](Self::read_at), and of [`File::allocate`]. After a `TimedOut`, any part
    /// of the range may be allocated, even later.
    pub async fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let what = || alloc::format!("fallocate of {len} bytes at offset {offset}");
        self.call_within(what, self.file.allocate(offset, len)).await?
    }

    /// Gives back blocks as [`File::punch_hole`] does.
    ///
    /// # Errors
    /// Those of [`read_at`](Self::read_at), and of [`File::punch_hole`]. After a `TimedOut`, any
    /// part of the range may read as zeros, even later.
    pub async fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        let what = || alloc::format!("fallocate of a hole of {len} bytes at offset {offset}");
        self.call_within(what, self.file.punch_hole(offset, len)).await?
    }

    async fn within<T>(
        &self,
        opcode: Opcode,
        offset: u64,
        request: impl Future<Output = T>,
    ) -> io::Result<T> {
        let what = || match opcode {
            Opcode::FSYNC | Opcode::FDSYNC => alloc::format!("{opcode:?}"),
            _ => alloc::format!("{opcode:?} at offset {offset}"),
        };
        self.call_within(what, request).await
    }

    async fn call_within<T>(
        &self,
        what: impl FnOnce() -> String,
        request: impl Future<Output = T>,
    ) -> io::Result<T> {
        within(&self.file.access.driver, self.time, request, || {
            alloc::format!("{} of descriptor {}", what(), self.file.get_ref().as_raw_fd())
        })
        .await
    }
}

impl<D: FileDriver> DriverWithDeadline<D> {
    /// Opens a file as [`OpenOptions::open`] does, within the time of the handle. Every request of
    /// the file has the same time, which begins when its future is polled first.
    ///
    /// # Errors
    /// `TimedOut`; `WouldBlock` if the thread for deadlines cannot be started; those of
    /// [`OpenOptions::open`]. After a `TimedOut` the file may still be opened, created or
    /// truncated. It is closed then.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::{Driver, File};
    /// use std::time::Duration;
    ///
    /// let driver = Driver::on_thread(8)?.with_deadline(Duration::from_secs(30));
    /// # pollster::block_on(async {
    /// let file = driver.open(&File::options().read(true), "Cargo.toml").await?;
    /// // Of this one request, ten minutes are expected.
    /// let patient = file.clone().with_deadline(Duration::from_secs(600));
    /// let (result, buf) = patient.read_exact_at(vec![0; 9], 0).await?;
    /// result?;
    /// assert_eq!(buf, b"[workspac");
    /// # Ok(()) }) }
    /// ```
    pub async fn open(
        &self,
        options: &OpenOptions,
        path: impl Into<PathBuf>,
    ) -> io::Result<FileWithDeadline<D>> {
        let (path, time) = (path.into(), self.time());
        let open = options.open(self.get_ref(), path.clone());
        let what = || alloc::format!("open of {}", path.display());
        let file = within(self.get_ref(), time, open, what).await??;
        Ok(file.with_deadline(time))
    }
}

/// Awaits a request until its time is up. Its drop leaves the buffer to the driver.
async fn within<D: FileDriver, T>(
    driver: &D,
    time: Duration,
    request: impl Future<Output = T>,
    what: impl FnOnce() -> String,
) -> io::Result<T> {
    let Some(at) = clock::now().checked_add(time) else { return Ok(request.await) };
    let mut alarm = driver.alarm(at)?;
    let mut request = pin!(request);
    let in_time = poll_fn(|cx| {
        if let Poll::Ready(output) = request.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        // Set before the look at the clock. If it called an older waker, the time is up.
        if let Err(no_thread) = alarm.set(cx.waker()) {
            return Poll::Ready(Err(Some(no_thread)));
        }
        if alarm.is_due() { Poll::Ready(Err(None)) } else { Poll::Pending }
    });
    in_time.await.map_err(|no_thread| match no_thread {
        Some(no_thread) => no_thread.into(),
        None => io::Error::new(io::ErrorKind::TimedOut, Late { what: what(), time }),
    })
}

/// A request whose time was up.
#[derive(Debug)]
struct Late {
    what: String,
    time: Duration,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, time } = self;
        write!(
            f,
            "{what} did not complete within {time:?}; it may still be done: the driver keeps its \
             file and its buffer until the kernel is finished"
        )
    }
}

impl core::error::Error for Late {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&crate::Errno::ETIMEDOUT)
    }
}
