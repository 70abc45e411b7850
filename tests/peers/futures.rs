//! What other crates' asynchronous layers got wrong, each as a test that ours passes. The crates
//! and the versions that were read are named at each test; those of libaio-futures hold for all.

use crate::common;

use common::child::{Ended, in_child};
use common::files::{BAD_FD, file_with, pattern};
use common::held::{BYTE, HeldFile};
use common::signal::{Pester, handled};
use common::{Watchdog, skip};
use core::future::poll_fn;
use core::pin::Pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::Poll;
use linux_aio::OpFuture;
use linux_aio::op::{self, Read, Write};
use linux_aio::{Driver, Errno, EventFd, Fd, IoPrio, Operation, PollEvents, Prepared, RwFlags};
use std::fs::File;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn driver(capacity: u32) -> Driver {
    linux_aio::tokio::driver(capacity).expect("a driver")
}

/// Polls a future that cannot be done yet.
async fn start<O: Operation + Send + 'static>(future: &mut OpFuture<O>) {
    let pending = poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_pending())).await;
    assert!(pending);
}

/// A buffer that says when it is dropped.
struct Dropped {
    bytes: Vec<u8>,
    count: Arc<AtomicUsize>,
}

impl AsMut<[u8]> for Dropped {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }
}

// ---- linux-aio-tokio 0.4.1 ----

/// There, the flags of an operation were put into another field: an APPEND at offset 0 overwrote
/// the first byte. Method: that.
#[tokio::test]
async fn rw_flags_reach_the_kernel() {
    let (_dir, path, file) = file_with(b"before");
    let mut append = Write::new(file, *b", after", 0);
    append.rw_flags = RwFlags::APPEND;
    let (result, _) = driver(2).perform(append).await;
    assert_eq!(result, Ok(7));
    assert_eq!(std::fs::read(path).expect("the file"), b"before, after");
}

/// There, dropping a future gave its buffer back while the kernel had it. Method: a read that is in
/// flight until the test lets it go; its future, the runtime and the driver go before.
#[test]
fn a_dropped_future_keeps_its_buffer_until_the_event() {
    let _watchdog = Watchdog::new();
    let mut held = match HeldFile::new() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    let file = held.file().try_clone().expect("a descriptor");
    let count = Arc::new(AtomicUsize::new(0));
    let buf = Dropped { bytes: vec![0; 512], count: Arc::clone(&count) };
    let runtime = current_thread();
    let driver = runtime.block_on(async {
        let driver = driver(2);
        let mut read = driver.perform(Read::new(file, buf, 0));
        start(&mut read).await;
        held.wait_for_arrival(1);
        drop(read);
        assert_eq!(driver.outstanding(), 1);
        driver
    });
    assert_eq!(count.load(Ordering::SeqCst), 0);
    drop(runtime);
    drop(driver);
    assert_eq!(count.load(Ordering::SeqCst), 0);
    held.release();
    while count.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
}

/// There, one signal ended the task that took the events, and every future hung. Method: both who
/// may wait for events, a runtime and the driver's own thread, are signalled all the time.
#[test]
fn signals_end_nothing() {
    let _watchdog = Watchdog::new();
    let _pester = Pester::this_thread(libc::SIGUSR1);
    current_thread().block_on(some_reads(driver_here));
    // Inherited by no thread, the signal goes to the process: whichever thread has it unblocked.
    let before = handled(libc::SIGUSR2);
    common::signal::ignore_politely(libc::SIGUSR2);
    let done = Arc::new(AtomicUsize::new(0));
    let ended = Arc::clone(&done);
    let killer = std::thread::spawn(move || {
        while ended.load(Ordering::Relaxed) == 0 {
            // SAFETY: No argument.
            let process = unsafe { libc::getpid() };
            // SAFETY: Numbers; the signal is handled.
            unsafe { libc::kill(process, libc::SIGUSR2) };
            std::thread::sleep(core::time::Duration::from_micros(200));
        }
    });
    current_thread().block_on(some_reads(|| Driver::on_thread(4).expect("a driver")));
    done.store(1, Ordering::Relaxed);
    killer.join().expect("no panic");
    assert!(handled(libc::SIGUSR2) > before);
}

