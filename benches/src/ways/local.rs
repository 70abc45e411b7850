//! Performs operations as futures of one thread, by the local driver of this library: joined and
//! run by its own `block_on`, or as tasks of tokio's `LocalSet`.

use super::Runner;
use super::shared::{PerformsLoads, Shared};
use super::tokio_fs::{Shares, runtime};
use crate::clock::{Latencies, record_all};
use crate::load::Load;
use anyhow::Result;
use linux_aio::{AlignedBuf, LocalDriver};
use std::fs::File;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use tokio::runtime::Runtime;
use tokio::task::{LocalSet, spawn_local};

pub(super) type SharedFiles<D> = Shared<D, Rc<File>>;

pub(super) fn shared<D>(load: &Arc<Load>, driver: D) -> Result<Rc<SharedFiles<D>>> {
    let files = load.target.files.iter();
    let files = files.map(|file| Ok(Rc::new(file.try_clone()?))).collect::<Result<_>>()?;
    Ok(Rc::new(Shared { driver, files, load: Arc::clone(load) }))
}

type Task = Pin<Box<dyn Future<Output = Result<(AlignedBuf, Vec<u64>)>>>>;

/// The tasks as one future, which something runs to its end.
pub(super) struct Joined<D> {
    pub(super) shared: Rc<SharedFiles<D>>,
    pub(super) buffers: Vec<AlignedBuf>,
}

/// Makes a driver that runs its futures itself.
pub fn prepare_joined(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    let shared = shared(load, LocalDriver::new(load.depth)?)?;
    Ok(Box::new(Joined { shared, buffers: load.buffers()? }))
}

/// Runs a future to its end.
pub(super) trait BlockOn {
    fn block_on<F: Future>(&self, future: F) -> F::Output;
}

impl BlockOn for LocalDriver {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.block_on(future)
    }
}

impl<D> Joined<D> {
    /// Polls each task that has not ended, whichever was woken.
    ///
    /// A function of this type, so that each kind of driver has one of its own.
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
}

impl<D: BlockOn + PerformsLoads<Rc<File>> + 'static> Runner for Joined<D> {
    fn run(&mut self, operations: u64, mut latencies: Option<&mut Latencies>) -> Result<()> {
        let Self { shared, buffers } = self;
        let shares = Shares::new(&shared.load, operations, std::mem::take(buffers));
        let timed = latencies.is_some();
        let task = |(number, operations, buf)| -> Task {
            let shared = Rc::clone(shared);
            Box::pin(SharedFiles::timed_share(shared, buf, number, operations, timed))
        };
        let tasks = shares.into_each().map(task).collect();
        for (buf, times) in shared.driver.block_on(Self::join(tasks))? {
            buffers.push(buf);
            if let Some(latencies) = &mut latencies {
                record_all(latencies, &times);
            }
        }
        Ok(())
    }
}

/// A task each on a `LocalSet`.
pub(super) struct OnLocalSet<D> {
    pub(super) shared: Rc<SharedFiles<D>>,
    pub(super) buffers: Vec<AlignedBuf>,
    pub(super) tasks: LocalSet,
    pub(super) runtime: Runtime,
}

/// Makes a driver whose work a task of a `LocalSet` does.
pub fn prepare_on_local_set(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    let (runtime, tasks) = (runtime(1)?, LocalSet::new());
    let driver = async { linux_aio::tokio::local_driver(load.depth) };
    let driver = tasks.block_on(&runtime, driver)?;
    let shared = shared(load, driver)?;
    Ok(Box::new(OnLocalSet { shared, buffers: load.buffers()?, tasks, runtime }))
}

impl<D: PerformsLoads<Rc<File>> + 'static> Runner for OnLocalSet<D> {
    fn run(&mut self, operations: u64, mut latencies: Option<&mut Latencies>) -> Result<()> {
        let Self { shared, buffers, tasks, runtime } = self;
        let shares = Shares::new(&shared.load, operations, std::mem::take(buffers));
        let timed = latencies.is_some();
        tasks.block_on(runtime, async {
            let spawned: Vec<_> = shares
                .into_each()
                .map(|(number, operations, buf)| {
                    let shared = Rc::clone(shared);
                    spawn_local(SharedFiles::timed_share(shared, buf, number, operations, timed))
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
