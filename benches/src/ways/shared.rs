//! Runs the tasks of a driver, each of which does its operations one after the other. It is the
//! same for a driver of any thread, for one of a single thread, and for none.

use crate::clock::{Clock, NoClock, Watch};
use crate::load::{Action, Cursor, Load};
use anyhow::Result;
use linux_aio::op::{Fdsync, Read, Write};
use linux_aio::{AlignedBuf, Driver, Errno, LocalDriver, Operation};
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;

/// Performs operations of a type as futures.
pub(crate) trait Performs<O> {
    /// Returns the future of an operation.
    fn future(&self, op: O) -> impl Future<Output = (Result<u32, Errno>, O)>;
}

impl<O: Operation + Send + 'static> Performs<O> for Driver {
    fn future(&self, op: O) -> impl Future<Output = (Result<u32, Errno>, O)> {
        self.perform(op)
    }
}

impl<O: Operation + 'static> Performs<O> for LocalDriver {
    fn future(&self, op: O) -> impl Future<Output = (Result<u32, Errno>, O)> {
        self.perform(op)
    }
}

/// Holds what the tasks share: a driver, and the files `F` of a load.
pub(crate) struct Shared<D, F> {
    pub(crate) driver: D,
    pub(crate) files: Vec<F>,
    pub(crate) load: Arc<Load>,
}

/// Performs each operation of a load as a future.
pub(crate) trait PerformsLoads<F>:
    Performs<Read<F, AlignedBuf>> + Performs<Write<F, AlignedBuf>> + Performs<Fdsync<F>>
{
}

impl<F, D> PerformsLoads<F> for D where
    D: Performs<Read<F, AlignedBuf>> + Performs<Write<F, AlignedBuf>> + Performs<Fdsync<F>>
{
}

impl<D: PerformsLoads<F>, F: Clone> Shared<D, F> {
    /// Does the operations of one task, and returns its buffer.
    async fn share<C: Clock>(
        &self,
        mut buf: AlignedBuf,
        number: usize,
        operations: u64,
        clock: &mut C,
    ) -> Result<AlignedBuf> {
        let Self { driver, files, load } = self;
        let mut cursor = Cursor::at(number);
        for at in 0..operations {
            let (step, _) = cursor.next(load);
            let file = files[(number + at as usize) % files.len()].clone();
            let mark = clock.begin();
            let result = match step.action() {
                Action::Read => {
                    let (result, read) = driver.future(Read::new(file, buf, step.offset())).await;
                    buf = read.buf;
                    result
                }
                Action::Write => {
                    let write = Write::new(file, buf, step.offset());
                    let (result, write) = driver.future(write).await;
                    buf = write.buf;
                    result
                }
                Action::Sync => driver.future(Fdsync::new(file)).await.0,
            };
            clock.end(mark);
            load.check(step.action(), result.map(|count| count as usize))?;
        }
        Ok(buf)
    }

    /// Does the operations of one task, and returns its buffer, with their times if `timed`.
    pub(crate) async fn timed_share(
        shared: impl Deref<Target = Self>,
        buf: AlignedBuf,
        number: usize,
        operations: u64,
        timed: bool,
    ) -> Result<(AlignedBuf, Vec<u64>)> {
        let mut times = Vec::new();
        let buf = if timed {
            shared.share(buf, number, operations, &mut Watch(&mut times)).await
        } else {
            shared.share(buf, number, operations, &mut NoClock).await
        };
        Ok((buf?, times))
    }
}
