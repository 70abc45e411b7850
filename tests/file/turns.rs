//! Streams and requests whose futures are dropped, or not polled, while they wait: they hold up
//! nobody else.

use crate::common;
use crate::reader::{evict, poll_some};

use common::files::{file_with, pattern};
use common::{Watchdog, poll_once};
use core::pin::pin;
use core::task::{Context, Waker};
use linux_aio::{BufferPool, Direct, Driver, File, LocalDriver, ReaderOptions, WriterOptions};
use pollster::block_on;
use std::future::Future;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

fn open(driver: &Driver, path: &Path, direct: Direct) -> File {
    let options = File::options().read(true).write(true).direct(direct);
    block_on(options.open(driver, path)).expect("a file")
}

/// Asserts that a buffer which comes back goes to `pool.take()` after `waits` has waited and was
/// dropped, though the stream of that future is still there.
fn assert_leaves_the_queue<F: Future>(pool: &BufferPool, waits: F) {
    let only = pool.try_take().expect("the only one");
    assert!(poll_some(pin!(waits), 3).is_none(), "there is no buffer");
    let mut next = pin!(pool.take());
    assert!(next.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(only);
    let taken = next.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(taken.is_ready(), "the stream has the buffer, and nobody polls it");
}

/// Goal: a stream whose future is dropped while it waits for a buffer of a pool gives up its turn,
/// and waits again when it is polled again. Method: a pool of one buffer.
#[test]
fn a_dropped_future_of_a_stream_waits_for_no_buffer() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(4).expect("a driver");
    let content = pattern(9000);
    let (_dir, path, _) = file_with(&content);
    let pool = BufferPool::new(1, 16 << 10, 4096).expect("a pool");
    for direct in [Direct::Prefer, Direct::Never] {
        let file = open(&driver, &path, direct);
        let mut reader = file.reader_with(.., ReaderOptions::new().pool(pool.clone()));
        assert_leaves_the_queue(&pool, reader.next_chunk());
        let chunk = block_on(reader.next_chunk()).expect("a read").expect("a chunk");
        assert!(content.starts_with(&chunk));
        drop(chunk);
        let mut writer = file.writer_with(0, WriterOptions::new().pool(pool.clone()));
        assert_leaves_the_queue(&pool, writer.write_all(&content));
        block_on(writer.write_all(&content)).expect("a write");
        block_on(writer.finish()).expect("an end");
        assert!(std::fs::read(&path).expect("the file") == content);
        drop(reader);
        assert_eq!(pool.available(), 1);
        evict(&path);
    }
}

/// Goal: a request is not held up by a writer of the same file that has writes in flight, in the
/// same task, so that nobody polls the writer. Method: whole buffers, which go around the page
/// cache, and a request that goes through it.
#[test]
fn a_writer_that_is_not_polled_holds_up_no_request() {
    let _watchdog = Watchdog::new();
    let content = pattern(3 << 20);
    let mut expected = content.clone();
    expected[100..105].copy_from_slice(b"12345");
    let (_dir, path, _) = file_with(b"");
    let driver = Driver::on_thread(8).expect("a driver");
    let file = open(&driver, &path, Direct::Prefer);
    block_on(async {
        let mut writer = file.writer(0);
        writer.write_all(&content).await.expect("a write");
        // Not over what the writer has in flight: that would be a mixture.
        file.write_all_at(b"12345", (8 << 20) + 100).await.0.expect("a write");
        writer.flush().await.expect("a flush");
        file.write_all_at(b"12345", 100).await.0.expect("a write");
        file.set_len(3 << 20).await.expect("a length");
        writer.finish().await.expect("an end");
    });
    assert!(std::fs::read(&path).expect("the file") == expected);

    let driver = LocalDriver::new(8).expect("a driver");
    driver.block_on(async {
        let options = File::options().read(true).write(true);
        let file = options.open(&driver, &path).await.expect("a file");
        let mut writer = file.writer(0);
        writer.write_all(&content).await.expect("a write");
        file.write_all_at(b"12345", (8 << 20) + 100).await.0.expect("a write");
        writer.finish().await.expect("an end");
    });
}

/// A buffer whose write waits on its thread until it is told to go on.
struct Held {
    begun: Sender<()>,
    go_on: Receiver<()>,
    is_held: core::cell::Cell<bool>,
}

impl Held {
    fn new() -> (Self, Receiver<()>, Sender<()>) {
        let ((begun, has_begun), (tell, go_on)) = (channel(), channel());
        (Self { begun, go_on, is_held: core::cell::Cell::new(true) }, has_begun, tell)
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        let on_thread = thread::current().name() == Some("linux-aio-write");
        if on_thread && self.is_held.replace(false) {
            self.begun.send(()).expect("the test waits");
            self.go_on.recv().expect("the test tells");
        }
        b"held"
    }
}

