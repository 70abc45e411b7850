//! [`Fallback`], for reads and writes that would block.

use crate::op::{Buffers, Read, ReadV, Write, WriteV};
use crate::{Driver, DriverStats};
use crate::{Errno, IoPrio, Operation, RwFlags};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::io;

/// Two threads, one for reads and one for writes, that do what would block the driver.
///
/// A [`File`](super::File) that [falls back](super::File::fall_back_to) asks the kernel first to do
/// a read or write without blocking (`RWF_NOWAIT`). What the kernel refuses for that reason goes to
/// the thread of its direction. A clone is another handle of the same threads, which any number of
/// files may share.
///
/// # Measured
///
/// By `tokio_random_read FILE --buffered` of `benches/`, with and without `--fall-back` (Linux
/// 6.18, ext4, two CPUs; 4 KiB reads by 32 tasks on one thread, of a file of 256 MiB that was not
/// in the page cache): without, half of the reads took more than 107 µs inside of `io_submit`,
/// which held up the other 31 tasks. With it, 29,305 of 567,540 reads would have blocked and went
/// to the thread; half of all took less than 3.2 µs. Around the page cache (without `--buffered`),
/// 1 of 11,307 calls of `io_submit` took more than a millisecond.
#[derive(Clone, Debug)]
pub struct Fallback {
    reads: Driver,
    writes: Driver,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    tried: AtomicU64,
    retried: AtomicU64,
    unsupported: AtomicU64,
}

/// What a [`Fallback`] has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackStats {
    /// Reads and writes that were tried without blocking.
    pub tried: u64,
    /// Of these, those that would have blocked (`EAGAIN`), and went to a thread.
    pub retried: u64,
    /// Reads and writes that went to a thread since the file knows nothing of `RWF_NOWAIT` in this
    /// direction (`EOPNOTSUPP`). It is asked once for each file.
    pub unsupported: u64,
    /// What the thread for reads has done.
    pub reads: DriverStats,
    /// What the thread for writes has done.
    pub writes: DriverStats,
}

impl Fallback {
    /// Two threads, for up to `capacity` operations each; more wait their turn.
    ///
    /// # Errors
    /// As [`Driver::on_thread`].
    pub fn new(capacity: u32) -> io::Result<Self> {
        let (reads, writes) = (Driver::on_thread(capacity)?, Driver::on_thread(capacity)?);
        Ok(Self { reads, writes, counters: Arc::default() })
    }

    /// Sets for how long the threads retry where the kernel has no resources, as
    /// [`Driver::retry_submits_for`] does for a driver.
    pub fn retry_submits_for(&self, time: Duration) {
        self.reads.retry_submits_for(time);
        self.writes.retry_submits_for(time);
    }

    /// Returns counts of what was done so far. In a forked child those of the two threads are
    /// zeros, and the others stay as they were at the fork.
    pub fn stats(&self) -> FallbackStats {
        FallbackStats {
            tried: self.counters.tried.load(Ordering::Relaxed),
            retried: self.counters.retried.load(Ordering::Relaxed),
            unsupported: self.counters.unsupported.load(Ordering::Relaxed),
            reads: self.reads.stats(),
            writes: self.writes.stats(),
        }
    }

    /// Takes no more operations, and resolves when those that were taken have completed; at once in
    /// a forked child, where the parent's threads go on.
    pub async fn close(self) {
        self.reads.close().await;
        self.writes.close().await;
    }

    /// Does `op` by `driver` if that does not block it, else by a thread.
    pub(super) async fn submit<O: Transfer>(
        &self,
        driver: &Driver,
        support: &Support,
        mut op: O,
    ) -> (Result<u32, Errno>, O) {
        let (thread, unsupported) = match O::WRITES {
            true => (&self.writes, &support.writes_unsupported),
            false => (&self.reads, &support.reads_unsupported),
        };
        let flags = *op.rw_flags();
        if flags.contains(RwFlags::NOWAIT) {
            // The caller would rather have the error.
            return driver.perform(op).await;
        }
        let mut refused = unsupported.load(Ordering::Relaxed);
        if !refused {
            count(&self.counters.tried);
            *op.rw_flags() = flags | RwFlags::NOWAIT;
            let result;
            (result, op) = driver.perform(op).await;
            *op.rw_flags() = flags;
            match result {
                Err(Errno::EAGAIN) => count(&self.counters.retried),
                Err(Errno::EOPNOTSUPP) => refused = true,
                _ => return (result, op),
            }
        }
        if refused {
            count(&self.counters.unsupported);
        }
        let (result, op) = thread.perform(op).await;
        // Otherwise it was not NOWAIT that is not supported, but one of the caller's flags.
        if refused && result != Err(Errno::EOPNOTSUPP) {
            unsupported.store(true, Ordering::Relaxed);
        }
        (result, op)
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What a file has said of `RWF_NOWAIT`.
#[derive(Debug, Default)]
pub(super) struct Support {
    reads_unsupported: AtomicBool,
    writes_unsupported: AtomicBool,
}

/// A read or write, whose flags and priority can be set.
pub(super) trait Transfer: Operation + Send + 'static {
    const WRITES: bool;

    fn rw_flags(&mut self) -> &mut RwFlags;
    fn ioprio(&mut self) -> &mut IoPrio;
}

impl<F: Send + 'static, B: Send + 'static> Transfer for Read<F, B>
where
    Self: Operation,
{
    const WRITES: bool = false;

    fn rw_flags(&mut self) -> &mut RwFlags {
        &mut self.rw_flags
    }

    fn ioprio(&mut self) -> &mut IoPrio {
        &mut self.ioprio
    }
}

impl<F: Send + 'static, S: Buffers + 'static> Transfer for ReadV<F, S>
where
    Self: Operation + Send,
{
    const WRITES: bool = false;

    fn rw_flags(&mut self) -> &mut RwFlags {
        &mut self.rw_flags
    }

    fn ioprio(&mut self) -> &mut IoPrio {
        &mut self.ioprio
    }
}

impl<F: Send + 'static, B: Send + 'static> Transfer for Write<F, B>
where
    Self: Operation,
{
    const WRITES: bool = true;

    fn rw_flags(&mut self) -> &mut RwFlags {
        &mut self.rw_flags
    }

    fn ioprio(&mut self) -> &mut IoPrio {
        &mut self.ioprio
    }
}

impl<F: Send + 'static, S: Buffers + 'static> Transfer for WriteV<F, S>
where
    Self: Operation + Send,
{
    const WRITES: bool = true;

    fn rw_flags(&mut self) -> &mut RwFlags {
        &mut self.rw_flags
    }

    fn ioprio(&mut self) -> &mut IoPrio {
        &mut self.ioprio
    }
}
