//! A file against a `Vec<u8>`: any offset, any length, any memory, and many requests at once.
//!
//! `LINUX_AIO_MODEL_ROUNDS` says how many rounds each file of each file system gets (15 unless it
//! is set), and `LINUX_AIO_MODEL_SEED` repeats a run. A round is a few requests at once.
//! `.ci/full` makes more than a million requests on each file system and device.

use crate::common;
use crate::drivers::{AnyDriver, on_each_driver};

use common::device::{LoopDevice, Mount};
use common::files::scratch;
use common::{Watchdog, is_root, say_skipped};
use core::cell::Cell;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Poll;
use fastrand::Rng;
use linux_aio::{AlignedBuf, Direct, File, OpenOptions, Spare};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

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

std::thread_local! {
    /// The requests of the file that the thread compares.
    static REQUESTS: Cell<usize> = const { Cell::new(0) };
}

/// Polls all at the same time until all are done.
async fn all(mut requests: Vec<Request<'_>>) {
    REQUESTS.set(REQUESTS.get() + requests.len());
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

/// Cuts a length in up to five, of whole pages or of any.
fn lengths(rng: &mut Rng, len: usize) -> impl Iterator<Item = usize> + use<> {
    let unit = if rng.bool() { 4096 } else { 1 };
    let cut = |_| rng.usize(..=len) / unit * unit;
    let mut cuts: Vec<usize> = (0..4).map(cut).collect();
    cuts.extend([0, len]);
    cuts.sort_unstable();
    (1..cuts.len()).map(move |at| cuts[at] - cuts[at - 1])
}

/// Makes memory that is not initialised, behind bytes that must stay.
fn spare_anywhere(rng: &mut Rng, len: usize) -> Spare<Vec<u8>> {
    let mut buf = Vec::<u8>::with_capacity(len + 8192);
    let page = buf.as_ptr().align_offset(4096);
    let at = match rng.u8(..3) {
        0 => page,
        1 => page + 512 * rng.usize(..8),
        _ => rng.usize(..8192),
    };
    buf.resize(at, GUARD);
    Spare::with_limit(buf, len)
}

/// Reads pieces, which may overlap and pass the end, all at once.
async fn read<D: AnyDriver>(file: &File<D>, rng: &mut Rng, model: &[u8]) {
    let mut requests: Vec<Request<'_>> = Vec::new();
    for _ in 0..rng.usize(1..6) {
        let offset = some_offset(rng, model.len() + 5000);
        let len = some_length(rng, LARGEST);
        let there = model.get(offset..).unwrap_or_default();
        let there = &there[..there.len().min(len)];
        let kind = rng.u8(..5);
        if kind == 0 {
            let bufs: Vec<_> = lengths(rng, len).map(|len| spare_anywhere(rng, len)).collect();
            requests.push(Box::pin(async move {
                let (result, bufs) = file.readv_at(bufs, offset as u64).await;
                assert_eq!(result.expect("a read"), there.len(), "{len} bytes at {offset}");
                let read: Vec<u8> = bufs.iter().flat_map(|buf| buf.as_ref()).copied().collect();
                assert!(read == *there, "{len} bytes at {offset} in spare memory");
                let before = |buf: Spare<Vec<u8>>| (buf.len(), buf.into_inner());
                for (count, buf) in bufs.into_iter().map(before) {
                    assert!(buf[..buf.len() - count].iter().all(|byte| *byte == GUARD));
                }
            }));
        } else if kind == 1 {
            let first = rng.usize(..=len);
            let bufs = vec![Anywhere::new(rng, first), Anywhere::new(rng, len - first)];
            let exact = rng.bool() && there.len() == len && len > 0;
            requests.push(Box::pin(async move {
                let (result, bufs) = if exact {
                    let (result, bufs) = file.readv_exact_at(bufs, offset as u64).await;
                    (result.map(|()| len), bufs)
                } else {
                    file.readv_at(bufs, offset as u64).await
                };
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
    let device = file.metadata().expect("metadata").file_type().is_block_device();
    match rng.u8(..20) {
        0 if !device => {
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
    if !device {
        assert_eq!(file.metadata().expect("metadata").len(), model.len() as u64);
    }
}

fn rounds() -> usize {
    let rounds = std::env::var("LINUX_AIO_MODEL_ROUNDS").ok();
    rounds.map_or(15, |rounds| rounds.parse().expect("a number"))
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

fn seed() -> u64 {
    let seed = std::env::var("LINUX_AIO_MODEL_SEED").ok();
    seed.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a number"))
}

/// How a file is opened, and whether somebody reads it meanwhile.
const WAYS: [(&str, Direct, bool); 3] = [
    ("direct", Direct::Prefer, false),
    ("watched", Direct::Prefer, true),
    ("buffered", Direct::Never, false),
];

/// Compares a file of a directory with the model, with `O_DIRECT` if it can be had and without.
fn compare<D: AnyDriver>(directory: &Path, what: &str) {
    for (name, direct, watched) in WAYS {
        let path = directory.join(name);
        let options = File::options().read(true).write(true).create_new(true).direct(direct);
        compare_file::<D>(&path, &options, Vec::new(), watched, what);
        std::fs::remove_file(path).expect("removed");
    }
}

/// Compares a device, whose length stays as it is.
fn compare_device<D: AnyDriver>(device: &Path, what: &str) {
    for (_, direct, watched) in WAYS {
        let options = File::options().read(true).write(true).direct(direct);
        let content = read_anew(device);
        assert_eq!(content.len(), LARGEST);
        compare_file::<D>(device, &options, content, watched, what);
    }
}

fn compare_file<D: AnyDriver>(
    path: &Path,
    options: &OpenOptions,
    mut model: Vec<u8>,
    watched: bool,
    what: &str,
) {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let driver = D::with_capacity(16).expect("a driver");
    let file = driver.block_on(options.open(&driver, path)).expect("a file");
    let onlooker = watched.then(|| Onlooker::of(path.into()));
    let (driver_name, state) = (D::NAME, file.direct());
    common::say_count(&format!("{driver_name}, {what}: {state}; watched: {watched}, seed {seed}"));
    let mut rest = rounds();
    while rest > 0 {
        let _watchdog = Watchdog::new();
        for _ in 0..rest.min(400) {
            driver.block_on(round(&file, &mut rng, &mut model));
        }
        rest -= rest.min(400);
    }
    let requests = REQUESTS.take();
    common::say_count(&format!("{driver_name}, {what}: {} rounds, {requests} requests", rounds()));
    drop(onlooker);
    driver.block_on(file.close()).expect("closed");
    driver.block_on(driver.clone().close());
    assert!(read_anew(path) == model, "what others see");
}

/// Returns what a file has, or a device. A device's page cache is emptied first: it keeps what the
/// onlooker read beside a direct write, since the kernel drops a device's pages only before one.
fn read_anew(path: &Path) -> Vec<u8> {
    if std::fs::metadata(path).expect("the file").file_type().is_block_device() {
        super::reader::evict(path);
    }
    std::fs::read(path).expect("the file")
}

/// Goal: whatever is written at any offset, from any memory and beside whatever else, is read
/// again, and nothing beside it changes; the length is that of the furthest write.
fn a_file_is_what_was_written<D: AnyDriver>() {
    let dir = scratch();
    compare::<D>(dir.path(), "the test's directory");
    if let Ok(dir) = tempfile::tempdir_in("/dev/shm") {
        compare::<D>(dir.path(), "/dev/shm");
    } else {
        say_skipped("no /dev/shm");
    }
}

/// Makes an image for a device.
fn image(directory: &Path, len: u64) -> PathBuf {
    let image = directory.join("image");
    std::fs::File::create_new(&image).expect("a file").set_len(len).expect("a length");
    image
}

/// Runs a part of a test on a thread of its own, to which its mounts belong.
fn mounted(what: &str, part: impl FnOnce() -> Result<(), String> + Send + 'static) {
    if !is_root() {
        return say_skipped("only root can mount");
    }
    let part = || Mount::unshare().and_then(|()| part());
    if let Err(why) = thread::spawn(part).join().expect("no panic") {
        say_skipped(&format!("no {what}: {why}"));
    }
}

/// Goal: the same on file systems of every kind, and on large sectors and blocks.
fn on_file_system<D: AnyDriver>(kind: &'static str, arguments: &'static [&str], sector: u32) {
    let what = format!("{kind} {arguments:?}, sectors of {sector}");
    mounted(&what.clone(), move || {
        let dir = scratch();
        let at = dir.path().join("mount");
        std::fs::create_dir(&at).expect("a directory");
        let device = LoopDevice::with_sectors(&image(dir.path(), 512 << 20), sector)?;
        let _mount = Mount::made(kind, arguments, &device.path, &at)?;
        compare::<D>(&at, &what);
        Ok(())
    });
}

fn a_file_is_what_was_written_on_ext4<D: AnyDriver>() {
    on_file_system::<D>("ext4", &["-q", "-F"], 512);
    on_file_system::<D>("ext4", &["-q", "-F"], 4096);
}

fn a_file_is_what_was_written_on_xfs<D: AnyDriver>() {
    on_file_system::<D>("xfs", &["-q", "-f"], 4096);
    on_file_system::<D>("xfs", &["-q", "-f", "-b", "size=64k"], 512);
}

fn a_file_is_what_was_written_on_btrfs<D: AnyDriver>() {
    on_file_system::<D>("btrfs", &["-q", "-f"], 512);
}

fn a_file_is_what_was_written_on_an_overlay<D: AnyDriver>() {
    mounted("overlay", || {
        let dir = scratch();
        let at = dir.path().join("mount");
        std::fs::create_dir(&at).expect("a directory");
        let _mount = Mount::overlay(dir.path(), &at)?;
        compare::<D>(&at, "overlay");
        Ok(())
    });
}

/// Goal: the same on devices without a file system, of 512 and of 4096 bytes a sector.
fn a_device_is_what_was_written<D: AnyDriver>() {
    for sector in [512, 4096] {
        mounted("loop device", move || {
            let dir = scratch();
            let device = LoopDevice::with_sectors(&image(dir.path(), LARGEST as u64), sector)?;
            compare_device::<D>(&device.path, &format!("a device, sectors of {sector}"));
            Ok(())
        });
    }
}

on_each_driver!(
    a_file_is_what_was_written,
    a_file_is_what_was_written_on_ext4,
    a_file_is_what_was_written_on_xfs,
    a_file_is_what_was_written_on_btrfs,
    a_file_is_what_was_written_on_an_overlay,
    a_device_is_what_was_written,
);
