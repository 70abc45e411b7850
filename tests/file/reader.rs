//! Readers against a `Vec<u8>`: ranges, chunks, seeks, files that grow and shrink, pools.

use crate::common;

use common::files::{file_with, open_direct, pattern};
use common::{Watchdog, poll_once, say_skipped};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use fastrand::Rng;
use linux_aio::{BufferPool, Chunk, Direct, Driver, File, FileReader, ReaderOptions};
use pollster::block_on;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;

const WAYS: [Direct; 2] = [Direct::Prefer, Direct::Never];

fn open(driver: &Driver, path: &Path, direct: Direct) -> File {
    block_on(File::options().read(true).direct(direct).open(driver, path)).expect("a file")
}

/// Drops a file from the page cache, so that a reader goes around it.
pub(crate) fn evict(path: &Path) {
    let file = std::fs::File::open(path).expect("the file");
    file.sync_all().expect("a sync");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice");
}

async fn read_all(reader: &mut FileReader) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let start = reader.position();
    while let Some(chunk) = reader.next_chunk().await? {
        assert!(!chunk.is_empty());
        all.extend_from_slice(&chunk);
        assert_eq!(reader.position(), start + all.len() as u64);
    }
    Ok(all)
}

/// Goal: any range of a file of any length is what is there, in order, whatever the length of the
/// chunks, the depth, and where the bytes come from.
#[test]
fn a_reader_gives_its_range() {
    let _watchdog = Watchdog::new();
    let mut rng = Rng::new();
    let driver = Driver::on_thread(8).expect("a driver");
    for len in [0, 1, 511, 4096, 70_001, 3_000_000] {
        let content = pattern(len);
        let (_dir, path, _) = file_with(&content);
        for direct in WAYS {
            let file = open(&driver, &path, direct);
            for round in 0..8 {
                if round % 2 == 0 {
                    evict(&path);
                }
                let start = rng.usize(..=len + 10);
                let end = rng.usize(start..=len + 5000);
                let options = ReaderOptions::new()
                    .chunk_len([1000, 4096, 10_000, 1 << 20][rng.usize(..4)])
                    .depth(rng.usize(1..10));
                let text = format!("{direct:?} {start}..{end} of {len}, {options:?}");
                let mut reader = file.reader_with(start as u64..end as u64, options);
                let all = block_on(read_all(&mut reader)).expect("a read");
                let there = &content[start.min(len)..end.min(len)];
                assert_eq!(all.len(), there.len(), "{text}");
                assert!(all == there, "{text}");
            }
            let all = block_on(read_all(&mut file.reader(..))).expect("a read");
            assert!(all == content);
        }
    }
}

/// Takes the next bytes as a buffered reader does.
#[cfg(feature = "futures-io")]
async fn take(reader: &mut FileReader, rng: &mut Rng, most: usize) -> Vec<u8> {
    use smol::io::{AsyncBufReadExt, AsyncReadExt};
    match rng.u8(..3) {
        0 => {
            let mut bytes = vec![0; most];
            let count = reader.read(&mut bytes).await.expect("a read");
            bytes.truncate(count);
            bytes
        }
        1 => {
            let bytes = reader.fill_buf().await.expect("a read");
            let bytes = bytes[..bytes.len().min(most)].to_vec();
            AsyncBufReadExt::consume(reader, bytes.len());
            bytes
        }
        _ => {
            let chunk = reader.next_chunk().await.expect("a read");
            chunk.map_or(Vec::new(), |chunk| chunk.to_vec())
        }
    }
}

/// Goal: after any sequence of reads and seeks, forward and backward, near and far, the bytes are
/// those of the position.
#[cfg(feature = "futures-io")]
#[test]
fn seeks_go_where_they_say() {
    let _watchdog = Watchdog::new();
    let mut rng = Rng::new();
    let driver = Driver::on_thread(8).expect("a driver");
    let content = pattern(2_500_000);
    let (_dir, path, _) = file_with(&content);
    for direct in WAYS {
        let file = open(&driver, &path, direct);
        for round in 0..10 {
            if round % 2 == 0 {
                evict(&path);
            }
            let base = rng.usize(..5000);
            let part = &content[base..];
            let mut reader = file.reader(base as u64..);
            let mut at = 0;
            for _ in 0..300 {
                if rng.u8(..4) == 0 {
                    at = match rng.u8(..4) {
                        0 => rng.usize(..part.len() + 1000),
                        1 => at.saturating_sub(rng.usize(..100)),
                        2 => at + rng.usize(..300_000),
                        _ => at + rng.usize(..100),
                    };
                    reader.set_position(at as u64);
                    assert_eq!(reader.position(), at as u64);
                }
                let most = rng.usize(1..100_000);
                let bytes = block_on(take(&mut reader, &mut rng, most));
                let there = part.get(at..).unwrap_or_default();
                assert!(there.starts_with(&bytes), "{direct:?} at {at} from {base}");
                assert_eq!(bytes.is_empty(), there.is_empty(), "at {at}");
                at += bytes.len();
                assert_eq!(reader.position(), at as u64);
            }
        }
    }
}

