//! Reads and writes by tokio's own means: `tokio::fs`, and `spawn_blocking`.

use super::Runner;
use crate::clock::{Clock, Latencies, NoClock, Watch, record_all};
use crate::load::{Action, Cursor, Load};
use anyhow::{Result, ensure};
use linux_aio::AlignedBuf;
use std::fs::OpenOptions;
use std::io::SeekFrom;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, spawn_blocking};

/// Makes a runtime of one thread for tasks, and at most `blocking` for what blocks.
pub(crate) fn runtime(blocking: u32) -> Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    Ok(builder.max_blocking_threads(blocking as usize).enable_all().build()?)
}

/// Says what each task does: how many operations, and with which buffer.
pub(crate) struct Shares<B> {
    operations: u64,
    buffers: Vec<B>,
}

impl<B> Shares<B> {
    /// Makes equal shares for the operations under way, each of which has a buffer of its own.
    pub(crate) fn new(load: &Load, operations: u64, buffers: Vec<B>) -> Self {
        Self { operations: operations / u64::from(load.depth), buffers }
    }

    /// Returns each share's number, operations and buffer.
    pub(crate) fn into_each(self) -> impl Iterator<Item = (usize, u64, B)> {
        let operations = self.operations;
        // Numbers that are far from each other, so that no two tasks do the same.
        self.buffers.into_iter().enumerate().map(move |(n, buf)| (n * 37, operations, buf))
    }

    /// Runs a task for each on tokio, and gives the buffers back.
    pub(crate) async fn in_tasks<F>(
        self,
        task: impl Fn(usize, u64, B) -> F,
        mut latencies: Option<&mut Latencies>,
    ) -> Result<Vec<B>>
    where
        F: Future<Output = Result<(B, Vec<u64>)>> + Send + 'static,
        B: Send + 'static,
    {
        let tasks = self.into_each().map(|(number, operations, buf)| task(number, operations, buf));
        let mut tasks: JoinSet<_> = tasks.collect();
        let mut buffers = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            let (buf, times) = ended??;
            buffers.push(buf);
            if let Some(latencies) = &mut latencies {
                record_all(latencies, &times);
            }
        }
        Ok(buffers)
    }
}

/// Holds tokio's files, one for each task, since each has a place in the file.
struct TokioFs {
    /// With the buffer of the task.
    files: Vec<(File, Vec<u8>)>,
    load: Arc<Load>,
    runtime: Runtime,
}

/// Goes through the page cache: tokio's own buffer is not aligned, so `O_DIRECT` cannot be had.
pub fn prepare(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    ensure!(load.target.files.len() == 1, "not for many files");
    let open = |_| {
        let writes = load.kind != crate::load::Kind::Read;
        let file = OpenOptions::new().read(true).write(writes).open(&load.target.cached)?;
        let mut file = File::from_std(file);
        file.set_max_buf_size(load.target.block);
        Ok((file, vec![0x5a; load.target.block]))
    };
    let files = (0..load.depth).map(open).collect::<Result<_>>()?;
    let runtime = runtime(load.depth)?;
    Ok(Box::new(TokioFs { files, load: Arc::clone(load), runtime }))
}

async fn by_file<C: Clock>(
    load: Arc<Load>,
    (mut file, mut buf): (File, Vec<u8>),
    number: usize,
    operations: u64,
    clock: &mut C,
) -> Result<(File, Vec<u8>)> {
    let mut cursor = Cursor::at(number);
    for _ in 0..operations {
        let (step, _) = cursor.next(&load);
        let mark = clock.begin();
        match step.action() {
            Action::Read => {
                file.seek(SeekFrom::Start(step.offset())).await?;
                let wanted = load.target.read_returns;
                file.read_exact(&mut buf[..wanted]).await?;
            }
            Action::Write => {
                file.seek(SeekFrom::Start(step.offset())).await?;
                file.write_all(&buf).await?;
                // Until then only a thread has it.
                file.flush().await?;
            }
            Action::Sync => file.sync_data().await?,
        }
        clock.end(mark);
    }
    Ok((file, buf))
}

impl Runner for TokioFs {
    fn run(&mut self, operations: u64, latencies: Option<&mut Latencies>) -> Result<()> {
        let Self { files, load, runtime } = self;
        let shares = Shares::new(load, operations, std::mem::take(files));
        let timed = latencies.is_some();
        let task = |number, operations, file| {
            let load = Arc::clone(load);
            async move {
                let mut times = Vec::new();
                let file = if timed {
                    by_file(load, file, number, operations, &mut Watch(&mut times)).await
                } else {
                    by_file(load, file, number, operations, &mut NoClock).await
                };
                Ok((file?, times))
            }
        };
        *files = runtime.block_on(shares.in_tasks(task, latencies))?;
        Ok(())
    }
}

/// `pread` and its kin on tokio's threads, as many as operations under way.
struct Blocking {
    buffers: Vec<AlignedBuf>,
    load: Arc<Load>,
    runtime: Runtime,
}

/// Works on the load's own file.
pub fn prepare_spawn_blocking(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    let (buffers, runtime) = (load.buffers()?, runtime(load.depth)?);
    Ok(Box::new(Blocking { buffers, load: Arc::clone(load), runtime }))
}

/// Does one operation by the calls that block.
#[inline]
pub(crate) fn block_on_step(load: &Load, cursor: &mut Cursor, buf: &mut [u8]) -> Result<()> {
    let (step, file) = cursor.next_with_file(load);
    let result = match step.action() {
        Action::Read => file.read_at(buf, step.offset()),
        Action::Write => file.write_at(buf, step.offset()),
        Action::Sync => file.sync_data().map(|()| 0),
    };
    load.check(step.action(), result)
}

async fn by_spawning<C: Clock>(
    load: Arc<Load>,
    mut buf: AlignedBuf,
    number: usize,
    operations: u64,
    clock: &mut C,
) -> Result<AlignedBuf> {
    let mut cursor = Cursor::at(number);
    for _ in 0..operations {
        let mark = clock.begin();
        let load = Arc::clone(&load);
        let result;
        (buf, cursor, result) = spawn_blocking(move || {
            let result = block_on_step(&load, &mut cursor, &mut buf);
            (buf, cursor, result)
        })
        .await?;
        result?;
        clock.end(mark);
    }
    Ok(buf)
}

impl Runner for Blocking {
    fn run(&mut self, operations: u64, latencies: Option<&mut Latencies>) -> Result<()> {
        let Self { buffers, load, runtime } = self;
        let shares = Shares::new(load, operations, std::mem::take(buffers));
        let timed = latencies.is_some();
        let task = |number, operations, buf| {
            let load = Arc::clone(load);
            async move {
                let mut times = Vec::new();
                let buf = if timed {
                    by_spawning(load, buf, number, operations, &mut Watch(&mut times)).await
                } else {
                    by_spawning(load, buf, number, operations, &mut NoClock).await
                };
                Ok((buf?, times))
            }
        };
        *buffers = runtime.block_on(shares.in_tasks(task, latencies))?;
        Ok(())
    }
}
