//! Performs operations as futures on tokio, by the adapter: a task for each one under way.

use super::Runner;
use super::shared::Shared;
use super::tokio_fs::{Shares, runtime};
use crate::clock::{Clock, Latencies, NoClock, Watch};
use crate::load::{Action, Cursor, Load};
use anyhow::Result;
use linux_aio::{AlignedBuf, Driver, File};
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Holds a driver on a runtime of one thread.
struct OnTokio {
    files: Vec<File>,
    buffers: Vec<AlignedBuf>,
    load: Arc<Load>,
    driver: Driver,
    runtime: Runtime,
}

/// Makes a driver, and opens the load's files on it.
pub fn prepare(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    let runtime = runtime(1)?;
    let entered = runtime.enter();
    let driver = linux_aio::tokio::driver(load.depth)?;
    drop(entered);
    let files = load.target.files.iter();
    let files = files.map(|file| Ok(File::from_std(file.try_clone()?, &driver)?));
    let files = files.collect::<Result<_>>()?;
    let buffers = load.buffers()?;
    Ok(Box::new(OnTokio { files, buffers, load: Arc::clone(load), driver, runtime }))
}

/// Does one task's operations, one after the other.
async fn share<C: Clock>(
    load: Arc<Load>,
    files: Vec<File>,
    mut buf: AlignedBuf,
    number: usize,
    operations: u64,
    clock: &mut C,
) -> Result<AlignedBuf> {
    let mut cursor = Cursor::at(number);
    for at in 0..operations {
        let (step, _) = cursor.next(&load);
        let file = &files[(number + at as usize) % files.len()];
        let mark = clock.begin();
        let result;
        match step.action() {
            Action::Read => (result, buf) = file.read_at(buf, step.offset()).await,
            Action::Write => (result, buf) = file.write_at(buf, step.offset()).await,
            Action::Sync => result = file.sync_data().await.map(|()| 0),
        }
        clock.end(mark);
        load.check(step.action(), result)?;
    }
    Ok(buf)
}

impl Runner for OnTokio {
    fn run(&mut self, operations: u64, latencies: Option<&mut Latencies>) -> Result<()> {
        let Self { files, buffers, load, driver, runtime } = self;
        let _driver = driver;
        let shares = Shares::new(load, operations, std::mem::take(buffers));
        let timed = latencies.is_some();
        let task = |number, operations, buf| {
            let (load, files) = (Arc::clone(load), files.clone());
            async move {
                let mut times = Vec::new();
                let buf = if timed {
                    share(load, files, buf, number, operations, &mut Watch(&mut times)).await
                } else {
                    share(load, files, buf, number, operations, &mut NoClock).await
                };
                Ok((buf?, times))
            }
        };
        *buffers = runtime.block_on(shares.in_tasks(task, latencies))?;
        Ok(())
    }
}

type SharedFiles = Shared<Driver, Arc<std::fs::File>>;

/// Holds a driver on a runtime of one thread, whose operations are not those of a [`File`].
struct Plain {
    shared: Arc<SharedFiles>,
    buffers: Vec<AlignedBuf>,
    runtime: Runtime,
}

/// Makes a driver, for operations of the library's own types.
pub fn prepare_plain(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    let runtime = runtime(1)?;
    let entered = runtime.enter();
    let driver = linux_aio::tokio::driver(load.depth)?;
    drop(entered);
    let files = load.target.files.clone();
    let shared = Arc::new(Shared { driver, files, load: Arc::clone(load) });
    Ok(Box::new(Plain { shared, buffers: load.buffers()?, runtime }))
}

impl Runner for Plain {
    fn run(&mut self, operations: u64, latencies: Option<&mut Latencies>) -> Result<()> {
        let Self { shared, buffers, runtime } = self;
        let shares = Shares::new(&shared.load, operations, std::mem::take(buffers));
        let timed = latencies.is_some();
        let task = |number, operations, buf| {
            SharedFiles::timed_share(Arc::clone(shared), buf, number, operations, timed)
        };
        *buffers = runtime.block_on(shares.in_tasks(task, latencies))?;
        Ok(())
    }
}