fn driver_here() -> Driver {
    driver(4)
}

/// Reads until the signals have had their chances.
async fn some_reads(driver: impl FnOnce() -> Driver) {
    let driver = driver();
    let zero = Arc::new(File::open("/dev/zero").expect("/dev/zero"));
    for _ in 0..300 {
        let (result, buf) = driver.perform(Read::new(Arc::clone(&zero), [1; 64], 0)).await;
        assert_eq!((result, buf.buf), (Ok(64), [0; 64]));
        tokio::time::sleep(core::time::Duration::from_micros(100)).await;
    }
    driver.close().await;
}

/// There, dropping a context panicked in a forked child. Method: a child drops a driver, and
/// futures in each phase; the parent's operation is not disturbed by it.
#[test]
fn a_forked_child_drops_a_driver_and_disturbs_nothing() {
    let _watchdog = Watchdog::new();
    current_thread().block_on(async {
        let driver = driver(2);
        let zero = Arc::new(File::open("/dev/zero").expect("/dev/zero"));
        let fd = Arc::new(EventFd::new().expect("an eventfd"));
        let mut waiting = driver.perform(op::Poll::new(Arc::clone(&fd), PollEvents::IN));
        start(&mut waiting).await;
        let fresh = driver.perform(Read::new(Arc::clone(&zero), [1; 64], 0));
        let in_the_child = |phase: &mut dyn FnMut()| {
            assert_eq!(in_child(phase), Ended::WELL);
        };
        let mut taken = Some((driver, waiting, fresh));
        in_the_child(&mut || drop(taken.take()));
        let (driver, waiting, fresh) = taken.take().expect("the parent's copy");
        in_the_child(&mut || {
            let read = driver.perform(Read::new(Arc::clone(&zero), [1; 64], 0));
            let (result, _) = smol::future::block_on(read);
            assert_eq!(result, Err(Errno::FORKED));
        });
        assert_eq!(fresh.await.0, Ok(64));
        fd.add(1).expect("room in an eventfd");
        assert!(common::holds(waiting.await.0, PollEvents::IN));
        driver.close().await;
    });
}

// ---- tokio-linux-aio 0.1.11 ----

/// There, a buffer inside of the future was read by the kernel where it had been before the future
/// moved. Method: an array, in a future that is started, moved, and overwritten where it was.
#[test]
fn an_array_is_a_buffer_though_its_future_moves() {
    let _watchdog = Watchdog::new();
    let mut held = match HeldFile::new() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    let file = held.file().try_clone().expect("a descriptor");
    current_thread().block_on(async {
        let driver = driver(2);
        let mut place = driver.perform(Read::new(file, [0; 512], 0));
        start(&mut place).await;
        held.wait_for_arrival(1);
        let zero = File::open("/dev/zero").expect("/dev/zero");
        let moved = core::mem::replace(&mut place, driver.perform(Read::new(zero, [7; 512], 0)));
        held.release();
        let (result, read) = moved.await;
        assert_eq!((result, read.buf), (Ok(512), [BYTE; 512]));
        assert_eq!(place.await.1.buf, [0; 512]);
    });
}

/// There, the count of bytes was lost. Method: a read over the end of a file.
#[tokio::test]
async fn a_short_count_is_given() {
    let (_dir, _path, file) = file_with(&pattern(100));
    let (result, read) = driver(2).perform(Read::new(file, vec![0; 64], 90)).await;
    assert_eq!((result, &read.buf[..10]), (Ok(10), &pattern(100)[90..]));
}