/// Goal: while access is in order, more and longer reads are in flight; after a seek it is one
/// short read. Method: what the driver has taken, and the lengths of the chunks.
#[test]
fn read_ahead_grows_and_falls_back() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(16).expect("a driver");
    let (_dir, path, _) = file_with(&pattern(1 << 20).repeat(32));
    if open_direct(&path).is_none() {
        return say_skipped("no O_DIRECT here");
    }
    evict(&path);
    let file = open(&driver, &path, Direct::Prefer);
    let mut reader = file.reader(..);
    let submitted = || driver.stats().submitted;
    let mut next = || block_on(reader.next_chunk()).expect("a read").expect("a chunk");
    assert_eq!(next().len(), 64 << 10);
    let before = submitted();
    let lens: Vec<_> = (0..16).map(|_| next().len()).collect();
    assert!(lens.is_sorted() && lens[15] == 1 << 20, "{lens:?}");
    assert_eq!(submitted() - before, 16 + 7, "as many as were taken, and eight in flight");

    reader.set_position(30 << 20);
    let before = submitted();
    let mut next = || block_on(reader.next_chunk()).expect("a read").expect("a chunk");
    let chunk = next();
    assert_eq!((chunk.len(), chunk.offset()), (64 << 10, 30 << 20));
    assert_eq!(submitted() - before, 1, "nothing is read ahead of a first read");
    next();
    assert_eq!(submitted() - before, 3);
}

/// Goal: what is in the page cache is copied from there, and no direct read is made of it. What is
/// not there is read around it, and does not come to be there.
#[test]
fn a_cached_file_is_copied_from_the_page_cache() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(16).expect("a driver");
    let content = pattern(4 << 20);
    let (_dir, path, plain) = file_with(&content);
    if open_direct(&path).is_none() {
        return say_skipped("no O_DIRECT here");
    }
    if cached_pages(&plain, content.len()).is_none() {
        return say_skipped("no cachestat here");
    }
    let file = open(&driver, &path, Direct::Require);
    let submitted = || {
        let before = driver.stats().submitted;
        assert!(block_on(read_all(&mut file.reader(..))).expect("a read") == content);
        driver.stats().submitted - before
    };
    // The kernel may take pages back at any time: what is missing after the read was perhaps
    // missing in it, which proves nothing, and a direct read brings no page back.
    let all_cached = || cached_pages(&plain, content.len()) == Some(content.len() as u64 / 4096);
    let copied = (0..20).any(|_| {
        std::fs::read(&path).expect("a read");
        let submitted = submitted();
        assert!(submitted == 0 || !all_cached(), "{submitted} direct reads of cached pages");
        submitted == 0
    });
    if !copied {
        say_skipped("the first half: somebody empties the page cache");
    }
    evict(&path);
    assert!(submitted() > 0);
    assert_eq!(cached_pages(&plain, content.len()), Some(0));
}

/// The number of pages of a file in the page cache.
fn cached_pages(file: &std::fs::File, len: usize) -> Option<u64> {
    use std::os::fd::AsRawFd;
    linux_aio::sys::helper::cached_pages(file.as_raw_fd(), 0, len as u64)
}

