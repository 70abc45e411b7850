//! Writers against a `Vec<u8>`: pieces of any length, flushes, other lengths, full disks.

use crate::common;
use crate::reader::{evict, poll_some};

use common::device::{EXT4, on_new_disk};
use common::files::{file_with, open_direct, pattern, scratch};
use common::{Watchdog, say_skipped};
use core::pin::pin;
use core::time::Duration;
use fastrand::Rng;
use linux_aio::{BufferPool, Direct, Driver, File, WriterError, WriterOptions};
use pollster::block_on;
use std::io;
use std::path::Path;
use std::thread;

const WAYS: [Direct; 2] = [Direct::Prefer, Direct::Never];

fn open(driver: &Driver, path: &Path, direct: Direct) -> File {
    let options = File::options().read(true).write(true).create(true).direct(direct);
    block_on(options.open(driver, path)).expect("a file")
}

fn some_options(rng: &mut Rng) -> WriterOptions {
    WriterOptions::new()
        .chunk_len([1000, 4096, 70_000, 1 << 20][rng.usize(..4)])
        .depth(rng.usize(1..10))
        .allocation_step([0, 4096, 100_000, 64 << 20][rng.usize(..4)])
        .expected_len([0, 0, 1, 300_000, 5_000_000][rng.usize(..5)])
}

/// Goal: whatever pieces are written, with flushes between, over an old file and behind its end,
/// the file is what was written, and exactly as long as that or as it was.
#[test]
fn a_file_is_what_its_writer_was_given() {
    let _watchdog = Watchdog::new();
    let mut rng = Rng::new();
    let driver = Driver::on_thread(8).expect("a driver");
    for round in 0..40 {
        let direct = WAYS[round % 2];
        let mut model = pattern([0, 100, 5000, 400_000][rng.usize(..4)]);
        let (_dir, path, _) = file_with(&model);
        let file = open(&driver, &path, direct);
        let most = rng.choice([1, 5000, 600_000]).expect("one");
        let mut at = rng.usize(..most);
        let options = some_options(&mut rng);
        let text = format!("{direct:?} from {at}, before {}, {options:?}", model.len());
        let mut writer = file.writer_with(at as u64, options);
        block_on(async {
            for _ in 0..rng.usize(..30) {
                let most = rng.choice([10, 5000, 200_000]).expect("one");
                let len = rng.usize(..most);
                let first: u8 = rng.u8(..);
                let piece: Vec<_> = (0..len).map(|at| first.wrapping_add(at as u8)).collect();
                writer.write_all(&piece).await.expect("a write");
                if len > 0 && model.len() < at + len {
                    model.resize(at + len, 0);
                }
                if len > 0 {
                    model[at..][..len].copy_from_slice(&piece);
                }
                at += len;
                assert_eq!(writer.position(), at as u64);
                if rng.u8(..5) == 0 {
                    writer.flush().await.expect("a flush");
                    let now = std::fs::read(&path).expect("the file");
                    assert!(now.starts_with(&model), "{text}");
                    assert!(now[model.len()..].iter().all(|byte| *byte == 0), "{text}");
                }
            }
            writer.finish().await.expect("an end");
            writer.finish().await.expect("the same");
            assert!(writer.write_all(b"more").await.is_err());
        });
        let now = std::fs::read(&path).expect("the file");
        assert_eq!(now.len(), model.len(), "{text}");
        assert!(now == model, "{text}");
    }
}

