//! A file against a `Vec<u8>`: any offset, any length, any memory, and many requests at once.
//!
//! `LINUX_AIO_MODEL_ROUNDS` says how many rounds each file system gets, `LINUX_AIO_MODEL_SEED`
//! repeats a run.

use crate::common;
use crate::drivers::{AnyDriver, on_each_driver};

use common::device::{LoopDevice, Mount};
use common::files::scratch;
use common::{Watchdog, is_root, say_skipped};
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Poll;
use fastrand::Rng;
use linux_aio::{AlignedBuf, Direct, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

on_each_driver![a_file_is_what_was_written, a_file_is_what_was_written_on_each_file_system];

/// How long the file is at most.
const LARGEST: usize = 3 << 20;

/// Memory that starts anywhere: `at` bytes behind a page.
struct Anywhere {
    memory: AlignedBuf,
    at: usize,
}

impl Anywhere {
    fn new(rng: &mut Rng, len: usize) -> Self {
        let at = match rng.u8(..3) {
            0 => 0,
            1 => 512 * rng.usize(..16),
            _ => rng.usize(..8192),
        };
        let mut memory = AlignedBuf::new(at + len + 64).expect("memory");
        memory.fill(GUARD);
        Self { memory, at }
    }

    fn with(rng: &mut Rng, bytes: &[u8]) -> Self {
        let mut memory = Self::new(rng, bytes.len());
        memory.as_mut().copy_from_slice(bytes);
        memory
    }

    fn range(&self) -> core::ops::Range<usize> {
        self.at..self.memory.len() - 64
    }

    /// Nothing beside the lent bytes may be touched.
    fn is_guarded(&self) -> bool {
        let Self { memory, at } = self;
        memory[..*at].iter().chain(&memory[memory.len() - 64..]).all(|byte| *byte == GUARD)
    }
}

const GUARD: u8 = 0xa7;

impl AsMut<[u8]> for Anywhere {
    fn as_mut(&mut self) -> &mut [u8] {
        let range = self.range();
        &mut self.memory[range]
    }
}

impl AsRef<[u8]> for Anywhere {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.range()]
    }
}