/// There, the error number had the wrong sign. Method: a write to a file that is open for reading
/// alone, and a buffer that is not aligned for `O_DIRECT`: one is refused, one fails in its event.
#[tokio::test]
async fn an_error_is_the_kernels() {
    let driver = driver(2);
    let zero = File::open("/dev/zero").expect("/dev/zero");
    let (result, _) = driver.perform(Write::new(zero, [0; 8], 0)).await;
    assert_eq!(result, Err(Errno::EBADF));
    let error = std::io::Error::from(result.expect_err("checked"));
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));

    let (_dir, path, _) = file_with(&pattern(8192));
    let Some(direct) = common::files::open_direct(&path) else { skip!("no O_DIRECT here") };
    let (result, _) = driver.perform(Read::new(direct, vec![0; 100], 1)).await;
    assert_eq!(result, Err(Errno::EINVAL));
}

// ---- libaio-futures 0.2.3 ----

/// A descriptor that is not open.
struct BadFd([u8; 8]);

impl Operation for BadFd {
    fn prepare(&mut self) -> Prepared<'_> {
        // SAFETY: The number is that of no open descriptor at any time.
        let bad = unsafe { Fd::borrow_raw(BAD_FD) };
        Prepared::read(bad, &mut self.0, 0)
    }
}

/// There, one bad descriptor ended the only thread for I/O. Method: bad and good ones together,
/// more than there are slots, so that those which are refused must make room for those behind.
#[tokio::test]
async fn a_bad_descriptor_fails_alone() {
    let _watchdog = Watchdog::new();
    for driver in [driver(4), Driver::on_thread(4).expect("a driver")] {
        let zero = Arc::new(File::open("/dev/zero").expect("/dev/zero"));
        let mut bad: Vec<_> = (0..100).map(|_| driver.perform(BadFd([0; 8]))).collect();
        let mut good: Vec<_> =
            (0..100).map(|_| driver.perform(Read::new(Arc::clone(&zero), [1; 8], 0))).collect();
        // All are started before any is awaited.
        poll_fn(|cx| {
            bad.retain_mut(|future| match Pin::new(future).poll(cx) {
                Poll::Pending => true,
                Poll::Ready((result, _)) => {
                    assert_eq!(result, Err(Errno::EBADF));
                    false
                }
            });
            Poll::Ready(())
        })
        .await;
        poll_fn(|cx| {
            good.retain_mut(|future| Pin::new(future).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        for future in bad {
            assert_eq!(future.await.0, Err(Errno::EBADF));
        }
        for future in good {
            assert_eq!(future.await.0, Ok(8));
        }
        driver.close().await;
    }
}

/// There, wake-ups were lost when operations came from several threads. Method: they do, each when
/// the one before has woken its task, so that a single loss is a hang.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost() {
    let _watchdog = Watchdog::new();
    let (_dir, path, buffered) = file_with(&pattern(1 << 16));
    let file = Arc::new(common::files::open_direct(&path).unwrap_or(buffered));
    let driver = driver(8);
    let tasks = (0..32).map(|_| {
        let (driver, file) = (driver.clone(), Arc::clone(&file));
        tokio::spawn(async move {
            let mut buf = linux_aio::AlignedBuf::with_alignment(4096, 4096).expect("memory");
            for at in 0..100 {
                let read = Read::new(Arc::clone(&file), buf, at % 16 * 4096);
                let (result, read) = driver.perform(read).await;
                assert_eq!(result, Ok(4096));
                buf = read.buf;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a task without a failed check");
    }
    driver.close().await;
}

/// There, priorities were set without the flag that makes the kernel look at them. Method: a
/// priority of no class, which the kernel refuses if it looks.
#[tokio::test]
async fn priorities_reach_the_kernel() {
    let zero = File::open("/dev/zero").expect("/dev/zero");
    let mut read = Read::new(zero, [1; 8], 0);
    read.ioprio = IoPrio::from_raw(7 << 13 | 1);
    let (result, mut read) = driver(2).perform(read).await;
    assert_eq!(result, Err(Errno::EINVAL));
    read.ioprio = IoPrio::best_effort(3);
    assert_eq!(driver(2).perform(read).await.0, Ok(8));
}