/// Goal: writes of whole units go around the page cache, and the file is allocated ahead of them.
/// Method: what the driver has submitted, and the length before the end.
#[test]
fn a_writer_is_direct_and_allocates_ahead() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(16).expect("a driver");
    let (_dir, path, _) = file_with(b"");
    if open_direct(&path).is_none() {
        return say_skipped("no O_DIRECT here");
    }
    let content = pattern((3 << 20) + 77);
    for (step, before_end) in [(0, 3 << 20), (8 << 20, 8 << 20), (2 << 20, 4 << 20)] {
        let file = open(&driver, &path, Direct::Require);
        block_on(file.set_len(0)).expect("a length");
        let submitted = driver.stats().submitted;
        let mut writer = file.writer_with(0, WriterOptions::new().allocation_step(step));
        block_on(writer.write_all(&content)).expect("a write");
        // What was given to `write_all` in whole buffers ends by itself.
        while file.metadata().expect("metadata").len() < before_end {
            let _ = block_on(async { poll_some(pin!(writer.write_all(b"")), 1) });
            thread::yield_now();
            if step == 0 && driver.outstanding() == 0 {
                break;
            }
        }
        assert_eq!(file.metadata().expect("metadata").len(), before_end, "{step}");
        block_on(writer.finish()).expect("an end");
        // Three writes and a sync; the tail goes by a thread.
        assert_eq!(driver.stats().submitted - submitted, 4);
        assert!(std::fs::read(&path).expect("the file") == content);
        evict(&path);
    }
}

/// Goal: what another program has appended behind the writer's allocation is not cut off.
#[test]
fn a_writer_does_not_cut_what_others_append() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(16).expect("a driver");
    let (_dir, path, plain) = file_with(b"");
    let file = open(&driver, &path, Direct::Prefer);
    let mut writer = file.writer_with(0, WriterOptions::new().allocation_step(4 << 20));
    block_on(async {
        writer.write_all(&pattern(1 << 20)).await.expect("a write");
        writer.flush().await.expect("a flush");
        use std::os::unix::fs::FileExt;
        plain.write_all_at(b"theirs", 6 << 20).expect("a write");
        writer.finish().await.expect("an end");
    });
    assert_eq!(file.metadata().expect("metadata").len(), (6 << 20) + 6);
}

/// Goal: offsets and options without a limit are errors, or limited.
#[test]
fn extremes_are_errors_and_no_panics() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(4).expect("a driver");
    let (_dir, path, _) = file_with(b"content");
    for direct in WAYS {
        let file = open(&driver, &path, direct);
        for offset in [u64::MAX, i64::MAX as u64] {
            let error = block_on(file.writer(offset).write_all(b"x")).expect_err("no offset");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
            assert!(block_on(file.reader(offset..).next_chunk()).expect("the end").is_none());
        }
        let options = WriterOptions::new().chunk_len(usize::MAX).depth(usize::MAX);
        assert!(block_on(file.writer_with(0, options).write_all(b"x")).is_err());
        let options = linux_aio::ReaderOptions::new().chunk_len(usize::MAX).depth(usize::MAX);
        assert!(block_on(file.reader_with(.., options).next_chunk()).is_err());
        let mut reader = file.reader(3..);
        reader.set_position(u64::MAX);
        assert!(block_on(reader.next_chunk()).expect("the end").is_none());
        reader.set_position(1);
        let chunk = block_on(reader.next_chunk()).expect("a read").expect("a chunk");
        assert_eq!(*chunk, *b"ent");
    }
    assert_eq!(std::fs::read(&path).expect("the file"), b"content");
}

/// Goal: a file that is open for appending is refused, since offsets do not count there.
#[test]
fn a_file_for_appending_is_refused() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(4).expect("a driver");
    let (_dir, path, _) = file_with(b"content");
    let file = block_on(File::options().append(true).open(&driver, &path)).expect("a file");
    let mut writer = file.writer(0);
    let error = block_on(writer.write_all(b"x")).expect_err("no offset");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("appending"), "{error}");
    assert!(block_on(writer.finish()).is_err());
    assert_eq!(std::fs::read(&path).expect("the file"), b"content");
}

