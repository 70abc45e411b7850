//! Requests that are given up after a time.

use crate::common;
use crate::drivers::{AnyDriver, on_each_driver};

use common::files::{file_with, pattern};
use common::{Watchdog, poll_once, say_skipped};
use core::task::Waker;
use core::time::Duration;
use linux_aio::op::Poll;
use linux_aio::{Direct, Driver, Errno, EventFd, File, PollEvents, SyncRange};
use pollster::block_on;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Wake;
use std::thread;

on_each_driver![
    a_request_that_hangs_is_given_up,
    a_request_that_waits_for_a_slot_is_given_up,
    requests_in_time_are_as_without_a_deadline,
    a_request_that_is_dropped_has_no_alarm,
    a_file_of_a_driver_has_its_deadline_unless_it_has_another,
    the_call_that_opens_a_file_is_given_up,
    calls_of_a_file_are_given_up,
];

const SHORT: Duration = Duration::from_millis(5);

/// A buffer to be written that holds the thread which asks for its bytes.
struct Hangs {
    begun: Sender<()>,
    go_on: Receiver<()>,
    gone: Sender<()>,
}

impl AsRef<[u8]> for Hangs {
    fn as_ref(&self) -> &[u8] {
        // The first looks are at the length, by the task.
        if thread::current().name().is_some_and(|name| name.starts_with("linux-aio")) {
            let _ = self.begun.send(());
            let _ = self.go_on.recv();
        }
        b"late"
    }
}

impl Drop for Hangs {
    fn drop(&mut self) {
        let _ = self.gone.send(());
    }
}

/// Goal: a request that hangs ends at its time, with an error that names it. Its buffer is kept as
/// long as it is in use, and what was begun is done.
fn a_request_that_hangs_is_given_up<D: AnyDriver>() -> io::Result<()> {
    let _watchdog = Watchdog::new();
    let (_dir, path, _) = file_with(b"content");
    let driver = D::with_capacity(4)?;
    let options = File::options().read(true).write(true).direct(Direct::Never);
    let plain = driver.block_on(options.open(&driver, &path))?;
    let mut time = SHORT;
    let (file, error, go_on, is_gone) = loop {
        let file = plain.clone().with_deadline(time);
        let (begun, has_begun) = channel();
        let ((go_on, goes_on), (gone, is_gone)) = (channel(), channel());
        let late = driver.block_on(file.write_at(Hangs { begun, go_on: goes_on, gone }, 2));
        let error = late.err().expect("nobody lets it go on");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        if has_begun.try_recv().is_ok() {
            break (file, error, go_on, is_gone);
        }
        // On a busy machine no thread had the time to begin it.
        time *= 2;
    };
    assert_eq!(Errno::from_io_error(&error), Some(Errno::ETIMEDOUT));
    let text = error.to_string();
    assert!(text.starts_with("PWRITE at offset 2 of descriptor "), "{text}");
    assert!(is_gone.try_recv().is_err(), "the buffer is in use");
    // Another lane, and in time.
    let (result, buf) = driver.block_on(plain.read_at([0; 7], 0));
    assert_eq!((result?, &buf), (7, b"content"));
    drop((go_on, file));
    is_gone.recv().expect("the buffer is dropped");
    driver.block_on(driver.clone().close());
    assert_eq!(std::fs::read(path)?, b"colatet");
    Ok(())
}

/// Goal: the same where the operation is not even begun: then its buffer is dropped at once, and
/// nothing is done.
fn a_request_that_waits_for_a_slot_is_given_up<D: AnyDriver>() -> io::Result<()> {
    let _watchdog = Watchdog::new();
    let (_dir, path, _) = file_with(&pattern(8192));
    let driver = D::with_capacity(1)?;
    let options = File::options().read(true).write(true);
    let file = driver.block_on(options.open(&driver, &path))?;
    let zero = File::from_std(std::fs::File::open("/dev/zero")?, &driver)?.with_deadline(SHORT);
    let silent = Arc::new(EventFd::new()?);
    let mut full = pin!(driver.start(Poll::new(Arc::clone(&silent), PollEvents::IN)));
    assert!(poll_once(&mut full, Waker::noop()).is_pending());
    let error = driver.block_on(zero.read_exact_at(vec![1; 8], 777)).expect_err("no slot");
    assert!(error.to_string().starts_with("PREAD at offset 777"), "{error}");
    let timed = file.clone().with_deadline(SHORT);
    if file.is_direct() {
        let late = driver.block_on(timed.sync_data()).expect_err("no slot");
        assert!(late.to_string().starts_with("FDSYNC of descriptor"), "{late}");
    }
    silent.add(1)?;
    driver.block_on(full);
    timed_again(&driver, &file)
}

fn timed_again<D: AnyDriver>(driver: &D, file: &File<D>) -> io::Result<()> {
    let timed = file.clone().with_deadline(Duration::from_secs(3600));
    let (result, buf) = driver.block_on(timed.read_exact_at(vec![0; 8192], 0))?;
    result?;
    assert!(buf == pattern(8192));
    Ok(())
}

