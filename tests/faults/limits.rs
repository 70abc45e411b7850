//! A process at its limits (`RLIMIT_NOFILE`, `RLIMIT_AS`, `RLIMIT_NPROC`, `RLIMIT_MEMLOCK`): what
//! cannot be made is an error that says why, and what is there goes on. In children, since some
//! limits cannot be raised again.

use crate::common;

use common::child::{Ended, in_child};
use common::files::{file_with, open_direct, pattern};
use common::{Watchdog, is_root, queue, skip};
use linux_aio::op::{Poll, Read, Write};
use linux_aio::{AlignedBuf, Driver, Errno, EventFd, IoContext, LocalDriver, PollEvents, Queue};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::sync::Arc;

fn limit(resource: Resource, value: u64) {
    setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) }).expect("setrlimit");
}

/// From now on, this process is nobody, to whom limits apply.
fn become_nobody() {
    // SAFETY: A number.
    let set = unsafe { libc::setuid(65_534) };
    assert_eq!(set, 0, "setuid: {}", std::io::Error::last_os_error());
}

/// Whether reads through the queue bring what is in the file.
fn reads(queue: &mut Queue<Read<Arc<File>, AlignedBuf>>, file: &Arc<File>, content: &[u8]) -> bool {
    let buf = AlignedBuf::new(content.len()).expect("memory");
    queue.push(Read::new(Arc::clone(file), buf, 0)).expect("a slot");
    let done = queue.wait().expect("a wait").expect("a completion");
    done.result == Ok(content.len() as u32) && *done.op.buf == *content
}

/// Goal: without a descriptor to be had, contexts and queues are made and work, since they need
/// none; an eventfd and a driver are not, with `EMFILE`; and the error of a context that cannot be
/// made lacks the numbers of /proc, but not the cause.
#[test]
fn without_descriptors_only_what_needs_one_fails() {
    let _watchdog = Watchdog::new();
    let content = pattern(4096);
    let (_dir, _path, file) = file_with(&content);
    let file = Arc::new(file);
    let ended = in_child(|| {
        let free = file.try_clone().expect("a descriptor");
        limit(Resource::Nofile, free.as_raw_fd() as u64);
        drop(free);
        for fd in 0..file.as_raw_fd() {
            // SAFETY: A copy that no value knows, made to fill the gaps below the limit.
            unsafe { libc::dup(fd) };
        }
        assert_eq!(EventFd::new().err(), Some(Errno::EMFILE));
        let error = Driver::on_thread(4).expect_err("no eventfd");
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        assert!(reads(&mut queue(1), &file, &content));

        let error = IoContext::new(4_000_000).expect_err("more than the system has");
        assert_eq!(
            (error.errno(), error.aio_nr(), error.aio_max_nr()),
            (Errno::EAGAIN, None, None)
        );
        assert!(error.to_string().contains("fs.aio-max-nr, is used up"), "{error}");
    });
    assert_eq!(ended, Ended::WELL);
}

/// How much address space this process has mapped.
fn mapped() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("/proc");
    let pages: u64 = statm.split(' ').next().and_then(|size| size.parse().ok()).expect("a size");
    // SAFETY: A number.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64
}

/// Goal: without address space, a ring and a buffer that do not fit are `ENOMEM`, and a queue that
/// is there goes on.
#[test]
fn without_address_space_what_does_not_fit_is_enomem() {
    const MARGIN: u64 = 512 << 10;
    let _watchdog = Watchdog::new();
    let content = pattern(4096);
    let (_dir, _path, file) = file_with(&content);
    let file = Arc::new(file);
    let ended = in_child(|| {
        let mut queue = queue(1);
        limit(Resource::As, mapped() + MARGIN);
        let error = IoContext::new(20_000).expect_err("no room for a ring");
        assert_eq!(error.errno(), Errno::ENOMEM);
        assert!(error.to_string().contains("memory for the completion ring"), "{error}");
        assert!(AlignedBuf::new(64 << 20).is_err());
        for _ in 0..10 {
            assert!(reads(&mut queue, &file, &content));
        }
    });
    assert_eq!(ended, Ended::WELL);
}