/// Goal: on a full disk the first error stays, it names the offset up to which all is written, and
/// that is what is in the file after `finish`; all buffers come back.
#[test]
fn a_full_disk_is_an_error_with_the_offset() {
    let _watchdog = Watchdog::new();
    on_new_disk(EXT4, 64 << 20, |_mount, at| {
        let driver = Driver::on_thread(16).expect("a driver");
        let content = pattern(1 << 20);
        let pool = BufferPool::new(6, 256 << 10, 4096).expect("a pool");
        let free = rustix::fs::statvfs(at).expect("the mount").f_bfree;
        for (round, direct) in [Direct::Prefer, Direct::Never, Direct::Prefer].iter().enumerate() {
            let path = at.join(format!("{round}"));
            let file = open(&driver, &path, *direct);
            let options = WriterOptions::new().pool(pool.clone());
            let options = options.allocation_step([64 << 20, 64 << 20, 0][round]);
            let mut writer = file.writer_with(100, options);
            let error = block_on(async {
                for _ in 0..70 {
                    writer.write_all(&content).await?;
                }
                writer.flush().await
            });
            let error = error.expect_err("the disk has 64 MiB");
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
            let offset = |error: &io::Error| {
                let first = error.get_ref().and_then(|error| error.downcast_ref::<WriterError>());
                first.expect("a writer's").offset()
            };
            let written = offset(&error);
            assert!(written > 30 << 20, "{error}");
            let again = block_on(writer.write_all(b"more")).expect_err("it stays");
            assert_eq!(offset(&again), written);
            let last = block_on(writer.finish()).expect_err("it stays");
            assert_eq!(offset(&last), written);
            let now = std::fs::read(&path).expect("the file");
            assert_eq!(now.len() as u64, written, "{direct:?}");
            assert!(now[..100].iter().all(|byte| *byte == 0));
            let mut pieces = now[100..].chunks(content.len());
            assert!(pieces.all(|piece| content.starts_with(piece)));
            assert_eq!(pool.available(), 6);
            drop(writer);
            block_on(file.close()).expect("closed");
            std::fs::remove_file(&path).expect("removed");
            // A child that another test has forked has the file, too, until it ends. And ext4 gives
            // blocks away when it has committed that they are free.
            while rustix::fs::statvfs(at).expect("the mount").f_bfree < free {
                thread::sleep(Duration::from_millis(1));
            }
            rustix::fs::syncfs(std::fs::File::open(at).expect("the mount")).expect("a sync");
        }
    });
}

/// Goal: futures that are dropped at any await lose nothing that was taken, and a writer that is
/// dropped loses no buffer. Method: each call is polled some times and dropped.
#[test]
fn a_writer_may_be_dropped_at_every_await() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(8).expect("a driver");
    let content = pattern(900_001);
    let pool = BufferPool::new(3, 64 << 10, 4096).expect("a pool");
    for direct in WAYS {
        for polls in 0..10 {
            let (_dir, path, _) = file_with(b"");
            let file = open(&driver, &path, direct);
            let options = WriterOptions::new().pool(pool.clone()).allocation_step(300_000);
            let mut writer = file.writer_with(0, options.clone());
            // A poll that is repeated ends at some time; none at all never does.
            while polls > 0 && writer.position() < content.len() as u64 {
                let rest = &content[writer.position() as usize..];
                let _ = poll_some(pin!(writer.write_all(&rest[..rest.len().min(50_000)])), polls);
                let _ = poll_some(pin!(writer.flush()), polls);
            }
            while poll_some(pin!(writer.finish()), polls.max(1)).is_none() {}
            assert!(std::fs::read(&path).expect("it") == content[..writer.position() as usize]);
            // Dropped in the middle: any part may be there, and nothing else.
            let mut writer = file.writer_with(0, options);
            let _ = poll_some(pin!(writer.write_all(&content)), polls);
            let _ = poll_some(pin!(writer.flush()), polls);
            drop(writer);
            // No lock stays locked.
            block_on(file.write_all_at(vec![9; 100], 5)).0.expect("a write");
        }
    }
    block_on(driver.close());
    while pool.available() < 3 {
        thread::yield_now();
    }
}