/// Goal: what is done in time gives its result and its buffer, and errors of the request are in the
/// result. Without end, there is no alarm.
fn requests_in_time_are_as_without_a_deadline<D: AnyDriver>() -> io::Result<()> {
    let (_dir, path, _) = file_with(&pattern(8192));
    let driver = D::with_capacity(4)?;
    let options = File::options().read(true).write(true);
    let file = driver.block_on(options.open(&driver, &path))?;
    for time in [Duration::from_secs(3600), Duration::MAX] {
        let timed = file.clone().with_deadline(time);
        driver.block_on(async {
            assert_eq!(timed.read_at(vec![0; 100], 8100).await?.0?, 92);
            let (result, _) = timed.read_exact_at(vec![0; 100], 8100).await?;
            assert_eq!(result.expect_err("the end").kind(), io::ErrorKind::UnexpectedEof);
            assert_eq!(timed.readv_at([[0; 50], [0; 50]], 5).await?.0?, 100);
            timed.readv_exact_at([[0; 50], [0; 50]], 5).await?.0?;
            assert_eq!(timed.write_at([1; 5], 5).await?.0?, 5);
            timed.write_all_at([1; 5], 5).await?.0?;
            assert_eq!(timed.writev_at([[1; 5], [1; 5]], 5).await?.0?, 10);
            timed.writev_all_at([[1; 5], [1; 5]], 5).await?.0?;
            timed.sync_all().await?;
            timed.sync_range(0, 4096, SyncRange::Start).await?;
            timed.set_len(9000).await?;
            assert_eq!(file.metadata()?.len(), 9000);
            // Not every file system has these.
            for result in [timed.allocate(0, 9000).await, timed.punch_hole(0, 4096).await] {
                if let Err(error) = result {
                    assert_eq!(Errno::from_io_error(&error), Some(Errno::EOPNOTSUPP), "{error}");
                }
            }
            timed.set_len(8192).await?;
            timed.write_all_at(pattern(8192), 0).await?.0?;
            timed.sync_data().await
        })?;
    }
    Ok(())
}

/// Goal: a waker is called for no request that is gone, and is dropped with it.
fn a_request_that_is_dropped_has_no_alarm<D: AnyDriver>() -> io::Result<()> {
    struct Counted;
    impl std::task::Wake for Counted {
        fn wake(self: Arc<Self>) {}
    }
    let driver = D::with_capacity(1)?;
    let zero = File::from_std(std::fs::File::open("/dev/zero")?, &driver)?;
    let zero = zero.with_deadline(Duration::from_secs(3600));
    let mut full = pin!(driver.start(Poll::new(EventFd::new()?, PollEvents::IN)));
    assert!(poll_once(&mut full, Waker::noop()).is_pending());
    let counted = Arc::new(Counted);
    {
        let waker = Waker::from(Arc::clone(&counted));
        let mut read = pin!(zero.read_at(vec![1; 8], 0));
        assert!(poll_once(&mut read, &waker).is_pending());
        assert!(poll_once(&mut read, &waker).is_pending());
        assert!(Arc::strong_count(&counted) > 2);
    }
    assert_eq!(Arc::strong_count(&counted), 1);
    Ok(())
}

/// Goal: a file that is opened by a handle with a deadline has that deadline, and one of its own is
/// stronger, be it earlier or later. Method: requests that wait for a slot, which are let go on.
fn a_file_of_a_driver_has_its_deadline_unless_it_has_another<D: AnyDriver>() -> io::Result<()> {
    let _watchdog = Watchdog::new();
    const LONG: Duration = Duration::from_secs(3600);
    let driver = D::with_capacity(1)?;
    let open = |time| {
        let timed = driver.with_deadline(time);
        driver.block_on(timed.open(&File::options().read(true), "/dev/zero"))
    };
    // On a machine that is busy the call that opens the file may take longer than a moment.
    let (short, long) = (open(LONG)?.with_deadline(SHORT), open(LONG)?);
    let silent = Arc::new(EventFd::new()?);
    let mut full = pin!(driver.start(Poll::new(Arc::clone(&silent), PollEvents::IN)));
    assert!(poll_once(&mut full, Waker::noop()).is_pending());
    let late = driver.block_on(short.read_at(vec![1; 8], 0)).expect_err("no slot");
    assert!(late.to_string().contains("within 5ms"), "{late}");
    let earlier = long.clone().with_deadline(SHORT);
    assert!(driver.block_on(earlier.read_at(vec![1; 8], 0)).is_err());
    let later = short.with_deadline(LONG);
    let mut waits = [Box::pin(long.read_at(vec![1; 8], 0)), Box::pin(later.read_at(vec![1; 8], 0))];
    for read in &mut waits {
        assert!(poll_once(read, Waker::noop()).is_pending());
    }
    thread::sleep(2 * SHORT);
    silent.add(1)?;
    driver.block_on(full);
    for read in waits {
        assert_eq!(driver.block_on(read)?.1, [0; 8]);
    }
    Ok(())
}

