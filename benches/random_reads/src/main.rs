//! Random reads of 4 KiB by tasks: `File`, tokio-epoll-uring and tokio::fs, interleaved.
//!
//! ```text
//! cargo run --release --manifest-path benches/random_reads/Cargo.toml -- DIRECTORY
//! ```
//!
//! Each task reads a file of its own. Each round runs every way once, in an order drawn anew. Hot
//! files are read to the page cache first, and checked by the kernel's own count of cached pages.
//! From the disk, `File` and tokio-epoll-uring read with `O_DIRECT`; tokio::fs cannot, and reads
//! files that are dropped from the page cache first.

use anyhow::{Context, Result, ensure};
use bytesize::ByteSize;
use clap::Parser;
use hdrhistogram::Histogram;
use linux_aio::{AlignedBuf, Direct, Driver, File};
use linux_aio_benches::{measure::cpu_time, statistics::median};
use rustix::fs::{Advice, OFlags, fadvise};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::runtime::{Builder, Runtime};
use tokio_epoll_uring::BoundedBuf;

const BLOCK: usize = 4096;

/// Compares ways to read at random places.
#[derive(Parser)]
struct Args {
    /// The directory for the files, on the disk to try.
    directory: PathBuf,
    /// The number of tasks, and of files.
    #[arg(long, default_value_t = 32)]
    tasks: usize,
    /// The size of each file.
    #[arg(long, default_value = "32MiB")]
    size: ByteSize,
    /// The time of a run, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    milliseconds: u64,
    /// The number of rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    File,
    EpollUring,
    TokioFs,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::File => "`File`",
            Self::EpollUring => "tokio-epoll-uring",
            Self::TokioFs => "tokio::fs",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Hot,
    Disk,
}

/// A way on a runtime of so many threads, or of the thread of the caller if that is 0.
struct Contender {
    place: Where,
    way: Way,
    workers: usize,
    runs: Vec<Run>,
}

struct Run {
    rate: f64,
    cpu_micros: f64,
    micros: [f64; 2],
    /// The reads of the busiest task, for each of the one that read the least.
    spread: f64,
}

/// Reads of one task until the time is over.
struct Task {
    path: PathBuf,
    blocks: u64,
    end: Instant,
    latencies: Histogram<u64>,
}

impl Task {
    fn offset(&mut self, start: &mut Instant, is_first: bool) -> Result<Option<u64>> {
        let now = Instant::now();
        if !is_first {
            self.latencies.record((now - *start).as_nanos() as u64)?;
        }
        *start = now;
        Ok((now < self.end).then(|| fastrand::u64(..self.blocks) * BLOCK as u64))
    }

    async fn by_file(mut self, driver: Driver, place: Where) -> Result<Self> {
        let direct = if place == Where::Hot { Direct::Never } else { Direct::Require };
        let options = File::options().read(true).direct(direct);
        let file = options.open(&driver, self.path.clone()).await?;
        let (mut buf, mut start, mut is_first) = (AlignedBuf::new(BLOCK)?, Instant::now(), true);
        while let Some(offset) = self.offset(&mut start, is_first)? {
            let result;
            (result, buf) = file.read_at(buf, offset).await;
            ensure!(result? == BLOCK, "a short read");
            is_first = false;
        }
        Ok(self)
    }

    async fn by_uring(mut self, place: Where) -> Result<Self> {
        let mut options = std::fs::OpenOptions::new();
        if place == Where::Disk {
            options.custom_flags(OFlags::DIRECT.bits() as i32);
        }
        let file = Arc::new(options.read(true).open(&self.path)?);
        // Of its vectors the aligned part is used.
        let mut whole = vec![0_u8; 2 * BLOCK];
        let (mut start, mut is_first) = (Instant::now(), true);
        while let Some(offset) = self.offset(&mut start, is_first)? {
            let from = whole.as_ptr().align_offset(BLOCK);
            let system = tokio_epoll_uring::thread_local_system().await;
            let slice = whole.slice(from..from + BLOCK);
            let ((_, slice), result) = system.read(Arc::clone(&file), offset, slice).await;
            let count = result.map_err(|error| anyhow::anyhow!("{error:?}"))?;
            ensure!(count == BLOCK, "a short read");
            whole = slice.into_inner();
            is_first = false;
        }
        Ok(self)
    }

    async fn by_tokio(mut self) -> Result<Self> {
        let mut file = tokio::fs::File::open(&self.path).await?;
        // It reads no more than is asked for.
        file.set_max_buf_size(BLOCK);
        let (mut buf, mut start, mut is_first) = (vec![0; BLOCK], Instant::now(), true);
        while let Some(offset) = self.offset(&mut start, is_first)? {
            file.seek(std::io::SeekFrom::Start(offset)).await?;
            file.read_exact(&mut buf).await?;
            is_first = false;
        }
        Ok(self)
    }
}

