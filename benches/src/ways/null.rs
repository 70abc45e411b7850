//! Performs nothing: the executor alone, with the tasks that the drivers have. Each future waits
//! once, and then has the outcome that the load expects. What a driver adds to it is the driver's.

use super::Runner;
use super::local::{self, BlockOn, Joined, OnLocalSet};
use super::shared::{Performs, Shared};
use super::tokio_fs::{Shares, runtime};
use crate::clock::Latencies;
use crate::load::{Action, Load};
use anyhow::Result;
use linux_aio::{AlignedBuf, Errno};
use std::fs::File;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

/// Performs nothing. Each future wakes its own task if that is how its executor learns of it.
struct Nothing<const WAKES: bool> {
    count: u32,
}

impl<const WAKES: bool, O> Performs<O> for Nothing<WAKES> {
    async fn future(&self, op: O) -> (Result<u32, Errno>, O) {
        let mut waited = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut waited, true) {
                return Poll::Ready(());
            }
            if WAKES {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
        (Ok(self.count), op)
    }
}

type Woken = Nothing<true>;
type Polled = Nothing<false>;

impl BlockOn for Polled {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
        }
    }
}

/// The count of each operation: a load of reads has no other.
fn count(load: &Load) -> u32 {
    load.returns(Action::Read) as u32
}

/// Holds a runtime of one thread, for a task each.
struct OnTokio {
    shared: Arc<Shared<Woken, Arc<File>>>,
    buffers: Vec<AlignedBuf>,
    runtime: Runtime,
}

/// Makes a runtime of one thread.
pub fn prepare(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    let files = load.target.files.clone();
    let shared = Shared { driver: Woken { count: count(load) }, files, load: Arc::clone(load) };
    let (shared, buffers) = (Arc::new(shared), load.buffers()?);
    Ok(Box::new(OnTokio { shared, buffers, runtime: runtime(1)? }))
}

impl Runner for OnTokio {
    fn run(&mut self, operations: u64, latencies: Option<&mut Latencies>) -> Result<()> {
        let Self { shared, buffers, runtime } = self;
        let shares = Shares::new(&shared.load, operations, std::mem::take(buffers));
        let timed = latencies.is_some();
        let task = |number, operations, buf| {
            Shared::timed_share(Arc::clone(shared), buf, number, operations, timed)
        };
        *buffers = runtime.block_on(shares.in_tasks(task, latencies))?;
        Ok(())
    }
}

/// Makes a `LocalSet`.
pub fn prepare_on_local_set(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    let shared = local::shared(load, Woken { count: count(load) })?;
    let (tasks, runtime) = (LocalSet::new(), runtime(1)?);
    Ok(Box::new(OnLocalSet { shared, buffers: load.buffers()?, tasks, runtime }))
}

/// Makes futures that are joined, and polled until all have ended.
pub fn prepare_joined(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    let shared = local::shared(load, Polled { count: count(load) })?;
    Ok(Box::new(Joined { shared, buffers: load.buffers()? }))
}
