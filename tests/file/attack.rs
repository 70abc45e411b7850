//! Buffers, files and file systems that a request does not expect.

use crate::common;
use crate::drivers::{AnyDriver, on_each_driver};

use common::files::{file_with, pattern, scratch};
use common::{Watchdog, poll_once, say_skipped};
use core::pin::pin;
use core::task::Waker;
use linux_aio::{Direct, File};
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

on_each_driver![
    a_buffer_may_hold_its_bytes_itself,
    vectors_of_any_length_are_moved,
    a_pipe_holds_up_no_thread,
    closing_waits_for_the_threads,
    an_atomic_write_is_not_widened,
];

/// Goal: a buffer that holds its bytes inside of itself is aligned by chance alone, and moves with
/// its request; it is read and written all the same. Method: futures at many places in memory.
fn a_buffer_may_hold_its_bytes_itself<D: AnyDriver>() -> io::Result<()> {
    let content = pattern(20_000);
    let (_dir, path, _) = file_with(&content);
    let driver = D::with_capacity(4)?;
    let options = File::options().read(true).write(true);
    let file = driver.block_on(options.open(&driver, &path))?;
    let mut kept = Vec::new();
    for at in 0..200 {
        kept.push(vec![0_u8; 16 * (at % 33)]);
        let mut read = Box::pin(file.read_at([0; 8192], 4096));
        let (result, buf) = driver.block_on(&mut read);
        assert_eq!(result?, 8192);
        assert!(buf == content[4096..12_288]);
        let mut same = [0; 8192];
        same.copy_from_slice(&content[..8192]);
        let mut write = Box::pin(file.write_all_at(same, 0));
        driver.block_on(&mut write).0?;
        kept.push(vec![0_u8; 16 * (at % 7)]);
    }
    assert!(std::fs::read(&path)? == content);
    Ok(())
}

/// Goal: more buffers than one call takes are read and written whole.
fn vectors_of_any_length_are_moved<D: AnyDriver>() -> io::Result<()> {
    for direct in [Direct::Prefer, Direct::Never] {
        let (_dir, path, _) = file_with(b"");
        let driver = D::with_capacity(4)?;
        let options = File::options().read(true).write(true).direct(direct);
        let file = driver.block_on(options.open(&driver, &path))?;
        let content = pattern(3 * 2500);
        let bufs: Vec<Vec<u8>> = content.chunks(3).map(<[u8]>::to_vec).collect();
        let (result, bufs) = driver.block_on(file.writev_at(bufs, 5));
        assert_eq!(result?, content.len());
        let (result, read) = driver.block_on(file.readv_at(vec![[0; 3]; bufs.len()], 5));
        assert_eq!(result?, content.len());
        assert_eq!(read.concat(), content);
    }
    Ok(())
}

/// Goal: a pipe is refused by its path, before the open waits for the other end and holds up every
/// other call.
fn a_pipe_holds_up_no_thread<D: AnyDriver>() -> io::Result<()> {
    let _watchdog = Watchdog::new();
    let dir = scratch();
    let path = dir.path().join("pipe");
    let name = std::ffi::CString::new(path.to_str().expect("text")).expect("no zero");
    // SAFETY: A path that ends with a zero.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let driver = D::with_capacity(4)?;
    let options = File::options().read(true);
    let error = driver.block_on(options.open(&driver, &path)).expect_err("it would wait");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let options = File::options().read(true).custom_flags(libc::O_NONBLOCK);
    let pipe = driver.block_on(options.open(&driver, &path))?;
    assert_eq!(driver.block_on(pipe.read_at([1; 8], 0)).0?, 0);
    Ok(())
}

/// A buffer to be written that tells when a thread asks for its bytes, and waits for an answer.
struct Waits {
    asked: Sender<()>,
    go_on: Receiver<()>,
    gone: Sender<()>,
}

impl AsRef<[u8]> for Waits {
    fn as_ref(&self) -> &[u8] {
        // The first looks are at the length, by the task.
        if thread::current().name().is_some_and(|name| name.starts_with("linux-aio")) {
            let _ = (self.asked.send(()), self.go_on.recv());
        }
        b"late"
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        let _ = self.gone.send(());
    }
}

/// Goal: closing a driver waits for writes that its threads make, also if their futures are gone.
fn closing_waits_for_the_threads<D: AnyDriver>() -> io::Result<()> {
    let _watchdog = Watchdog::new();
    let (_dir, path, _) = file_with(b"content");
    let driver = D::with_capacity(4)?;
    let options = File::options().read(true).write(true).direct(Direct::Never);
    let file = driver.block_on(options.open(&driver, &path))?;
    let ((asked, is_asked), (go_on, goes_on), (gone, is_gone)) = (channel(), channel(), channel());
    {
        let mut write = pin!(file.write_at(Waits { asked, go_on: goes_on, gone }, 0));
        assert!(poll_once(&mut write, Waker::noop()).is_pending());
        is_asked.recv().expect("the thread has begun");
        // Reads go on.
        assert_eq!(driver.block_on(file.read_at([0; 7], 0)).0?, 7);
    }
    assert!(is_gone.try_recv().is_err(), "the buffer is in use");
    let mut close = pin!(driver.clone().close());
    let closed = (0..100).any(|_| {
        thread::sleep(core::time::Duration::from_millis(1));
        poll_once(&mut close, Waker::noop()).is_ready()
    });
    drop(go_on);
    is_gone.recv().expect("the buffer is dropped");
    assert!(!closed, "a write was under way");
    driver.block_on(close);
    assert_eq!(std::fs::read(path)?, b"lateent");
    Ok(())
}

/// Goal: an atomic write is one operation or an error: it writes no byte beside its own.
fn an_atomic_write_is_not_widened<D: AnyDriver>() -> io::Result<()> {
    let content = pattern(20_000);
    let (_dir, path, _) = file_with(&content);
    let driver = D::with_capacity(4)?;
    let file = driver.block_on(File::options().read(true).write(true).open(&driver, &path))?;
    let atomic = file.with_rw_flags(linux_aio::RwFlags::ATOMIC);
    for (offset, len) in [(1000, 512), (512, 100), (777, 4096)] {
        let result = driver.block_on(atomic.write_at(vec![0; len], offset)).0;
        if result.is_ok() {
            say_skipped("the kernel wrote it");
            return Ok(());
        }
        assert!(std::fs::read(&path)? == content, "{len} at {offset}");
    }
    Ok(())
}