/// Goal: a write that waits for its side of the page cache, and is not polled, is overtaken by
/// others of either side. Method: a write through the page cache is held; one around it waits, as a
/// future and in a writer; then others are awaited.
#[test]
fn a_write_that_waits_unpolled_is_overtaken() {
    let _watchdog = Watchdog::new();
    let (_dir, path, _) = file_with(&pattern(64 << 10));
    let driver = Driver::on_thread(8).expect("a driver");
    let file = open(&driver, &path, Direct::Prefer);
    if !file.is_direct() {
        return common::say_skipped("no O_DIRECT here");
    }
    let aligned = || linux_aio::AlignedBuf::new(64 << 10).expect("memory");
    for by_writer in [true, false] {
        let (held, has_begun, tell) = Held::new();
        let mut through = Box::pin(file.write_all_at(held, 100));
        assert!(poll_once(&mut through, Waker::noop()).is_pending());
        has_begun.recv().expect("it begins");
        let mut writer = file.writer_with(0, WriterOptions::new().chunk_len(64 << 10).depth(1));
        let mut around = Box::pin(file.write_all_at(aligned(), 0));
        if by_writer {
            block_on(writer.write_all(&aligned())).expect("it has memory for that");
        } else {
            assert!(poll_once(&mut around, Waker::noop()).is_pending());
        }
        tell.send(()).expect("it waits");
        block_on(async {
            file.write_all_at(b"through", 200).await.0.expect("a write");
            file.write_all_at(aligned(), 0).await.0.expect("a write");
            file.write_all_at(b"through", 300).await.0.expect("a write");
        });
        assert!(poll_once(&mut through, Waker::noop()).is_ready());
        match by_writer {
            true => block_on(writer.finish()).expect("an end"),
            false => block_on(around).0.expect("a write"),
        }
    }
}

/// Goal: a write that waits gets its turn among others of the other side that never pause.
#[test]
fn a_write_that_waits_gets_its_turn() {
    let _watchdog = Watchdog::new();
    let (_dir, path, _) = file_with(&pattern(64 << 10));
    let driver = Driver::on_thread(8).expect("a driver");
    let file = open(&driver, &path, Direct::Prefer);
    let is_over = core::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        for at in [0, 4096] {
            let (file, is_over) = (&file, &is_over);
            scope.spawn(move || {
                while !is_over.load(core::sync::atomic::Ordering::Relaxed) {
                    let buf = linux_aio::AlignedBuf::new(4096).expect("memory");
                    block_on(file.write_all_at(buf, at)).0.expect("a write");
                }
            });
        }
        for _ in 0..20 {
            block_on(file.write_all_at(b"through", 9000)).0.expect("a write");
        }
        is_over.store(true, core::sync::atomic::Ordering::Relaxed);
    });
    let mut polls = 0;
    let mut write = pin!(file.write_all_at(b"alone", 9000));
    while write.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        polls += 1;
        thread::yield_now();
    }
    assert!(polls > 0 || !file.is_direct());
}

/// Goal: a stream of what is in the page cache lets other tasks run after each chunk. Method: a
/// task of the same thread reads a page at a time, and reads at least once for each chunk.
#[cfg(feature = "tokio")]
#[test]
fn a_hot_stream_gives_way_after_each_chunk() {
    use core::cell::Cell;
    use std::rc::Rc;
    let _watchdog = Watchdog::new();
    let content = pattern(8 << 20);
    let (_dir, path, _) = file_with(&content);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime.expect("a runtime"), async {
        let driver = linux_aio::tokio::driver(8).expect("a driver");
        let options = File::options().read(true).direct(Direct::Never);
        let file = options.open(&driver, &path).await.expect("a file");
        let (reads, is_over) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let small = tokio::task::spawn_local({
            let (file, reads, is_over) = (file.clone(), Rc::clone(&reads), Rc::clone(&is_over));
            async move {
                while !is_over.get() {
                    file.read_exact_at([0; 4096], 4096).await.0.expect("a read");
                    reads.set(reads.get() + 1);
                }
            }
        });
        let (mut reader, mut chunks, mut len) = (file.reader(..), 0, 0);
        while let Some(chunk) = reader.next_chunk().await.expect("a read") {
            (chunks, len) = (chunks + 1, len + chunk.len());
            // The first chunk may come before the task has begun.
            assert!(reads.get() + 1 >= chunks, "{} reads beside {chunks} chunks", reads.get());
        }
        is_over.set(true);
        small.await.expect("no panic");
        assert_eq!(len, content.len());
        assert!(chunks > 20, "{chunks} chunks");
    });
}