/// Goal: a file that becomes shorter during the read gives what is left, and then an error that
/// names the offset; and then its end. One that grows goes on.
#[test]
fn a_file_that_shrinks_is_an_error_and_one_that_grows_is_not() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(8).expect("a driver");
    let content = pattern(1 << 20);
    for direct in WAYS {
        let (_dir, path, _) = file_with(&content);
        evict(&path);
        let file = open(&driver, &path, direct);
        let options = ReaderOptions::new().chunk_len(4096).depth(1);
        let mut reader = file.reader_with(.., options);
        block_on(async {
            let first = reader.next_chunk().await.expect("a read").expect("a chunk");
            assert_eq!(first.len(), 4096);
            let plain = OpenOptions::new().write(true).open(&path).expect("the file");
            plain.set_len(300_007).expect("a length");
            let mut rest = Vec::new();
            let error = loop {
                match reader.next_chunk().await {
                    Ok(chunk) => rest.extend_from_slice(&chunk.expect("an error before the end")),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
            assert!(error.to_string().contains("300007"), "{error}");
            assert!(rest == content[4096..300_007], "{}", rest.len());
            assert!(reader.next_chunk().await.expect("a read").is_none());
            plain.set_len(300_010).expect("a length");
            let more = reader.next_chunk().await.expect("a read").expect("more");
            assert_eq!((more.offset(), &more[..]), (300_007, &[0; 3][..]));
            assert!(reader.next_chunk().await.expect("a read").is_none());
        });
    }
}

/// Goal: a pool that does not suit the file is an error that says so. Method: small and unaligned
/// buffers.
#[test]
fn a_pool_that_does_not_suit_is_an_error() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(8).expect("a driver");
    let (_dir, path, _) = file_with(&pattern(100_000));
    evict(&path);
    let file = open(&driver, &path, Direct::Prefer);
    if !file.is_direct() {
        return say_skipped("no O_DIRECT here");
    }
    for (size, text) in [(100, "100 bytes are too small"), (8191, "not aligned")] {
        let pool = BufferPool::new(4, size, 1).expect("a pool");
        let held = pool.try_take(); // The first one is aligned.
        let options = ReaderOptions::new().pool(pool.clone());
        let mut reader = file.reader_with(.., options);
        let error = block_on(reader.next_chunk()).expect_err("it does not suit");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(text), "{error}");
        drop((held, reader));
        assert_eq!(pool.available(), 4);
    }
    // No file of the page cache minds.
    let buffered = open(&driver, &path, Direct::Never);
    let pool = BufferPool::new(4, 100, 1).expect("a pool");
    let mut reader = buffered.reader_with(.., ReaderOptions::new().pool(pool));
    assert!(block_on(read_all(&mut reader)).expect("a read") == pattern(100_000));
}

/// Goal: many readers share a pool that has fewer buffers than they would like, and all end;
/// chunks that the user keeps do not stop a reader that has a pool of its own.
#[test]
fn readers_share_a_pool_and_chunks_may_be_kept() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(8).expect("a driver");
    let content = pattern(1_000_000);
    let (_dir, path, _) = file_with(&content);
    let pool = BufferPool::new(3, 16 << 10, 4096).expect("a pool");
    for direct in WAYS {
        evict(&path);
        let file = open(&driver, &path, direct);
        let executor = smol::LocalExecutor::new();
        let readers: Vec<_> = (0..8)
            .map(|at| {
                let options = ReaderOptions::new().pool(pool.clone());
                let mut reader = file.reader_with(at * 1000.., options);
                executor.spawn(async move { read_all(&mut reader).await })
            })
            .collect();
        smol::block_on(executor.run(async {
            for (at, reader) in readers.into_iter().enumerate() {
                assert!(reader.await.expect("a read") == content[at * 1000..]);
            }
        }));
        assert_eq!(pool.available(), 3);

        let mut reader = file.reader_with(.., ReaderOptions::new().chunk_len(4096).depth(2));
        let mut kept: Vec<Chunk> = Vec::new();
        while let Some(chunk) = block_on(reader.next_chunk()).expect("a read") {
            kept.push(chunk);
        }
        assert!(kept.iter().flat_map(|chunk| chunk.iter()).eq(&content));
    }
}

