//! Measures sequential reads and writes: this library's streams, fio and tokio::fs, in turns.
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml --bin streams -- DIRECTORY
//! ```
//!
//! Each round runs every way once, in an order drawn anew. Before a cold read the file is dropped
//! from the page cache, and before a hot one it is read. The kernel's count of cached pages is
//! checked both times. A new file is durable at the end of its time. All use 1 MiB and depth 8.

use anyhow::{Context, Result, ensure};
use bytesize::ByteSize;
use clap::Parser;
use linux_aio::{File, FileDriver};
use linux_aio_benches::measure::cpu_time;
use rustix::fs::{Advice, fadvise};
use std::future::Future;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;

const BLOCK: usize = 1 << 20;

/// Compares ways to stream a file.
#[derive(Parser)]
struct Args {
    /// The directory for the files, on the disk to try.
    directory: PathBuf,
    /// Sets the size of a file.
    #[arg(long, default_value = "1GiB")]
    size: ByteSize,
    /// Sets how often each way is run.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Runs only what has one of these words in its name, such as `hot` or `tokio`.
    #[arg(long)]
    only: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cold,
    Hot,
    New,
    Over,
}

impl Kind {
    const ALL: [(Self, &str); 4] = [
        (Self::Cold, "cold read"),
        (Self::Hot, "hot read"),
        (Self::New, "new file"),
        (Self::Over, "overwrite"),
    ];
}

/// Holds the time that a run took, and its processor time.
struct Run {
    elapsed: Duration,
    cpu: Duration,
}

/// Moves so many bytes of a file once.
type Move = fn(&Path, u64) -> Result<Run>;

struct Way {
    kind: Kind,
    name: &'static str,
    run: Move,
    runs: Vec<Run>,
}

fn ways() -> Vec<Way> {
    let all: [(Kind, &str, Move); 15] = [
        (Kind::Cold, "fio, libaio", |path, size| fio(path, size, "read")),
        (Kind::Cold, "`File::reader`", read),
        (Kind::Cold, "tokio::fs", tokio_read::<BLOCK>),
        (Kind::Hot, "a loop of `preadv2`", copy),
        (Kind::Hot, "`File::reader`", read),
        (Kind::Hot, "`File::reader`, `AsyncRead`", read_bytes),
        (Kind::Hot, "tokio::fs", tokio_read::<BLOCK>),
        (Kind::Hot, "tokio::fs, 64 KiB", tokio_read::<{ 64 << 10 }>),
        (Kind::Hot, "tokio::fs, 8 KiB", tokio_read::<{ 8 << 10 }>),
        (Kind::New, "fio, libaio", |path, size| fio(path, size, "write")),
        (Kind::New, "`File::writer`", write),
        (Kind::New, "tokio::fs", tokio_write),
        (Kind::Over, "fio, libaio", |path, size| fio(path, size, "write")),
        (Kind::Over, "`File::writer`", write),
        (Kind::Over, "tokio::fs", tokio_write),
    ];
    all.map(|(kind, name, run)| Way { kind, name, run, runs: Vec::new() }).into()
}

/// Runs a job of fio, whose time and processor time are those of its thread.
fn fio(path: &Path, size: u64, direction: &str) -> Result<Run> {
    let output = Command::new("fio")
        .args(["--name=job", "--ioengine=libaio", "--direct=1", "--bs=1M", "--iodepth=8"])
        .args(["--thread", "--fallocate=none", "--end_fsync=1", "--output-format=json"])
        .arg(format!("--rw={direction}"))
        .arg(format!("--size={size}"))
        .arg(format!("--filename={}", path.display()))
        .output()
        .context("fio is not installed")?;
    ensure!(output.status.success(), "fio: {}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let job = &json["jobs"][0];
    let number = |value: &serde_json::Value| value.as_f64().context("a number of fio's");
    let elapsed = Duration::from_secs_f64(number(&job["job_runtime"])? / 1e3);
    let busy = (number(&job["usr_cpu"])? + number(&job["sys_cpu"])?) / 100.0;
    Ok(Run { elapsed, cpu: elapsed.mul_f64(busy) })
}

/// Runs a future on a runtime of one thread, and takes its time.
fn timed(work: impl Future<Output = Result<u64>>, size: u64) -> Result<Run> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (start, cpu) = (Instant::now(), cpu_time());
    let moved = runtime.block_on(work)?;
    let run = Run { elapsed: start.elapsed(), cpu: cpu_time() - cpu };
    ensure!(moved == size, "{moved} bytes of {size}");
    Ok(run)
}

fn read(path: &Path, size: u64) -> Result<Run> {
    let work = async {
        let driver = linux_aio::tokio::driver(32)?;
        let file = File::open(&driver, path).await?;
        chunks(&file).await
    };
    timed(work, size)
}

async fn chunks<D: FileDriver>(file: &File<D>) -> Result<u64> {
    let (mut reader, mut count) = (file.reader(..), 0);
    while let Some(chunk) = reader.next_chunk().await? {
        count += chunk.len() as u64;
    }
    Ok(count)
}

/// Reads by the trait of tokio, to a buffer of the user's.
fn read_bytes(path: &Path, size: u64) -> Result<Run> {
    let work = async {
        let driver = linux_aio::tokio::driver(32)?;
        count(File::open(&driver, path).await?.reader(..), BLOCK).await
    };
    timed(work, size)
}

fn tokio_read<const LEN: usize>(path: &Path, size: u64) -> Result<Run> {
    timed(async { count(tokio::fs::File::open(path).await?, LEN).await }, size)
}

