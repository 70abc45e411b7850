//! [`FileDriver`], the drivers that files work with, and what a file asks of one.

use super::work::Work;
use crate::driver::BlockingThreads;
use crate::{Driver, Errno, LocalDriver, LocalFuture, OpFuture, Operation};
use alloc::boxed::Box;
use core::fmt;
use core::task::{Context, Poll};

/// A driver that a [`File`](super::File) works with: [`Driver`] or [`LocalDriver`].
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
pub trait FileDriver: Performs + Work {}

impl FileDriver for Driver {}
impl FileDriver for LocalDriver {}

/// What a file asks of its driver. Nobody else can implement it.
pub trait Performs: Clone + fmt::Debug + 'static {
    /// An operation as a future.
    type Performed<O: Operation + Send + 'static>: Unpin;

    fn perform<O: Operation + Send + 'static>(&self, op: Box<O>) -> Self::Performed<O>;

    /// Polls the future, and leaves the operation in its box.
    fn poll<O: Operation + Send + 'static>(
        performed: &mut Self::Performed<O>,
        cx: &mut Context<'_>,
    ) -> Poll<(Result<u32, Errno>, Box<O>)>;

    /// Returns the threads that make calls which block.
    fn threads(&self) -> &BlockingThreads;
}

impl Performs for Driver {
    type Performed<O: Operation + Send + 'static> = OpFuture<O>;

    fn perform<O: Operation + Send + 'static>(&self, op: Box<O>) -> OpFuture<O> {
        self.perform_boxed(op)
    }

    #[inline]
    fn poll<O: Operation + Send + 'static>(
        performed: &mut OpFuture<O>,
        cx: &mut Context<'_>,
    ) -> Poll<(Result<u32, Errno>, Box<O>)> {
        performed.poll_boxed(cx, None)
    }

    fn threads(&self) -> &BlockingThreads {
        self.blocking_threads()
    }
}

impl Performs for LocalDriver {
    type Performed<O: Operation + Send + 'static> = LocalFuture<O>;

    fn perform<O: Operation + Send + 'static>(&self, op: Box<O>) -> LocalFuture<O> {
        self.perform_boxed(op)
    }

    #[inline]
    fn poll<O: Operation + Send + 'static>(
        performed: &mut LocalFuture<O>,
        cx: &mut Context<'_>,
    ) -> Poll<(Result<u32, Errno>, Box<O>)> {
        performed.poll_boxed(cx)
    }

    fn threads(&self) -> &BlockingThreads {
        self.blocking_threads()
    }
}
