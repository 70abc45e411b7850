//! Performs operations as futures of one thread, by the local driver of this library: joined and
//! run by its own `block_on`, or as tasks of tokio's `LocalSet`.

use super::Runner;
use super::tokio_fs::{Shares, runtime};
use crate::clock::{Clock, Latencies, NoClock, Watch, record_all};
use crate::load::{Action, Cursor, Load};
use anyhow::Result;
use linux_aio::op::{Fdsync, Read, Write};
use linux_aio::{AlignedBuf, LocalDriver};
use std::fs::File;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use tokio::runtime::Runtime;
use tokio::task::{LocalSet, spawn_local};

/// Holds what each task has a share of.
struct Shared {
    driver: LocalDriver,
    files: Vec<Rc<File>>,
    load: Arc<Load>,
}

impl Shared {
    fn new(load: &Arc<Load>, driver: LocalDriver) -> Result<Rc<Self>> {
        let files = load.target.files.iter();
        let files = files.map(|file| Ok(Rc::new(file.try_clone()?))).collect::<Result<_>>()?;
        Ok(Rc::new(Self { driver, files, load: Arc::clone(load) }))
    }

    /// One task's operations, one after the other.
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
            let file = Rc::clone(&files[(number + at as usize) % files.len()]);
            let mark = clock.begin();
            let result = match step.action() {
                Action::Read => {
                    let (result, read) = driver.perform(Read::new(file, buf, step.offset())).await;
                    buf = read.buf;
                    result
                }
                Action::Write => {
                    let write = Write::new(file, buf, step.offset());
                    let (result, write) = driver.perform(write).await;
                    buf = write.buf;
                    result
                }
                Action::Sync => driver.perform(Fdsync::new(file)).await.0,
            };
            clock.end(mark);
            load.check(step.action(), result.map(|count| count as usize))?;
        }
        Ok(buf)
    }

    async fn timed_share(
        self: Rc<Self>,
        buf: AlignedBuf,
        number: usize,
        operations: u64,
        timed: bool,
    ) -> Result<(AlignedBuf, Vec<u64>)> {
        let mut times = Vec::new();
        let buf = if timed {
            self.share(buf, number, operations, &mut Watch(&mut times)).await
        } else {
            self.share(buf, number, operations, &mut NoClock).await
        };
        Ok((buf?, times))
    }
}

type Task = Pin<Box<dyn Future<Output = Result<(AlignedBuf, Vec<u64>)>>>>;

struct Joined {
    shared: Rc<Shared>,
    buffers: Vec<AlignedBuf>,
}

/// A driver that runs its futures itself.
pub fn prepare_joined(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    let shared = Shared::new(load, LocalDriver::new(load.depth)?)?;
    Ok(Box::new(Joined { shared, buffers: load.buffers()? }))
}

/// Polls each task that has not ended, whichever was woken.
fn join(tasks: Vec<Task>) -> impl Future<Output = Result<Vec<(AlignedBuf, Vec<u64>)>>> {
    let mut tasks: Vec<_> = tasks.into_iter().map(Some).collect();
    let mut results = Vec::new();
    poll_fn(move |cx| {
        for task in &mut tasks {
            let Some(pending) = task else { continue };
            if let Poll::Ready(result) = pending.as_mut().poll(cx) {
                results.push(result?);
                *task = None;
            }
        }
        match results.len() == tasks.len() {
            true => Poll::Ready(Ok(std::mem::take(&mut results))),
            false => Poll::Pending,
        }
    })
}

impl Runner for Joined {
    fn run(&mut self, operations: u64, mut latencies: Option<&mut Latencies>) -> Result<()> {
        let Self { shared, buffers } = self;
        let shares = Shares::new(&shared.load, operations, std::mem::take(buffers));
        let timed = latencies.is_some();
        let task = |(number, operations, buf)| -> Task {
            Box::pin(Rc::clone(shared).timed_share(buf, number, operations, timed))
        };
        let tasks = shares.into_each().map(task).collect();
        for (buf, times) in shared.driver.block_on(join(tasks))? {
            buffers.push(buf);
            if let Some(latencies) = &mut latencies {
                record_all(latencies, &times);
            }
        }
        Ok(())
    }
}

struct OnLocalSet {
    shared: Rc<Shared>,
    buffers: Vec<AlignedBuf>,
    tasks: LocalSet,
    runtime: Runtime,
}

/// A driver whose work a task of a `LocalSet` does.
pub fn prepare_on_local_set(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    let (runtime, tasks) = (runtime(1)?, LocalSet::new());
    let driver = async { linux_aio::tokio::local_driver(load.depth) };
    let driver = tasks.block_on(&runtime, driver)?;
    let shared = Shared::new(load, driver)?;
    Ok(Box::new(OnLocalSet { shared, buffers: load.buffers()?, tasks, runtime }))
}

impl Runner for OnLocalSet {
    fn run(&mut self, operations: u64, mut latencies: Option<&mut Latencies>) -> Result<()> {
        let Self { shared, buffers, tasks, runtime } = self;
        let shares = Shares::new(&shared.load, operations, std::mem::take(buffers));
        let timed = latencies.is_some();
        tasks.block_on(runtime, async {
            let spawned: Vec<_> = shares
                .into_each()
                .map(|(number, operations, buf)| {
                    spawn_local(Rc::clone(shared).timed_share(buf, number, operations, timed))
                })
                .collect();
            for ended in spawned {
                let (buf, times) = ended.await??;
                buffers.push(buf);
                if let Some(latencies) = &mut latencies {
                    record_all(latencies, &times);
                }
            }
            Ok(())
        })
    }
}