/// Takes or gives back a lease. Returns 0, or -1 on a file system that has none.
fn lease(file: &std::fs::File, kind: i32) -> i32 {
    // The signal of a broken lease, which is ignored unless somebody handles it.
    const F_SETSIG: i32 = 10;
    // SAFETY: Numbers, of an open file.
    unsafe { libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) };
    // SAFETY: As above.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) }
}

/// Goal: the calls of a file that are no operations have its deadline, too, and name themselves.
/// Method: they wait for the thread that makes them. It opens a file with a lease, which hangs.
fn calls_of_a_file_are_given_up<D: AnyDriver>() -> io::Result<()> {
    let _watchdog = Watchdog::new();
    let (_dir, path, leased) = file_with(b"content");
    let (_other_dir, other, _) = file_with(b"content");
    let driver = D::with_capacity(1)?;
    let options = File::options().read(true).write(true);
    let timed = driver.block_on(options.open(&driver, &other))?.with_deadline(SHORT);
    if lease(&leased, libc::F_WRLCK) != 0 {
        say_skipped("this file system has no leases");
        return Ok(());
    }
    let mut open = pin!(File::open(&driver, &path));
    assert!(poll_once(&mut open, Waker::noop()).is_pending());
    let late = driver.block_on(async {
        [
            (timed.set_len(3).await, "ftruncate to 3 bytes of descriptor "),
            (timed.allocate(1, 2).await, "fallocate of 2 bytes at offset 1 of descriptor "),
            (timed.punch_hole(1, 2).await, "fallocate of a hole of 2 bytes at offset 1 of desc"),
            (timed.sync_range(1, 2, SyncRange::Start).await, "sync_file_range of 2 bytes at off"),
        ]
    });
    for (late, begin) in late {
        let late = late.expect_err("the thread hangs");
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        assert!(late.to_string().starts_with(begin), "{late}");
    }
    assert_eq!(lease(&leased, libc::F_UNLCK), 0);
    driver.block_on(open)?;
    assert_eq!(std::fs::read(other)?, b"content");
    Ok(())
}

/// Goal: a call that opens a file and hangs is given up, and names the path. The file is closed
/// when the call returns. Method: a lease, which the call breaks, and so waits for.
fn the_call_that_opens_a_file_is_given_up<D: AnyDriver>() -> io::Result<()> {
    let _watchdog = Watchdog::new();
    let (_dir, path, leased) = file_with(b"content");
    if lease(&leased, libc::F_WRLCK) != 0 {
        say_skipped("this file system has no leases");
        return Ok(());
    }
    let driver = D::with_capacity(1)?;
    let timed = driver.with_deadline(SHORT);
    let late = driver.block_on(timed.open(&File::options().read(true), &path));
    let error = late.expect_err("the lease is held");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(error.to_string().starts_with(&format!("open of {} did not", path.display())));
    assert_eq!(lease(&leased, libc::F_UNLCK), 0);
    driver.block_on(driver.clone().close());
    // Nobody else has the file open: this would fail.
    assert_eq!(lease(&leased, libc::F_WRLCK), 0, "{}", io::Error::last_os_error());
    Ok(())
}

/// Goal: the end of a driver names the calls on its threads that keep it open, and whoever gives up
/// to wait for them leaves no waker behind. Method: a write whose buffer hangs, and a waker that is
/// counted.
#[test]
fn the_end_of_a_driver_names_calls_that_hang() -> io::Result<()> {
    struct Counted;
    impl Wake for Counted {
        fn wake(self: Arc<Self>) {}
    }
    let _watchdog = Watchdog::new();
    let (_dir, path, _) = file_with(b"content");
    let driver = Driver::on_thread(4)?;
    let options = File::options().write(true).direct(Direct::Never);
    let file = block_on(options.open(&driver, &path))?;
    let (begun, has_begun) = channel();
    let ((go_on, goes_on), (gone, _)) = (channel(), channel());
    let mut write = pin!(file.write_at(Hangs { begun, go_on: goes_on, gone }, 2));
    assert!(poll_once(&mut write, Waker::noop()).is_pending());
    has_begun.recv().expect("a thread has begun it");

    let unfinished = block_on(driver.clone().close_within(SHORT)).expect_err("the call hangs");
    assert!(unfinished.operations().is_empty());
    let text = unfinished.to_string();
    assert!(text.contains(": 1 call of a file is on its threads"), "{text}");

    let counted = Arc::new(Counted);
    let waker = Waker::from(Arc::clone(&counted));
    let mut closed = driver.clone().close();
    for waker in [&waker, &waker.clone(), Waker::noop(), &waker] {
        assert!(poll_once(&mut closed, waker).is_pending());
    }
    drop((closed, waker));
    assert_eq!(Arc::strong_count(&counted), 1, "a waker is left");
    drop(go_on);
    block_on(driver.close());
    Ok(())
}