/// Goal: futures, and readers, that are dropped at any await lose no buffer and no byte, and no
/// byte of a chunk changes later. Method: each call is polled some times and dropped.
#[test]
fn a_reader_may_be_dropped_at_every_await() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(8).expect("a driver");
    let content = pattern(600_000);
    let (_dir, path, _) = file_with(&content);
    let pool = BufferPool::new(5, 16 << 10, 4096).expect("a pool");
    for direct in WAYS {
        let file = open(&driver, &path, direct);
        for polls in 0..12 {
            evict(&path);
            let mut reader = file.reader_with(5.., ReaderOptions::new().pool(pool.clone()));
            let mut all = Vec::new();
            let mut kept = None;
            loop {
                match poll_some(pin!(reader.next_chunk()), polls) {
                    Some(Ok(None)) => break,
                    Some(chunk) => {
                        let chunk = chunk.expect("a read").expect("a chunk");
                        all.extend_from_slice(&chunk);
                        kept.get_or_insert(chunk);
                    }
                    None if polls == 0 => break,
                    // The reader has what was begun.
                    None => {}
                }
            }
            if polls > 0 {
                assert!(all == content[5..], "{direct:?}, {polls} polls");
                let kept = kept.expect("the first chunk");
                assert!(content[5..].starts_with(&kept));
            }
            // Dropped with reads in flight.
            let mut reader = file.reader_with(7.., ReaderOptions::new().pool(pool.clone()));
            let _ = poll_some(pin!(reader.next_chunk()), polls);
            reader.set_position(300_000);
            let _ = poll_some(pin!(reader.next_chunk()), polls);
        }
    }
    block_on(driver.close());
    // The threads give back what they had.
    while pool.available() < 5 {
        std::thread::yield_now();
    }
}

/// Polls up to so often. `None` if that was not enough.
pub(crate) fn poll_some<F: Future>(mut future: Pin<&mut F>, polls: u32) -> Option<F::Output> {
    for _ in 0..polls {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(done);
        }
        std::thread::yield_now();
    }
    None
}

/// Goal: seeks to and fro, faster than the disk, use no more than the pool's memory.
#[test]
fn seeks_use_no_more_memory_than_the_pool_has() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(8).expect("a driver");
    let content = pattern(4 << 20);
    let (_dir, path, _) = file_with(&content);
    evict(&path);
    let file = open(&driver, &path, Direct::Prefer);
    let mut reader = file.reader_with(.., ReaderOptions::new().chunk_len(4096).depth(2));
    let mut rng = Rng::new();
    for _ in 0..1000 {
        reader.set_position(rng.u64(..4 << 20));
        let _ = poll_once(&mut pin!(reader.next_chunk()), Waker::noop());
        assert!(driver.outstanding() <= 3, "as many as there are buffers");
    }
    reader.set_position(12_345);
    let chunk = block_on(reader.next_chunk()).expect("a read").expect("a chunk");
    assert!(content[12_345..].starts_with(&chunk));
}

/// Goal: streams work on a local driver, too.
#[test]
fn streams_of_a_local_driver_work() -> io::Result<()> {
    let _watchdog = Watchdog::new();
    let content = pattern(3_000_001);
    let (dir, path, _) = file_with(&content);
    evict(&path);
    let driver = linux_aio::LocalDriver::new(16)?;
    driver.block_on(async {
        let source = File::open(&driver, &path).await?;
        let options = File::options().write(true).create_new(true);
        let target = options.open(&driver, dir.path().join("copy")).await?;
        let (mut reader, mut writer) = (source.reader(..), target.writer(0));
        while let Some(chunk) = reader.next_chunk().await? {
            writer.write_all(&chunk).await?;
        }
        writer.finish().await?;
        let mut ranges = source.read_ranges([7..9, 1_000_000..2_000_000])?;
        while let Some(bytes) = ranges.next_range().await? {
            let range = bytes.range();
            assert!(*bytes == content[range.start as usize..range.end as usize]);
        }
        io::Result::Ok(())
    })?;
    assert!(std::fs::read(dir.path().join("copy"))? == content);
    Ok(())
}

/// Goal: the file of a kernel that says it is empty is read all the same, and so is a device.
#[test]
fn files_without_a_length_are_read() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(8).expect("a driver");
    let file = open(&driver, Path::new("/proc/self/status"), Direct::Prefer);
    let all = block_on(read_all(&mut file.reader(..))).expect("a read");
    assert!(String::from_utf8_lossy(&all).starts_with("Name:"));
    let zero = open(&driver, Path::new("/dev/zero"), Direct::Prefer);
    let all = block_on(read_all(&mut zero.reader(..100_000))).expect("a read");
    assert!(all == vec![0; 100_000]);
}

