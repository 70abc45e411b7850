//! The I/O of a storage engine on one thread, without a runtime: a log with group commit, and reads
//! of random pages.
//!
//! Tasks append records. The first that finds the log idle writes the records of all, and makes
//! them durable by one sync. Other tasks read pages to the buffers of a pool. Every request has a
//! deadline. At the end the program prints how long operations took, and closes the driver even if
//! the disk hangs.
//!
//! ```text
//! cargo run --release --features smol --example storage_engine                # in a new directory
//! cargo run --release --features smol --example storage_engine -- DIRECTORY
//! ```
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail, ensure};
use linux_aio::{BufferPool, File, FileWithDeadline, LocalDriver, PoolBuf, UnexpectedEnd};
use smol::LocalExecutor;
use smol::lock::Mutex;
use std::cell::RefCell;
use std::env::args_os;
use std::io::{self, ErrorKind};
use std::mem::take;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

type TimedFile = FileWithDeadline<LocalDriver>;

const PAGE: usize = 4096;
const PAGES: u64 = 256;
const READERS: u64 = 16;
const WRITERS: u64 = 16;
/// The requests of each task.
const REQUESTS: u64 = 50;
/// A request that takes longer is given up. Its buffer stays with the driver.
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct State {
    /// Records that nobody has begun to write.
    waiting: Vec<u8>,
    /// The numbers of the last record that was appended, and of the last that is durable.
    appended: u64,
    durable: u64,
    /// The end of the durable records in the file.
    end: u64,
    syncs: u64,
    /// Says why no record can be durable any more.
    broken: Option<String>,
}

struct Log {
    file: TimedFile,
    state: RefCell<State>,
    /// Held by the task that writes.
    writes: Mutex<()>,
}

impl Log {
    /// Appends a record, and returns when it is durable.
    async fn commit(&self, record: &[u8]) -> Result<()> {
        let number = {
            let state = &mut *self.state.borrow_mut();
            state.waiting.extend((record.len() as u32).to_le_bytes());
            state.waiting.extend(crc32c::crc32c(record).to_le_bytes());
            state.waiting.extend(record);
            state.appended += 1;
            state.appended
        };
        // While one task writes, the others wait here, and their records gather.
        let _writes = self.writes.lock().await;
        let (batch, last, end) = {
            let state = &mut *self.state.borrow_mut();
            if let Some(why) = &state.broken {
                bail!("the log is broken: {why}");
            }
            if state.durable >= number {
                return Ok(());
            }
            (take(&mut state.waiting), state.appended, state.end)
        };
        let len = batch.len() as u64;
        let written = self.write(batch, end).await;
        let state = &mut *self.state.borrow_mut();
        if let Err(error) = written {
            // After a failed sync, or a write that may still come, nothing more can be promised.
            // A disk that is full ends this log, too: records of others were in the batch.
            state.broken = Some(error.to_string());
            return Err(error).context("the log");
        }
        (state.durable, state.end) = (last, end + len);
        state.syncs += 1;
        Ok(())
    }

    /// The records are not aligned, so this goes through the page cache, by a thread of the driver.
    /// The metrics of the driver show the sync alone.
    async fn write(&self, batch: Vec<u8>, at: u64) -> io::Result<()> {
        // The outer error: the time is up. The inner one: the write failed.
        let (result, _batch) = self.file.write_all_at(batch, at).await?;
        result?;
        // An error here means that the write is lost. Never sync again and trust the answer.
        self.file.sync_data().await
    }
}

