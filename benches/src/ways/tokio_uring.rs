//! Performs futures on io_uring, by `tokio-uring`: a task for each operation under way.

use super::Runner;
use super::tokio_fs::Shares;
use crate::clock::{Clock, Latencies, NoClock, Watch, record_all};
use crate::load::{Action, Cursor, Load};
use anyhow::{Context, Result};
use std::rc::Rc;
use std::sync::Arc;
use tokio_uring::Runtime;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::fs::File;

/// Its buffers are vectors, of which an aligned part is used.
struct TokioUring {
    files: Vec<Rc<File>>,
    buffers: Vec<Vec<u8>>,
    load: Arc<Load>,
    runtime: Runtime,
}

const ALIGNMENT: usize = 4096;

/// Makes a runtime of its own, of one thread.
pub fn prepare(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    // Its constructor panics where there is no io_uring.
    io_uring::IoUring::new(8).context("io_uring is blocked or missing")?;
    let mut builder = tokio_uring::builder();
    builder.entries(load.depth.next_power_of_two().max(8));
    let runtime = Runtime::new(&builder)?;
    let files = load.target.files.iter();
    let files = files.map(|file| Ok(Rc::new(File::from_std(file.try_clone()?))));
    let files = files.collect::<Result<_>>()?;
    let mut buffers = vec![vec![0; load.target.block + ALIGNMENT]; load.depth as usize];
    buffers.iter_mut().for_each(|buf| fastrand::fill(buf));
    Ok(Box::new(TokioUring { files, buffers, load: Arc::clone(load), runtime }))
}

/// Does one task's operations, one after the other.
async fn share<C: Clock>(
    load: Arc<Load>,
    files: Vec<Rc<File>>,
    mut whole: Vec<u8>,
    number: usize,
    operations: u64,
    clock: &mut C,
) -> Result<Vec<u8>> {
    let mut cursor = Cursor::at(number);
    let from = whole.as_ptr().align_offset(ALIGNMENT);
    let part = from..from + load.target.block;
    for at in 0..operations {
        let (step, _) = cursor.next(&load);
        let file = &files[(number + at as usize) % files.len()];
        let mark = clock.begin();
        let result = match step.action() {
            Action::Read => {
                let (result, slice) = file.read_at(whole.slice(part.clone()), step.offset()).await;
                whole = slice.into_inner();
                result
            }
            Action::Write => {
                let write = file.write_at(whole.slice(part.clone()), step.offset());
                let (result, slice) = write.submit().await;
                whole = slice.into_inner();
                result
            }
            Action::Sync => file.sync_data().await.map(|()| 0),
        };
        clock.end(mark);
        load.check(step.action(), result)?;
    }
    Ok(whole)
}

impl Runner for TokioUring {
    fn run(&mut self, operations: u64, mut latencies: Option<&mut Latencies>) -> Result<()> {
        let Self { files, buffers, load, runtime } = self;
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
                anyhow::Ok((buf?, times))
            }
        };
        runtime.block_on(async {
            let tasks = shares.into_each();
            let tasks: Vec<_> = tasks
                .map(|(number, operations, buf)| tokio_uring::spawn(task(number, operations, buf)))
                .collect();
            for ended in tasks {
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
