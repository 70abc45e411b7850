//! Users' code that a `File` calls: buffers and wakers that panic, with payloads that do so, too.

use crate::common;

use common::files::{file_with, pattern};
use common::panics::{PAYLOADS, Payload, panics};
use common::users_code::{Code, WakerCode};
use common::{Watchdog, poll_once};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Poll, Waker};
use linux_aio::{BufferPool, Direct, Driver, Errno, File, ReaderOptions, WriterOptions};
use pollster::block_on;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// A buffer that runs code when it is asked for its bytes on one thread, and when it is dropped.
struct Buffer {
    bytes: Vec<u8>,
    thread: Option<&'static str>,
    ask: Arc<Code>,
    drop: Arc<Code>,
}

impl Buffer {
    fn asked_on(thread: Option<&'static str>, ask: &Arc<Code>, drop: &Arc<Code>) -> Self {
        Self { bytes: vec![7; 5], thread, ask: Arc::clone(ask), drop: Arc::clone(drop) }
    }

    fn run(&self) {
        if self.thread.is_none_or(|thread| thread::current().name() == Some(thread)) {
            self.ask.run();
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.run();
        &self.bytes
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self.run();
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.drop.run();
    }
}

fn open(path: &Path, direct: Direct) -> (Driver, File) {
    let driver = Driver::on_thread(2).expect("a driver");
    let options = File::options().read(true).write(true).direct(direct);
    let file = block_on(options.open(&driver, path)).expect("a file");
    (driver, file)
}

/// Asserts that requests of every kind come through, and that everything ends.
fn assert_serves(driver: Driver, file: File) {
    block_on(async {
        for offset in [0, 100, 4000] {
            file.write_all_at([9; 300], offset).await.0.expect("a write");
            let (result, buf) = file.read_at(vec![0; 300], offset).await;
            assert_eq!((result.expect("a read"), buf), (300, vec![9; 300]));
        }
        file.close().await.expect("a close");
        driver.close().await;
    });
}

/// Goal: a buffer that panics when it is asked for its bytes panics its future, with its payload,
/// wherever it was asked: in the poll, on the thread for writes, and where operations are prepared.
#[test]
fn a_panic_of_a_buffer_is_its_futures() {
    let _watchdog = Watchdog::new();
    let (_dir, path, _file) = file_with(&pattern(8192));
    let is = |payload: Payload, request: &dyn Fn(Buffer), on| {
        let ask = Arc::<Code>::default();
        ask.arm(move || payload.throw());
        let buffer = Buffer::asked_on(on, &ask, &Arc::default());
        let thrown = catch_unwind(AssertUnwindSafe(|| request(buffer))).expect_err("it panics");
        assert!(payload.is(thrown), "{payload:?} {on:?}");
    };
    for payload in PAYLOADS {
        for direct in [Direct::Never, Direct::Prefer] {
            let (driver, file) = open(&path, direct);
            let read = |buffer| _ = block_on(file.read_at(buffer, 100));
            let write = |buffer| _ = block_on(file.write_at(buffer, 100));
            is(payload, &read, None);
            is(payload, &write, None);
            is(payload, &write, Some("linux-aio-write"));
            assert_serves(driver, file);
        }
        // One operation, which the driver's thread prepares.
        let driver = Driver::on_thread(2).expect("a driver");
        let zero = std::fs::File::open("/dev/zero").expect("/dev/zero");
        let zero = File::from_std(zero, &driver).expect("a file");
        is(payload, &|buffer| _ = block_on(zero.read_at(buffer, 0)), Some("linux-aio"));
        assert_eq!(block_on(zero.read_at([1; 5], 0)).1, [0; 5]);
    }
}

/// Waits until the thread for writes has asked for the bytes, and drops the future then.
fn drop_while_asked(file: &File, buffer: Buffer, asked: &Receiver<()>, dropped: &AtomicBool) {
    let mut write = Box::pin(file.write_at(buffer, 100));
    assert!(poll_once(&mut write, Waker::noop()).is_pending());
    asked.recv().expect("it is asked");
    drop(write);
    dropped.store(true, Ordering::SeqCst);
}

/// Goal: a buffer that panics on a thread, when its future is gone, ends there, and so does its
/// drop. Method: the thread waits in the buffer until the future has been dropped.
#[test]
fn a_panic_of_a_buffer_without_a_future_ends_on_the_thread() {
    let _watchdog = Watchdog::new();
    let (_dir, path, _file) = file_with(&pattern(8192));
    for payload in PAYLOADS {
        for asking_panics in [true, false] {
            let (driver, file) = open(&path, Direct::Never);
            let (ask, on_drop) = (Arc::<Code>::default(), Arc::<Code>::default());
            let ((tell, asked), dropped) = (channel(), Arc::new(AtomicBool::new(false)));
            let seen = Arc::clone(&dropped);
            ask.arm(move || {
                tell.send(()).expect("the test waits");
                while !seen.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                if asking_panics {
                    payload.throw();
                }
            });
            on_drop.arm(move || payload.throw());
            let buffer = Buffer::asked_on(Some("linux-aio-write"), &ask, &on_drop);
            drop_while_asked(&file, buffer, &asked, &dropped);
            assert_serves(driver, file);
            assert_eq!(on_drop.calls(), 1);
        }
    }
}

/// Goal: a waker that panics costs no other request anything. Its clone unwinds the poll, and ends
/// that request, which is an `async fn`; its call and its drop are caught. Method: a write on the
/// thread.
#[test]
fn a_waker_that_panics_costs_no_request() {
    type Place = fn(&WakerCode) -> &Code;
    let _watchdog = Watchdog::new();
    let (_dir, path, _file) = file_with(&pattern(8192));
    let places: [Place; 3] = [|code| &code.clone, |code| &code.wake, |code| &code.drop];
    for payload in PAYLOADS {
        for (at, place) in places.iter().enumerate() {
            for direct in [Direct::Never, Direct::Prefer] {
                let (driver, file) = open(&path, direct);
                let code = Arc::<WakerCode>::default();
                place(&code).arm(move || payload.throw());
                let waker = code.waker();
                let mut write = Box::pin(file.write_all_at([8; 5], 100));
                // A poll that gives way to other tasks clones nothing.
                let poll = || loop {
                    let pending = poll_once(&mut write, &waker).is_pending();
                    if !pending || code.clone.calls() > 0 {
                        return pending;
                    }
                };
                match catch_unwind(AssertUnwindSafe(poll)) {
                    Err(thrown) => assert!(at == 0 && payload.is(thrown), "only its clone unwinds"),
                    Ok(pending) => assert!(at != 0 && pending),
                }
                match at {
                    0 => drop(write),
                    1 => block_on(write).0.expect("a write"),
                    // Replaces the waker, unless it has been called.
                    _ => {
                        drop(poll_once(&mut write, Waker::noop()));
                        drop(write);
                    }
                }
                // It panics here if the thread has called the other one, and not dropped it.
                panics(|| drop(waker));
                assert_serves(driver, file);
            }
        }
    }
}

/// A waker whose clone panics at the nth time.
fn fragile(payload: Payload, nth: usize) -> (Arc<WakerCode>, Waker) {
    let code = Arc::<WakerCode>::default();
    code.clone.arm(move || payload.throw());
    (0..nth).for_each(|_| code.clone.arm(|| {}));
    let waker = code.waker();
    (code, waker)
}

/// Polls until the waker panics or the future is ready. Returns whether it has panicked.
fn poll_with<T>(waker: &Waker, payload: Payload, mut poll: impl FnMut(&Waker) -> Poll<T>) -> bool {
    loop {
        match catch_unwind(AssertUnwindSafe(|| poll(waker).is_ready())) {
            Err(thrown) => {
                assert!(payload.is(thrown));
                return true;
            }
            Ok(true) => return false,
            Ok(false) => thread::yield_now(),
        }
    }
}

/// Goal: a waker whose clone panics costs a reader or a list of ranges one read at most, which is
/// an error, and is done again; no buffer is lost.
#[test]
fn a_waker_that_panics_costs_a_stream_one_read() {
    let _watchdog = Watchdog::new();
    let content = pattern(600_000);
    let (_dir, path, _file) = file_with(&content);
    let pool = BufferPool::new(4, 64 << 10, 4096).expect("a pool");
    let mut count = 0;
    for (payload, nth) in PAYLOADS.into_iter().flat_map(|it| (0..6).map(move |nth| (it, nth))) {
        for direct in [Direct::Never, Direct::Prefer] {
            let (driver, file) = open(&path, direct);
            crate::reader::evict(&path);
            let (_code, waker) = fragile(payload, nth);
            let mut reader = file.reader_with(.., ReaderOptions::new().pool(pool.clone()));
            let mut all = Vec::new();
            let mut has_panicked = poll_with(&waker, payload, |waker| {
                let chunk = poll_once(&mut Box::pin(reader.next_chunk()), waker);
                if let Poll::Ready(Ok(Some(chunk))) = &chunk {
                    all.extend_from_slice(chunk);
                }
                chunk
            });
            let mut errors = 0;
            loop {
                match block_on(reader.next_chunk()) {
                    Ok(None) => break,
                    Ok(Some(chunk)) => all.extend_from_slice(&chunk),
                    Err(error) => {
                        assert_eq!(Errno::from_io_error(&error), Some(Errno::ECANCELED));
                        errors += 1;
                    }
                }
            }
            assert!(all == content && errors <= 1, "{payload:?} {nth} {direct:?}");
            drop(reader);

            crate::reader::evict(&path);
            let (_code, waker) = fragile(payload, nth);
            let ranges = [7..9, 100_000..500_000, 550_000..600_000, 7..9];
            let mut reads = file.read_ranges(ranges.clone()).expect("ranges of the file");
            let mut given = 0;
            has_panicked |= poll_with(&waker, payload, |waker| {
                let range = poll_once(&mut Box::pin(reads.next_range()), waker);
                given += usize::from(range.is_ready());
                range
            });
            for range in &ranges[given..] {
                match block_on(reads.next_range()) {
                    Ok(bytes) => {
                        let bytes = bytes.expect("not the last");
                        assert!(*bytes == content[range.start as usize..range.end as usize]);
                    }
                    Err(error) => {
                        assert_eq!(Errno::from_io_error(&error), Some(Errno::ECANCELED));
                    }
                }
            }
            count += usize::from(has_panicked);
            drop(reads);
            assert_serves(driver, file);
            std::fs::write(&path, &content).expect("the file");
        }
    }
    while pool.available() < 4 {
        thread::yield_now();
    }
    assert!(count > 0, "no waker was cloned");
}

/// Goal: a waker whose clone panics ends a write of a writer, whose error stays, or nothing;
/// `finish` can be called again; no buffer is lost.
#[test]
fn a_waker_that_panics_costs_a_writer_its_writes() {
    let _watchdog = Watchdog::new();
    let content = pattern(600_000);
    let (_dir, path, _file) = file_with(&[]);
    let pool = BufferPool::new(4, 64 << 10, 4096).expect("a pool");
    let mut count = 0;
    for (payload, nth) in PAYLOADS.into_iter().flat_map(|it| (0..12).map(move |nth| (it, nth))) {
        for direct in [Direct::Never, Direct::Prefer] {
            let (driver, file) = open(&path, direct);
            block_on(file.set_len(0)).expect("a length");
            let (_code, waker) = fragile(payload, nth);
            let mut writer = file.writer_with(0, WriterOptions::new().pool(pool.clone()));
            count += usize::from(poll_with(&waker, payload, |waker| {
                let at = writer.position() as usize;
                if at < content.len() {
                    let mut write = Box::pin(writer.write_all(&content[at..]));
                    match poll_once(&mut write, waker) {
                        Poll::Ready(Ok(())) => {}
                        ended => return ended,
                    }
                }
                poll_once(&mut Box::pin(writer.finish()), waker)
            }));
            let at = writer.position() as usize;
            let written = block_on(async {
                writer.write_all(&content[at..]).await?;
                writer.finish().await
            });
            let ended = block_on(writer.finish());
            let now = std::fs::read(&path).expect("the file");
            match (written, ended) {
                (_, Ok(())) => assert!(now == content, "{payload:?} {nth} {direct:?}"),
                (_, Err(error)) => {
                    assert_eq!(Errno::from_io_error(&error), Some(Errno::ECANCELED), "{error}");
                }
            }
            drop(writer);
            assert_serves(driver, file);
        }
    }
    while pool.available() < 4 {
        thread::yield_now();
    }
    assert!(count > 0, "no waker was cloned");
}

/// Goal: a waker of a stream that waits for a buffer may panic when the chunk of another stream is
/// dropped, which calls it: the drop does not unwind.
#[test]
fn a_dropped_chunk_catches_the_panic_of_a_waker() {
    let _watchdog = Watchdog::new();
    let content = pattern(9000);
    let (_dir, path, _file) = file_with(&content);
    let pool = BufferPool::new(1, 16 << 10, 4096).expect("a pool");
    for payload in PAYLOADS {
        let (driver, file) = open(&path, Direct::Prefer);
        let reader = || file.reader_with(.., ReaderOptions::new().pool(pool.clone()));
        let (mut first, mut second) = (reader(), reader());
        let chunk = block_on(first.next_chunk()).expect("a read").expect("a chunk");
        let code = Arc::<WakerCode>::default();
        code.wake.arm(move || payload.throw());
        let waker = code.waker();
        let mut waits = Box::pin(second.next_chunk());
        assert!(poll_once(&mut waits, &waker).is_pending());
        drop(chunk);
        assert_eq!(code.wake.calls(), 1);
        let chunk = block_on(waits).expect("a read").expect("a chunk");
        assert!(content.starts_with(&chunk));
        drop((chunk, first, second));
        assert_serves(driver, file);
        std::fs::write(&path, &content).expect("the file");
    }
}