fn runtime(workers: usize) -> Result<Runtime> {
    let mut builder = match workers {
        0 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    Ok(builder.worker_threads(workers.max(1)).enable_all().build()?)
}

fn run(contender: &Contender, paths: &[PathBuf], args: &Args) -> Result<Run> {
    let &Contender { place, way, workers, .. } = contender;
    let runtime = runtime(workers)?;
    let (start, cpu_before) = (Instant::now(), cpu_time());
    let end = start + Duration::from_millis(args.milliseconds);
    let done = runtime.block_on(async {
        let driver = linux_aio::tokio::driver(args.tasks as u32)?;
        let mut spawned = Vec::new();
        for path in paths {
            let (blocks, latencies) = (args.size.as_u64() / BLOCK as u64, Histogram::new(3)?);
            let task = Task { path: path.clone(), blocks, end, latencies };
            spawned.push(match way {
                Way::File => tokio::spawn(task.by_file(driver.clone(), place)),
                Way::EpollUring => tokio::spawn(task.by_uring(place)),
                Way::TokioFs => tokio::spawn(task.by_tokio()),
            });
        }
        let mut done = Vec::new();
        for task in spawned {
            done.push(task.await??.latencies);
        }
        driver.close().await;
        anyhow::Ok(done)
    })?;
    let (elapsed, busy) = (start.elapsed(), cpu_time() - cpu_before);
    let mut all = Histogram::<u64>::new(3)?;
    for latencies in &done {
        all.add(latencies)?;
    }
    let counts = || done.iter().map(Histogram::len);
    let (least, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
    Ok(Run {
        rate: all.len() as f64 / elapsed.as_secs_f64(),
        cpu_micros: busy.as_secs_f64() * 1e6 / all.len() as f64,
        micros: [0.5, 0.99].map(|quantile| all.value_at_quantile(quantile) as f64 / 1e3),
        spread: most as f64 / least.max(1) as f64,
    })
}

/// Makes the files hot or cold, and checks that they are, but for one page of a hundred.
fn prepare(place: Where, paths: &[PathBuf], size: u64) -> Result<()> {
    for path in paths {
        for attempt in 0.. {
            let mut file = std::fs::File::open(path)?;
            match place {
                Where::Disk => fadvise(&file, 0, None, Advice::DontNeed)?,
                Where::Hot => while file.read(&mut vec![0; 1 << 20])? > 0 {},
            }
            let cached = linux_aio::sys::helper::cached_pages(file.as_raw_fd(), 0, size);
            let cached = cached.context("what is cached is not told: needs Linux 6.5")?;
            let wrong = if place == Where::Hot { size / 4096 - cached } else { cached };
            if wrong <= size / 4096 / 100 {
                break;
            }
            ensure!(attempt < 20, "somebody fills or empties the page cache meanwhile");
        }
    }
    Ok(())
}

fn make(directory: &Path, args: &Args) -> Result<Vec<PathBuf>> {
    let mut block = vec![0; 1 << 20];
    (0..args.tasks)
        .map(|number| {
            let path = directory.join(format!("{number}"));
            let mut file = std::fs::File::create_new(&path)?;
            for _ in 0..args.size.as_u64() >> 20 {
                // A hole would be read without the disk.
                fastrand::fill(&mut block);
                file.write_all(&block)?;
            }
            file.sync_all()?;
            Ok(path)
        })
        .collect()
}

fn main() -> Result<()> {
    let mut args = Args::parse();
    args.size = ByteSize::mib((args.size.as_u64() >> 20).max(1));
    let directory = tempfile::tempdir_in(&args.directory)?;
    let paths = make(directory.path(), &args)?;
    let mut contenders = Vec::new();
    for place in [Where::Hot, Where::Disk] {
        for workers in [2, 0] {
            for way in [Way::File, Way::EpollUring, Way::TokioFs] {
                contenders.push(Contender { place, way, workers, runs: Vec::new() });
            }
        }
    }
    let mut order: Vec<_> = (0..contenders.len()).collect();
    for _ in 0..args.rounds {
        fastrand::shuffle(&mut order);
        for &index in &order {
            prepare(contenders[index].place, &paths, args.size.as_u64())?;
            let run = run(&contenders[index], &paths, &args)?;
            contenders[index].runs.push(run);
        }
    }
    println!("| reads | runtime | way | reads/s | from, to | p50 µs | p99 µs | spread | CPU µs |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for Contender { place, way, workers, runs } in &contenders {
        let place = if *place == Where::Hot { "hot" } else { "disk" };
        let threads = if *workers == 0 { "1 thread" } else { "2 workers" };
        let mut rates: Vec<_> = runs.iter().map(|run| run.rate).collect();
        rates.sort_by(f64::total_cmp);
        let middle = |of: fn(&Run) -> f64| median(&runs.iter().map(of).collect::<Vec<_>>());
        println!(
            "| {place} | {threads} | {} | {:.0} | {:.0}, {:.0} | {:.0} | {:.0} | {:.2} | {:.1} |",
            way.name(),
            median(&rates),
            rates[0],
            rates[rates.len() - 1],
            middle(|run| run.micros[0]),
            middle(|run| run.micros[1]),
            middle(|run| run.spread),
            middle(|run| run.cpu_micros),
        );
    }
    Ok(())
}