async fn count(mut from: impl AsyncRead + Unpin, len: usize) -> Result<u64> {
    let (mut buf, mut count) = (vec![0; len], 0);
    loop {
        match from.read(&mut buf).await? {
            0 => return Ok(count),
            more => count += more as u64,
        }
    }
}

/// Measures what a thread can copy from the page cache that does nothing else, by reads of 256 KiB.
fn copy(path: &Path, size: u64) -> Result<Run> {
    let file = std::fs::File::open(path)?;
    let mut buf = vec![0; 256 << 10];
    let work = async {
        let mut count = 0;
        loop {
            match file.read_at(&mut buf, count)? {
                0 => return Ok(count),
                more => count += more as u64,
            }
        }
    };
    timed(work, size)
}

fn write(path: &Path, size: u64) -> Result<Run> {
    let work = async {
        let driver = linux_aio::tokio::driver(32)?;
        let options = File::options().write(true).create(true);
        let file = options.open(&driver, path).await?;
        let (mut writer, block) = (file.writer(0), vec![7; BLOCK]);
        while writer.position() < size {
            writer.write_all(&block).await?;
        }
        writer.finish().await?;
        Ok(writer.position())
    };
    timed(work, size)
}

fn tokio_write(path: &Path, size: u64) -> Result<Run> {
    let work = async {
        let options = tokio::fs::OpenOptions::new().write(true).create(true).clone();
        let mut file = options.open(path).await?;
        let (mut count, block) = (0, vec![7; BLOCK]);
        while count < size {
            file.write_all(&block).await?;
            count += BLOCK as u64;
        }
        file.flush().await?;
        file.sync_data().await?;
        Ok(count)
    };
    timed(work, size)
}

/// Makes the file hot or cold, and checks that it is, but for one page of a hundred.
fn prepare(kind: Kind, path: &Path, new: &Path, size: u64) -> Result<()> {
    match kind {
        Kind::New if new.exists() => {
            return std::fs::remove_file(new).context("removing the file of the last run");
        }
        Kind::New => return Ok(()),
        Kind::Over => {
            // Written blocks, none of which is in the page cache.
            std::fs::copy(path, new)?;
            let file = std::fs::File::open(new)?;
            file.sync_all()?;
            return Ok(fadvise(&file, 0, None, Advice::DontNeed)?);
        }
        Kind::Cold | Kind::Hot => {}
    }
    let all = size / 4096;
    for _ in 0..20 {
        let mut file = std::fs::File::open(path)?;
        if kind == Kind::Cold {
            fadvise(&file, 0, None, Advice::DontNeed)?;
        } else {
            while file.read(&mut vec![0; BLOCK])? > 0 {}
        }
        let cached = linux_aio::sys::helper::cached_pages(file.as_raw_fd(), 0, size);
        let cached = cached.context("the kernel does not tell what is cached: needs Linux 6.5")?;
        let wrong = if kind == Kind::Cold { cached } else { all - cached };
        if wrong <= all / 100 {
            return Ok(());
        }
        eprintln!("{cached} of {all} pages are cached: once more");
    }
    anyhow::bail!("somebody fills or empties the page cache meanwhile")
}

fn main() -> Result<()> {
    let args = Args::parse();
    let size = args.size.as_u64() / BLOCK as u64 * BLOCK as u64;
    let directory = tempfile::tempdir_in(&args.directory)?;
    let (path, new) = (directory.path().join("file"), directory.path().join("new"));
    // Bytes of a generator: a hole would be read without the disk.
    let mut block = vec![0; BLOCK];
    let mut file = std::fs::File::create_new(&path)?;
    for _ in 0..size / BLOCK as u64 {
        fastrand::fill(&mut block);
        std::io::Write::write_all(&mut file, &block)?;
    }
    file.sync_all()?;
    let mut ways = ways();
    let is_wanted = |way: &Way, kind: &str| {
        let name = format!("{kind} {}", way.name);
        args.only.is_empty() || args.only.iter().any(|word| name.contains(&**word))
    };
    for (kind, what) in Kind::ALL {
        ways.retain(|way| way.kind != kind || is_wanted(way, what));
    }
    for _ in 0..args.rounds {
        fastrand::shuffle(&mut ways);
        for way in &mut ways {
            prepare(way.kind, &path, &new, size)?;
            let writes = matches!(way.kind, Kind::New | Kind::Over);
            let target = if writes { &new } else { &path };
            way.runs.push((way.run)(target, size)?);
        }
    }
    println!("| what | way | MB/s, median | from, to | CPU s/GiB, median |\n|---|---|---|---|---|");
    for (kind, what) in Kind::ALL {
        ways.sort_by_key(|way| way.name);
        for way in ways.iter().filter(|way| way.kind == kind) {
            let mut rates: Vec<_> =
                way.runs.iter().map(|run| size as f64 / run.elapsed.as_secs_f64() / 1e6).collect();
            let per_gib = (1_u64 << 30) as f64 / size as f64;
            let mut cpu: Vec<_> =
                way.runs.iter().map(|run| run.cpu.as_secs_f64() * per_gib).collect();
            rates.sort_by(f64::total_cmp);
            cpu.sort_by(f64::total_cmp);
            let (middle, last) = (rates.len() / 2, rates.len() - 1);
            println!(
                "| {what} | {} | {:.0} | {:.0}, {:.0} | {:.3} |",
                way.name, rates[middle], rates[0], rates[last], cpu[middle]
            );
        }
    }
    Ok(())
}
