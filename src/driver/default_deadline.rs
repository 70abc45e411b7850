//! [`DriverWithDeadline`], a handle of a driver whose operations end at a time.

use super::Driver;
use super::deadline::WithDeadline;
use super::future::OpFuture;
use crate::Operation;
use core::time::Duration;

/// A handle of a driver that gives up every operation after a time. From
/// [`Driver::with_deadline`] and [`LocalDriver::with_deadline`](crate::LocalDriver::with_deadline).
///
/// It is for programs that want no future to wait without end, whoever starts it. Each operation
/// and each file of this handle has the deadline unless it is given its own. An own deadline is
/// stronger, be it earlier or later: [`WithDeadline::timeout`], [`WithDeadline::deadline`],
/// [`FileWithDeadline::with_deadline`](crate::FileWithDeadline::with_deadline).
///
/// An operation that timed out stays in the kernel, with its buffer: see [`WithDeadline`]. So its
/// future cannot give it back, and has another output than that of [`Driver::perform`]. Hence a
/// handle of its own, as for files: other handles of the same driver have no deadline.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Driver, File, op::Fsync};
/// use std::time::Duration;
///
/// let driver = Driver::on_thread(8)?.with_deadline(Duration::from_secs(30));
/// # pollster::block_on(async {
/// // Each request of the file ends within 30 seconds, as does the call that opens it.
/// let file = driver.open(&File::options().read(true), "Cargo.toml").await?;
/// let (result, buf) = file.read_exact_at(vec![0; 9], 0).await?;
/// result?;
/// assert_eq!(buf, b"[workspac");
///
/// // So does an operation. This one has a deadline of its own.
/// let sync = driver.perform(Fsync::new(std::fs::File::open("Cargo.toml")?));
/// match sync.timeout(Duration::from_secs(300)).await {
///     Ok((result, _)) => println!("{result:?}"), // Not every file system has it.
///     Err(timed_out) => println!("the disk hangs: {timed_out}"),
/// }
/// # Ok(()) }) }
/// ```
#[derive(Clone, Debug)]
pub struct DriverWithDeadline<D = Driver> {
    driver: D,
    time: Duration,
}

impl<D> DriverWithDeadline<D> {
    pub(crate) fn new(driver: D, time: Duration) -> Self {
        Self { driver, time }
    }

    /// Returns the handle without a deadline.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::Driver;
    /// use std::time::Duration;
    ///
    /// let driver = Driver::on_thread(8)?.with_deadline(Duration::from_secs(30));
    /// assert_eq!(driver.get_ref().outstanding(), 0);
    /// # Ok(()) }
    /// ```
    pub fn get_ref(&self) -> &D {
        &self.driver
    }

    pub(crate) fn time(&self) -> Duration {
        self.time
    }
}

impl Driver {
    /// Gives up every operation and every request of a file of this handle after a time.
    /// [`DriverWithDeadline`] says more. [`Duration::MAX`] sets no deadline.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Driver, op::Read};
    /// use std::{fs::File, time::Duration};
    ///
    /// let driver = Driver::on_thread(8)?.with_deadline(Duration::from_secs(30));
    /// let read = Read::new(File::open("/dev/zero")?, vec![1; 64], 0);
    /// let (result, read) = pollster::block_on(driver.perform(read))?;
    /// assert_eq!((result?, read.buf), (64, vec![0; 64]));
    /// # Ok(()) }
    /// ```
    #[doc(alias = "timeout")]
    pub fn with_deadline(self, time: Duration) -> DriverWithDeadline {
        DriverWithDeadline::new(self, time)
    }
}

impl DriverWithDeadline {
    /// Returns a future that performs `op` as [`Driver::perform`] does, and gives it up when the
    /// time of the handle has passed since this call.
    ///
    /// # Errors
    /// The future gives [`TimedOut`](crate::TimedOut) when the time is up, and at once if the
    /// driver cannot start the thread of its timer. The result is otherwise that of
    /// [`Driver::perform`].
    #[doc(alias = "submit")]
    #[doc(alias = "io_submit")]
    pub fn perform<O>(&self, op: O) -> WithDeadline<OpFuture<O>>
    where
        O: Operation + Send + 'static,
    {
        self.driver.perform(op).timeout(self.time)
    }
}