/// Goal: many writers share a pool that has fewer buffers than they would like, and all end.
#[test]
fn writers_share_a_pool() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(8).expect("a driver");
    let content = pattern(1_000_000);
    let pool = BufferPool::new(3, 64 << 10, 4096).expect("a pool");
    let dir = scratch();
    for direct in WAYS {
        let executor = smol::LocalExecutor::new();
        let writers: Vec<_> = (0..8)
            .map(|index| {
                let path = dir.path().join(format!("{index}"));
                let file = open(&driver, &path, direct);
                let mut writer = file.writer_with(0, WriterOptions::new().pool(pool.clone()));
                let content = &content;
                let write = async move {
                    for piece in content[index..].chunks(30_000) {
                        writer.write_all(piece).await.expect("a write");
                    }
                    writer.finish().await.expect("an end");
                };
                (path, executor.spawn(write))
            })
            .collect();
        smol::block_on(executor.run(async {
            for (index, (path, writer)) in writers.into_iter().enumerate() {
                writer.await;
                assert!(std::fs::read(path).expect("the file") == content[index..]);
            }
        }));
        assert_eq!(pool.available(), 3);
    }
}

/// Goal: a pool that is too small for the units of the file is an error that says so.
#[test]
fn a_pool_that_does_not_suit_is_an_error() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(8).expect("a driver");
    let (_dir, path, _) = file_with(b"");
    let file = open(&driver, &path, Direct::Prefer);
    if !file.is_direct() {
        return say_skipped("no O_DIRECT here");
    }
    let pool = BufferPool::new(4, 2048, 512).expect("a pool");
    let mut writer = file.writer_with(0, WriterOptions::new().pool(pool));
    let error = block_on(writer.write_all(b"x")).expect_err("it does not suit");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("2048 bytes are too small"), "{error}");
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn tokio_writes_by_its_traits() -> io::Result<()> {
    use tokio::io::AsyncWriteExt;
    let _watchdog = Watchdog::new();
    let driver = linux_aio::tokio::driver(16)?;
    let content = pattern(3_000_001);
    for direct in WAYS {
        let dir = scratch();
        let (source, target) = (dir.path().join("source"), dir.path().join("target"));
        std::fs::write(&source, &content)?;
        let options = File::options().read(true).write(true).create(true).direct(direct);
        let file = options.open(&driver, &target).await?;
        let mut writer = file.writer(0);
        let mut reader = options.open(&driver, &source).await?.reader(..);
        let count = tokio::io::copy(&mut reader, &mut writer).await?;
        writer.shutdown().await?;
        assert_eq!(count, content.len() as u64);
        assert!(std::fs::read(&target)? == content);
        let mut writer = tokio::io::BufWriter::new(file.writer(count));
        AsyncWriteExt::write_all(&mut writer, b"and more").await?;
        AsyncWriteExt::flush(&mut writer).await?;
        assert!(std::fs::read(&target)?.starts_with(&[&content[..], b"and more"].concat()));
        writer.shutdown().await?;
        assert_eq!(std::fs::metadata(&target)?.len(), count + 8);
    }
    driver.close().await;
    Ok(())
}

#[cfg(feature = "futures-io")]
#[test]
fn futures_io_writes_by_its_traits() -> io::Result<()> {
    use smol::io::AsyncWriteExt;
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(16)?;
    let content = pattern(3_000_001);
    for direct in WAYS {
        let (_dir, path, _) = file_with(b"");
        block_on(async {
            let file = open(&driver, &path, direct);
            let mut writer = file.writer(0);
            smol::io::copy(&content[..], &mut writer).await?;
            writer.close().await?;
            assert!(std::fs::read(&path)? == content);
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

/// Goal: several writers fill one file in the two ways that the page of a writer names. Method:
/// the second has finished when the first does, and lies within what that one has allocated.
#[test]
fn several_writers_fill_one_file() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(16).expect("a driver");
    let content = pattern(3 << 20);
    for (len, step) in [(content.len() as u64, 8 << 20), (0, 0)] {
        let (_dir, path, _) = file_with(b"");
        let file = open(&driver, &path, Direct::Prefer);
        block_on(async {
            file.set_len(len).await.expect("a length");
            let options = WriterOptions::new().allocation_step(step);
            let mut first = file.writer_with(0, options.clone());
            let mut second = file.writer_with(2 << 20, options);
            first.write_all(&content[..2 << 20]).await.expect("a write");
            second.write_all(&content[2 << 20..]).await.expect("a write");
            second.finish().await.expect("an end");
            first.finish().await.expect("an end");
        });
        assert!(std::fs::read(&path).expect("the file") == content, "{step}");
    }
}