/// Goal: a seek from the end finds the end of a device, and is an error where there is none.
#[cfg(feature = "futures-io")]
#[test]
fn a_seek_from_the_end_finds_the_end_of_a_device() {
    use common::device::LoopDevice;
    use smol::io::AsyncSeekExt;
    use std::io::SeekFrom::End;
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(8).expect("a driver");
    let zero = open(&driver, Path::new("/dev/zero"), Direct::Prefer);
    let error = block_on(zero.reader(..).seek(End(0))).expect_err("it has no end");
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    let content = pattern(1 << 20);
    let (_dir, path, _) = file_with(&content);
    let device = match LoopDevice::over(&path) {
        Ok(device) => device,
        Err(why) => return common::say_skipped(&why),
    };
    for direct in WAYS {
        let file = open(&driver, &device.path, direct);
        let mut reader = file.reader(1000..);
        let position = block_on(reader.seek(End(-6))).expect("a seek");
        assert_eq!(position, (1 << 20) - 1006);
        let rest = block_on(read_all(&mut reader)).expect("a read");
        assert!(rest == content[content.len() - 6..]);
        let position = block_on(file.reader(1000..5000).seek(End(0))).expect("a seek");
        assert_eq!(position, 4000);
    }
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn tokio_reads_by_its_traits() -> io::Result<()> {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt};
    let _watchdog = Watchdog::new();
    let text: String = (0..50_000).map(|number| format!("line {number}\n")).collect();
    let (_dir, path, _) = file_with(text.as_bytes());
    let driver = linux_aio::tokio::driver(16)?;
    for direct in WAYS {
        evict(&path);
        let file = File::options().read(true).direct(direct).open(&driver, &path).await?;
        let mut all = String::new();
        file.reader(..).read_to_string(&mut all).await?;
        assert!(all == text);
        let mut copied = Vec::new();
        let count = tokio::io::copy(&mut file.reader(7..), &mut copied).await?;
        assert!(count == text.len() as u64 - 7 && copied == text.as_bytes()[7..]);
        let mut lines = file.reader(..).lines();
        for number in 0..50_000 {
            assert_eq!(lines.next_line().await?, Some(format!("line {number}")));
        }
        assert_eq!(lines.next_line().await?, None);
        let mut reader = file.reader(5..);
        let end = text.len() as u64 - 5;
        assert_eq!(reader.seek(io::SeekFrom::End(-6)).await?, end - 6);
        let mut last = String::new();
        reader.read_to_string(&mut last).await?;
        assert_eq!(last, "49999\n");
        assert_eq!(reader.seek(io::SeekFrom::Current(-1)).await?, end - 1);
        assert_eq!(reader.seek(io::SeekFrom::Start(0)).await?, 0);
        let mut first = [0; 2];
        reader.read_exact(&mut first).await?;
        assert_eq!(first, *b"0\n");
        assert!(reader.seek(io::SeekFrom::Current(-3)).await.is_err());
    }
    driver.close().await;
    Ok(())
}

#[cfg(feature = "futures-io")]
#[test]
fn futures_io_reads_by_its_traits() -> io::Result<()> {
    use smol::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt};
    use smol::stream::StreamExt;
    let _watchdog = Watchdog::new();
    let text: String = (0..50_000).map(|number| format!("line {number}\n")).collect();
    let (_dir, path, _) = file_with(text.as_bytes());
    let driver = Driver::on_thread(16)?;
    for direct in WAYS {
        evict(&path);
        block_on(async {
            let file = File::options().read(true).direct(direct).open(&driver, &path).await?;
            let mut all = String::new();
            file.reader(..).read_to_string(&mut all).await?;
            assert!(all == text);
            let mut copied = Vec::new();
            let count = smol::io::copy(file.reader(7..), &mut copied).await?;
            assert!(count == text.len() as u64 - 7 && copied == text.as_bytes()[7..]);
            let lines = file.reader(..).lines().enumerate();
            let mut lines = pin!(lines);
            while let Some((number, line)) = lines.next().await {
                assert_eq!(line?, format!("line {number}"));
            }
            let mut reader = file.reader(5..);
            assert_eq!(reader.seek(io::SeekFrom::End(-6)).await?, text.len() as u64 - 11);
            let mut last = String::new();
            reader.read_to_string(&mut last).await?;
            assert_eq!(last, "49999\n");
            assert!(reader.seek(io::SeekFrom::Current(-1_000_000)).await.is_err());
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

#[cfg(feature = "stream")]
#[test]
fn a_reader_is_a_stream_of_its_chunks() {
    use smol::stream::StreamExt;
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(16).expect("a driver");
    let content = pattern(1_000_000);
    let (_dir, path, _) = file_with(&content);
    let file = open(&driver, &path, Direct::Prefer);
    let chunks = file.reader(3..).map(|chunk| chunk.expect("a read"));
    let kept: Vec<Chunk> = block_on(chunks.collect());
    assert!(kept.iter().flat_map(|chunk| chunk.iter()).eq(&content[3..]));
}