type Request<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Polls all at the same time until all are done.
async fn all(mut requests: Vec<Request<'_>>) {
    poll_fn(|cx| {
        requests.retain_mut(|request| request.as_mut().poll(cx).is_pending());
        if requests.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// A length or an offset of every kind: nothing much, a sector, a block, pages, and around these.
fn some_length(rng: &mut Rng, most: usize) -> usize {
    let length = match rng.u8(..6) {
        0 => rng.usize(1..64),
        1 => rng.usize(1..5000),
        2 => 512 * rng.usize(1..64),
        3 => 4096 * rng.usize(1..32),
        4 => (4096 * rng.usize(1..100)).wrapping_add_signed(rng.isize(-3..4)),
        _ => rng.usize(1..1 << 19),
    };
    length.clamp(1, most.max(1))
}

fn some_offset(rng: &mut Rng, most: usize) -> usize {
    match rng.u8(..3) {
        0 => rng.usize(..=most),
        1 => 512 * rng.usize(..=most / 512),
        _ => 4096 * rng.usize(..=most / 4096),
    }
}

fn bytes(rng: &mut Rng, len: usize) -> Vec<u8> {
    let first: u8 = rng.u8(..);
    (0..len).map(|at| first.wrapping_add((at % 251) as u8)).collect()
}

/// Writes disjoint pieces of a range, all at once.
async fn write<D: AnyDriver>(file: &File<D>, rng: &mut Rng, model: &mut Vec<u8>) {
    let offset = some_offset(rng, LARGEST - 1);
    let len = some_length(rng, LARGEST - offset);
    let content = bytes(rng, len);
    if model.len() < offset + len {
        model.resize(offset + len, 0);
    }
    model[offset..][..len].copy_from_slice(&content);
    let mut requests: Vec<Request<'_>> = Vec::new();
    let mut at = 0;
    let most = if rng.bool() { len } else { len.div_ceil(rng.usize(1..12)) };
    while at < len {
        let count = some_length(rng, most).min(len - at);
        let piece = &content[at..][..count];
        let to = (offset + at) as u64;
        if rng.u8(..4) == 0 {
            let (one, other) = piece.split_at(rng.usize(..=count));
            let bufs = vec![Anywhere::with(rng, one), Anywhere::with(rng, other)];
            requests.push(Box::pin(async move {
                let (result, bufs) = file.writev_at(bufs, to).await;
                assert_eq!(result.expect("a write"), count);
                assert!(bufs.iter().all(Anywhere::is_guarded));
            }));
        } else {
            let buf = Anywhere::with(rng, piece);
            requests.push(Box::pin(async move {
                file.write_all_at(buf, to).await.0.expect("a write");
            }));
        }
        at += count;
    }
    rng.shuffle(&mut requests);
    all(requests).await;
}

/// Reads pieces, which may overlap and pass the end, all at once.
async fn read<D: AnyDriver>(file: &File<D>, rng: &mut Rng, model: &[u8]) {
    let mut requests: Vec<Request<'_>> = Vec::new();
    for _ in 0..rng.usize(1..6) {
        let offset = some_offset(rng, model.len() + 5000);
        let len = some_length(rng, LARGEST);
        let there = model.get(offset..).unwrap_or_default();
        let there = &there[..there.len().min(len)];
        if rng.u8(..4) == 0 {
            let first = rng.usize(..=len);
            let bufs = vec![Anywhere::new(rng, first), Anywhere::new(rng, len - first)];
            requests.push(Box::pin(async move {
                let (result, bufs) = file.readv_at(bufs, offset as u64).await;
                assert_eq!(result.expect("a read"), there.len(), "{len} bytes at {offset}");
                let read: Vec<u8> = bufs.iter().flat_map(|buf| buf.as_ref()).copied().collect();
                assert!(read[..there.len()] == *there, "{len} bytes at {offset} in two buffers");
                assert!(bufs.iter().all(Anywhere::is_guarded));
            }));
        } else {
            let buf = Anywhere::new(rng, len);
            requests.push(Box::pin(async move {
                let (result, buf) = file.read_at(buf, offset as u64).await;
                assert_eq!(result.expect("a read"), there.len(), "{len} bytes at {offset}");
                assert!(buf.as_ref()[..there.len()] == *there, "{len} bytes at {offset}");
                assert!(buf.is_guarded());
            }));
        }
    }
    all(requests).await;
}

async fn round<D: AnyDriver>(file: &File<D>, rng: &mut Rng, model: &mut Vec<u8>) {
    match rng.u8(..20) {
        0 => {
            let len = some_offset(rng, LARGEST);
            file.set_len(len as u64).await.expect("another length");
            model.resize(len, 0);
        }
        1 => {
            let offset = some_offset(rng, LARGEST / 2);
            let len = some_length(rng, LARGEST / 2);
            if file.punch_hole(offset as u64, len as u64).await.is_ok() {
                let end = model.len().min(offset + len);
                if offset < end {
                    model[offset..end].fill(0);
                }
            }
        }
        2 => file.sync_data().await.expect("a sync"),
        3..10 => read(file, rng, model).await,
        _ => write(file, rng, model).await,
    }
    assert_eq!(file.metadata().expect("metadata").len(), model.len() as u64);
}

fn rounds() -> usize {
    let rounds = std::env::var("LINUX_AIO_MODEL_ROUNDS").ok();
    rounds.map_or(150, |rounds| rounds.parse().expect("a number"))
}

/// Reads a file through the page cache all the time, as another program may, until it is dropped.
/// That brings its pages into the page cache in large pieces.
struct Onlooker {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Onlooker {
    fn of(path: PathBuf) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let over = Arc::clone(&over);
            move || {
                while !over.load(Ordering::Relaxed) {
                    let _ = std::fs::read(&path);
                }
            }
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Onlooker {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(thread::JoinHandle::join));
    }
}

/// Compares a file of a directory with the model, with `O_DIRECT` if it can be had and without.
fn compare<D: AnyDriver>(directory: &Path, what: &str) {
    let seed = std::env::var("LINUX_AIO_MODEL_SEED").ok();
    let seed = seed.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    for (name, direct, watched) in [
        ("direct", Direct::Prefer, false),
        ("watched", Direct::Prefer, true),
        ("buffered", Direct::Never, false),
    ] {
        let (mut rng, mut model) = (Rng::with_seed(seed), Vec::new());
        let driver = D::with_capacity(16).expect("a driver");
        driver.block_on(async {
            let options = File::options().read(true).write(true).create_new(true).direct(direct);
            let file = options.open(&driver, directory.join(name)).await.expect("a new file");
            let _onlooker = watched.then(|| Onlooker::of(directory.join(name)));
            common::say_count(&format!("{}, {what}: {}; seed {seed}", D::NAME, file.direct()));
            for _ in 0..rounds() {
                round(&file, &mut rng, &mut model).await;
            }
            file.close().await.expect("closed");
            // And what others see.
            assert!(std::fs::read(directory.join(name)).expect("the file") == model);
            driver.clone().close().await;
        });
    }
}

/// Goal: whatever is written at any offset, from any memory and beside whatever else, is read
/// again, and nothing beside it changes; the length is that of the furthest write.
fn a_file_is_what_was_written<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let dir = scratch();
    compare::<D>(dir.path(), "the test's directory");
    if let Ok(dir) = tempfile::tempdir_in("/dev/shm") {
        compare::<D>(dir.path(), "/dev/shm");
    } else {
        say_skipped("no /dev/shm");
    }
}

/// Goal: the same on file systems of every kind, and on large sectors and blocks.
fn a_file_is_what_was_written_on_each_file_system<D: AnyDriver>() {
    if !is_root() {
        return say_skipped("only root can mount");
    }
    let _watchdog = Watchdog::new();
    let kinds: [(&str, &[&str], u32); 5] = [
        ("ext4", &["-q", "-F"], 512),
        ("ext4", &["-q", "-F"], 4096),
        ("xfs", &["-q", "-f"], 4096),
        ("xfs", &["-q", "-f", "-b", "size=64k"], 512),
        ("btrfs", &["-q", "-f"], 512),
    ];
    // One after the other: a mount belongs to the thread that made it.
    for (kind, arguments, sector) in kinds {
        let on_file_system = move || -> Result<(), String> {
            let dir = scratch();
            let (image, at) = (dir.path().join("image"), dir.path().join("mount"));
            std::fs::create_dir(&at).expect("a directory");
            let file = std::fs::File::create_new(&image).expect("a file");
            file.set_len(512 << 20).expect("a length");
            Mount::unshare()?;
            let device = LoopDevice::with_sectors(&image, sector)?;
            let _mount = Mount::made(kind, arguments, &device.path, &at)?;
            compare::<D>(&at, &format!("{kind} {arguments:?}, sectors of {sector}"));
            Ok(())
        };
        if let Err(why) = thread::spawn(on_file_system).join().expect("no panic") {
            say_skipped(&format!("no {kind} on sectors of {sector}: {why}"));
        }
    }
}