/// Asserts that an error says which thread could not be started and which limits to look at, and
/// that it has kept the errno and the kind that the system gave.
fn assert_names_thread(error: std::io::Error, thread: &str) {
    let text = error.to_string();
    for part in [thread, "could not be started: EAGAIN", "RLIMIT_NPROC", "pids.max"] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    assert_eq!(Errno::from_io_error(&error), Some(Errno::EAGAIN), "{text}");
    assert_eq!(error.kind(), std::io::Error::from_raw_os_error(libc::EAGAIN).kind(), "{text}");
}

/// Goal: where no thread can be started, each error says which thread, what for, and what to do;
/// operations come back, and the driver goes on with what needs no other thread. Method: a driver
/// that is made before the limit, asked for a deadline, for calls of files and for an end in time.
#[test]
fn a_thread_that_cannot_be_started_is_named_wherever_one_starts() {
    let _watchdog = Watchdog::new();
    if !is_root() {
        skip!("becoming a user without other processes needs root");
    }
    let content = pattern(4096);
    let (_dir, path, file) = file_with(&content);
    let ended = in_child(|| {
        let driver = Driver::on_thread(4).expect("a driver");
        become_nobody();
        limit(Resource::Nproc, 0);
        pollster::block_on(async {
            let read = || Read::new(file.try_clone().expect("a descriptor"), vec![0; 4096], 0);
            let minute = core::time::Duration::from_secs(60);
            let error = driver.perform(read()).timeout(minute).await.expect_err("no timer");
            assert_eq!(error.errno(), Errno::EAGAIN);
            assert_names_thread(
                error.into(),
                "linux-aio-timer, which wakes futures at their deadlines",
            );
            let given = driver.perform(read()).timeout(minute).await.expect_err("no timer");
            let (result, read) = driver.perform(given.into_operation().expect("never begun")).await;
            assert_eq!((result, read.buf), (Ok(4096), content.clone()));

            let error = linux_aio::File::open(&driver, &path).await.expect_err("no thread");
            assert!(error.to_string().starts_with("open of "), "{error}");
            assert_names_thread(error, "linux-aio-calls, which opens");
            let opened = linux_aio::File::from_std(file.try_clone().expect("one"), &driver);
            let opened = opened.expect("a file");
            let timed = opened.clone().with_deadline(minute);
            let error = timed.read_at(vec![0; 10], 0).await.expect_err("no timer");
            assert_names_thread(error, "linux-aio-timer");
            let error = opened.set_len(4096).await.expect_err("no thread");
            assert!(error.to_string().starts_with("ftruncate to 4096 bytes: "), "{error}");
            assert_names_thread(error, "linux-aio-calls");
            let (result, buf) = opened.write_at(vec![1; 10], 0).await;
            assert_names_thread(result.expect_err("no thread"), "linux-aio-write, which writes");
            assert_eq!(buf, [1; 10]);
            // Without a thread the file is closed here.
            opened.close().await.expect("a close");

            let counter = Arc::new(EventFd::new().expect("a counter"));
            let mut poll = driver.perform(Poll::new(counter, PollEvents::IN));
            assert!(common::poll_once(&mut poll, core::task::Waker::noop()).is_pending());
            let error = driver.close_within(minute).await.expect_err("no timer");
            assert_eq!(error.errno(), Errno::ETIMEDOUT);
            let text = error.to_string();
            assert!(text.contains("the time was up at once: the driver's thread"), "{text}");
        });
    });
    assert_eq!(ended, Ended::WELL);
}