/// Reads a page. Returns `None` if the file ends before it, or in it.
async fn read_page(file: &TimedFile, pool: &BufferPool, page: u64) -> io::Result<Option<PoolBuf>> {
    let buf = pool.take().await;
    let (result, buf) = file.read_exact_at(buf, page * PAGE as u64).await?;
    match result {
        Ok(()) => Ok(Some(buf)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            let end = error.get_ref().and_then(|it| it.downcast_ref::<UnexpectedEnd>());
            println!("page {page} has {} bytes", end.map_or(0, UnexpectedEnd::read));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Writes all pages, each full of its own number.
async fn fill(file: &TimedFile, pool: &BufferPool) -> io::Result<()> {
    file.allocate(0, PAGES * PAGE as u64).await.or_else(|error| match error.kind() {
        ErrorKind::Unsupported => Ok(()), // The writes allocate.
        _ => Err(error),
    })?;
    for page in 0..PAGES {
        let mut buf = pool.take().await;
        buf.fill(page as u8);
        file.write_all_at(buf, page * PAGE as u64).await?.0?;
    }
    file.sync_data().await
}

async fn run(driver: &LocalDriver, executor: &LocalExecutor<'_>, directory: &Path) -> Result<()> {
    let driver = driver.clone().with_deadline(DEADLINE);
    let options = File::options().read(true).write(true).create(true).truncate(true);
    let pages = driver.open(&options, directory.join("pages")).await?;
    let log = driver.open(&options, directory.join("log")).await?;
    // The names of new files are durable when their directory has been synced.
    driver.open(&File::options().read(true), directory).await?.sync_all().await?;
    println!("pages: {}", pages.get_ref().direct());
    let pool = BufferPool::new(READERS as usize, PAGE, PAGE)?;
    fill(&pages, &pool).await.context("the pages")?; // An error of a file names no path.

    let log = Rc::new(Log { file: log, state: RefCell::default(), writes: Mutex::new(()) });
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let log = Rc::clone(&log);
        tasks.push(executor.spawn(async move {
            for number in 0..REQUESTS {
                log.commit(format!("record {number} of {writer}").as_bytes()).await?;
            }
            anyhow::Ok(())
        }));
    }
    for _ in 0..READERS {
        let (pages, pool) = (pages.clone(), pool.clone());
        tasks.push(executor.spawn(async move {
            for _ in 0..REQUESTS {
                let number = fastrand::u64(..PAGES);
                let page = read_page(&pages, &pool, number).await?.context("a page is missing")?;
                ensure!(page.iter().all(|&byte| byte == number as u8), "page {number} is wrong");
            }
            Ok(())
        }));
    }
    for task in tasks {
        task.await?;
    }
    let (commits, syncs) = (WRITERS * REQUESTS, log.state.borrow().syncs);
    println!("{commits} commits by {syncs} syncs");

    // Somebody makes the file shorter: a page is there in part, and others not at all.
    pages.set_len(10 * PAGE as u64 + 100).await?;
    for page in [10, 11] {
        ensure!(read_page(&pages, &pool, page).await?.is_none(), "page {page} is gone");
    }
    Ok(())
}

fn engine(directory: &Path) -> Result<()> {
    let driver = LocalDriver::new(64)?;
    driver.measure(true);
    let executor = LocalExecutor::new();
    let result = driver.block_on(executor.run(run(&driver, &executor, directory)));
    for late in driver.overdue(DEADLINE) {
        eprintln!("the kernel still has: {late}");
    }
    for kind in driver.metrics().kinds() {
        let (name, time) = (format!("{:?}", kind.opcode).to_lowercase(), &kind.in_kernel);
        let [half, most] = [0.5, 0.99].map(|share| time.quantile(share));
        println!("{name}: {} operations, {} failed", kind.operations, kind.failed);
        println!("{name}: in the kernel p50 {half:?}, p99 {most:?}, max {:?}", time.max());
    }
    drop(executor);
    driver.block_on(driver.clone().close_within(DEADLINE))?;
    result
}

fn main() -> ExitCode {
    let result = match args_os().nth(1).map(PathBuf::from) {
        Some(directory) => engine(&directory),
        None => tempfile::tempdir().map_err(Into::into).and_then(|it| engine(it.path())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("storage_engine: {error:#}");
            ExitCode::FAILURE
        }
    }
}