/// Goal: a local driver needs no thread for deadlines in its `block_on`. Outside of it, operations
/// come back with an error that names the thread, also those that were started in it.
#[test]
fn a_local_driver_has_deadlines_without_threads_in_block_on() {
    let _watchdog = Watchdog::new();
    if !is_root() {
        skip!("becoming a user without other processes needs root");
    }
    let (_dir, _path, file) = file_with(&pattern(4096));
    let ended = in_child(|| {
        let driver = LocalDriver::new(4).expect("a driver");
        become_nobody();
        limit(Resource::Nproc, 0);
        let read = || Read::new(file.try_clone().expect("a descriptor"), vec![0; 4096], 0);
        let minute = core::time::Duration::from_secs(60);
        let (result, _) = driver.block_on(driver.perform(read()).timeout(minute)).expect("in time");
        assert_eq!(result, Ok(4096));
        let silent = || {
            let counter = Arc::new(EventFd::new().expect("a counter"));
            driver.perform(Poll::new(counter, PollEvents::IN))
        };
        let soon = core::time::Duration::from_millis(5);
        let late = driver.block_on(silent().timeout(soon)).expect_err("it is silent");
        assert_eq!(late.errno(), Errno::ETIMEDOUT);

        let error = pollster::block_on(driver.perform(read()).timeout(minute));
        let error = error.expect_err("no timer");
        assert_eq!(error.errno(), Errno::EAGAIN);
        assert!(error.to_string().starts_with("the operation was not started: "), "{error}");
        let mut started = silent().timeout(minute);
        let once = core::future::poll_fn(|cx| {
            core::task::Poll::Ready(core::pin::Pin::new(&mut started).poll(cx).is_pending())
        });
        assert!(driver.block_on(once));
        let error = pollster::block_on(&mut started).expect_err("no timer");
        assert!(error.to_string().starts_with("the operation was given up: "), "{error}");
        assert_names_thread(error.into(), "linux-aio-timer");
    });
    assert_eq!(ended, Ended::WELL);
}

/// Goal: where no thread can be started, a driver is an error.
#[test]
fn without_threads_a_driver_is_an_error() {
    let _watchdog = Watchdog::new();
    if !is_root() {
        skip!("becoming a user without other processes needs root");
    }
    let ended = in_child(|| {
        become_nobody();
        limit(Resource::Nproc, 0);
        let error = Driver::on_thread(4).expect_err("no thread");
        assert_names_thread(error, "linux-aio, which submits again");
    });
    assert_eq!(ended, Ended::WELL);
}

/// Goal: that no memory may be locked matters to nobody: the kernel does not count the pages of
/// buffers in flight. Method: as an ordinary user, buffered and with O_DIRECT.
#[test]
fn without_memory_to_lock_everything_works() {
    let _watchdog = Watchdog::new();
    let content = pattern(1 << 20);
    let (_dir, path, file) = file_with(&vec![0; content.len()]);
    let mut files = vec![Arc::new(file)];
    match open_direct(&path) {
        Some(file) => files.push(Arc::new(file)),
        None => common::say_skipped("the direct part: this file system has no O_DIRECT"),
    }
    let ended = in_child(|| {
        if is_root() {
            become_nobody();
        }
        limit(Resource::Memlock, 0);
        for file in &files {
            let mut buf = AlignedBuf::new(content.len()).expect("memory");
            buf.copy_from_slice(&content);
            let mut writes = queue(1);
            writes.push(Write::new(Arc::clone(file), buf, 0)).expect("a slot");
            let done = writes.wait().expect("a wait").expect("a completion");
            assert_eq!(done.result, Ok(content.len() as u32));
            assert!(reads(&mut queue(1), file, &content));
        }
        smol::block_on(async {
            let driver = Driver::on_thread(4).expect("a driver");
            let read = Read::new(Arc::clone(&files[0]), vec![0; content.len()], 0);
            let (result, read) = driver.perform(read).await;
            assert_eq!((result, read.buf == content), (Ok(content.len() as u32), true));
        });
    });
    assert_eq!(ended, Ended::WELL);
}
