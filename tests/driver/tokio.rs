//! The driver on tokio: every operation of a `File` does what its namesake of `std` does, with any
//! buffer; what would block goes elsewhere or is refused.

use crate::common;

use bytes::{Bytes, BytesMut};
use common::files::{file_with, open, pipe};
use common::{Watchdog, poll_once};
use core::array::from_fn;
use core::task::Waker;
use linux_aio::op::Poll;
use linux_aio::tokio::driver;
use linux_aio::{File, PollEvents};
use std::io::{self, Write as _};
use std::panic::resume_unwind;
use tokio::runtime::Builder;

#[tokio::test]
async fn a_file_reads_what_was_written_to_it() -> io::Result<()> {
    let driver = driver(4)?;
    let file = File::from_std(tempfile::tempfile()?, &driver)?;
    let (result, _) = file.write_at(b"hello, ".to_vec(), 0).await;
    assert_eq!(result?, 7);
    let (result, _) = file.writev_at([&b"wor"[..], &b"ld"[..]], 7).await;
    assert_eq!(result?, 5);
    file.sync_data().await?;
    file.sync_all().await?;
    let (result, bufs) = file.readv_at([[0; 5], [0; 5]], 0).await;
    assert_eq!((result?, bufs), (10, [*b"hello", *b", wor"]));
    let (result, buf) = file.read_at(vec![0; 64], 10).await;
    assert_eq!((result?, &buf[..2]), (2, &b"ld"[..]));
    assert_eq!(file.metadata()?.len(), 12);
    driver.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_operations_than_slots_all_complete() -> io::Result<()> {
    let driver = driver(4)?;
    let file = File::from_std(std::fs::File::open("/dev/zero")?, &driver)?;
    let tasks: Vec<_> = (0..1000)
        .map(|n| {
            let file = file.clone();
            tokio::spawn(async move { file.read_at(vec![1; 1 + n % 100], 0).await })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        let (result, buf) = task.await?;
        assert_eq!((result?, buf), (1 + n % 100, vec![0; 1 + n % 100]));
    }
    assert_eq!(driver.outstanding(), 0);
    driver.close().await;
    Ok(())
}

/// Goal: the buffers of the crate `bytes` are buffers. Method: a write of a part of a `Bytes`,
/// whose other part stays in use, and a read to a `BytesMut`, frozen and compared.
#[tokio::test]
async fn bytes_are_buffers() -> io::Result<()> {
    let driver = driver(4)?;
    let file = File::from_std(tempfile::tempfile()?, &driver)?;
    let mut whole = Bytes::from_static(b"head and body");
    let head = whole.split_to(5);
    let (result, body) = file.write_at(whole, 0).await;
    assert_eq!((result?, &head[..], &body[..]), (8, &b"head "[..], &b"and body"[..]));
    let (result, mut buf) = file.read_at(BytesMut::zeroed(100), 0).await;
    buf.truncate(result?);
    assert_eq!(buf.freeze(), body);
    let (result, _) = file.writev_at([head, body], 0).await;
    assert_eq!(result?, 13);
    Ok(())
}

/// Goal: a buffer that panics costs its own read alone, whichever thread asks it. Method: in tasks,
/// beside other reads, of a device by the driver and of a file from the page cache.
#[tokio::test]
async fn a_buffer_that_panics_costs_its_own_read() -> io::Result<()> {
    struct Panics;
    impl AsMut<[u8]> for Panics {
        fn as_mut(&mut self) -> &mut [u8] {
            resume_unwind(Box::new("in as_mut"))
        }
    }
    let driver = driver(2)?;
    let (_dir, _, plain) = file_with(&[0; 8]);
    for plain in [std::fs::File::open("/dev/zero")?, plain] {
        let file = File::from_std(plain, &driver)?;
        let tasks: [_; 6] = from_fn(|_| {
            let (bad, good) = (file.clone(), file.clone());
            let bad = tokio::spawn(async move { bad.read_at(Panics, 0).await.0 });
            (bad, tokio::spawn(async move { good.read_at(vec![1; 8], 0).await }))
        });
        for (bad, good) in tasks {
            let panic = bad.await.expect_err("it panics").into_panic();
            assert_eq!(panic.downcast_ref(), Some(&"in as_mut"));
            let (result, buf) = good.await?;
            assert_eq!((result?, buf), (8, vec![0; 8]));
        }
    }
    assert_eq!(driver.outstanding(), 0);
    driver.close().await;
    Ok(())
}

/// Goal: a driver belongs to no runtime but for its reactor. Method: made in one that runs on a
/// thread, used from another, and closed by a third.
#[test]
fn a_driver_of_one_runtime_serves_another() -> io::Result<()> {
    let _watchdog = Watchdog::new();
    let first = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let driver = first.block_on(async { driver(4) })?;
    let second = Builder::new_current_thread().build()?;
    let file = File::from_std(std::fs::File::open("/dev/zero")?, &driver)?;
    for _ in 0..100 {
        assert_eq!(second.block_on(file.read_at(vec![1; 8], 0)).0?, 8);
    }
    drop(second);
    smol::block_on(driver.close());
    Ok(())
}

/// Goal: reads that are done at once let other tasks run. Method: a task reads until another says
/// that it has run, on one thread, of a device by the driver and of a file from the page cache.
#[tokio::test]
async fn reads_that_are_ready_at_once_let_others_run() -> io::Result<()> {
    let _watchdog = Watchdog::new();
    let driver = driver(4)?;
    let (_dir, _, plain) = file_with(&[0; 8]);
    for plain in [std::fs::File::open("/dev/zero")?, plain] {
        let file = File::from_std(plain, &driver)?;
        let mut other = tokio::spawn(core::future::ready(()));
        while !other.is_finished() {
            assert_eq!(file.read_at(vec![1; 8], 0).await.0?, 8);
        }
        (&mut other).await?;
    }
    Ok(())
}

// ---- what is submitted together ----

/// Goal: tasks that run in turns submit in one call what they start. Method: sixteen that read one
/// after the other; each read is done at once, so without waiting for the others each would be a
/// call. How many threads share is up to their scheduler, so there only that all reads are done.
async fn calls_of_tasks_that_read() -> io::Result<u64> {
    const TASKS: u64 = 16;
    const READS: u64 = 256;
    let driver = driver(64)?;
    let file = File::from_std(std::fs::File::open("/dev/zero")?, &driver)?;
    let reads = || {
        let file = file.clone();
        tokio::spawn(async move {
            for _ in 0..READS {
                assert_eq!(file.read_at(vec![1; 8], 0).await.0?, 8);
            }
            io::Result::Ok(())
        })
    };
    for task in (0..TASKS).map(|_| reads()).collect::<Vec<_>>() {
        task.await??;
    }
    let stats = driver.stats().queue;
    assert_eq!(stats.operations, TASKS * READS);
    driver.close().await;
    Ok(stats.submit_calls)
}

#[tokio::test]
async fn tasks_of_one_thread_share_calls() -> io::Result<()> {
    let calls = calls_of_tasks_that_read().await?;
    assert!(calls < 16 * 256 / 8, "{calls} calls");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_two_threads_read() -> io::Result<()> {
    calls_of_tasks_that_read().await.map(drop)
}

/// Goal: what is to be submitted when the tasks have run is not lost with the runtime. Method: with
/// a POLL in the kernel, a read waits for the tasks; the runtime goes before they run, and the read
/// ends elsewhere. One that is polled first after that does so, too.
#[test]
fn reads_outlive_the_runtime_that_was_to_submit_them() -> io::Result<()> {
    let _watchdog = Watchdog::new();
    let pipe = pipe(0);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (driver, _poll, read) = runtime.block_on(async {
        let driver = driver(4)?;
        let file = File::from_std(std::fs::File::open("/dev/zero")?, &driver)?;
        let mut poll = Box::pin(driver.perform(Poll::new(pipe.reader, PollEvents::IN)));
        assert!(poll_once(&mut poll, Waker::noop()).is_pending());
        let mut read = Box::pin(async move {
            let first = file.read_at(vec![1; 8], 0).await.0?;
            Ok::<_, io::Error>(first + file.read_at(vec![1; 8], 0).await.0?)
        });
        assert!(poll_once(&mut read, Waker::noop()).is_pending());
        assert_eq!(driver.stats().queue.operations, 1, "the read waits for the tasks");
        io::Result::Ok((driver, poll, read))
    })?;
    drop(runtime);
    assert_eq!(smol::block_on(read)?, 16);
    assert_eq!(driver.stats().queue.operations, 3);
    Ok(())
}

/// Goal: what the kernel has to do while tasks start more decides how many go to it together.
/// Method: POLLs, which stay in the kernel: one goes alone, then four, then as many as are there.
#[tokio::test]
async fn as_many_as_the_kernel_has_are_submitted_together() -> io::Result<()> {
    let pipe = pipe(0);
    let driver = driver(128)?;
    let mut polls = Vec::new();
    for together in [1, 4, 5, 10, 20, 32] {
        let before = polls.len() as u64;
        for number in 1..=together {
            let poll = Poll::new(pipe.reader.try_clone()?, PollEvents::IN);
            polls.push(Box::pin(driver.perform(poll)));
            let poll = polls.last_mut().expect("it has just been added");
            assert!(poll_once(poll, Waker::noop()).is_pending());
            let submitted = if number < together { before } else { before + together };
            assert_eq!(driver.stats().queue.operations, submitted, "{number} of {together}");
        }
    }
    assert_eq!(driver.stats().queue.submit_calls, 6);
    Ok(())
}

// ---- files that could block ----

/// Goal: a file on which `io_submit` could block without end is refused, and no other. Method: both
/// ends of pipes and sockets, a terminal, devices, files and directories.
#[tokio::test]
async fn what_could_block_without_end_is_refused() -> io::Result<()> {
    let driver = driver(4)?;
    let refused = |file: std::fs::File| {
        let made = File::from_std(file, &driver);
        made.err().map(|error| error.kind()) == Some(io::ErrorKind::InvalidInput)
    };
    let socket = |(socket, _other): (std::os::unix::net::UnixStream, _)| {
        std::fs::File::from(std::os::fd::OwnedFd::from(socket))
    };
    let (blocking, nonblocking) = (pipe(0), pipe(libc::O_NONBLOCK));
    assert!(refused(blocking.reader) && refused(blocking.writer));
    assert!(!refused(nonblocking.reader) && !refused(nonblocking.writer));
    assert!(refused(socket(std::os::unix::net::UnixStream::pair()?)));
    if std::path::Path::new("/dev/ptmx").exists() {
        assert!(refused(open("/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY)));
        assert!(!refused(open("/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK)));
    }
    assert!(!refused(std::fs::File::open("/dev/zero")?));
    assert!(!refused(tempfile::tempfile()?));
    assert!(!refused(std::fs::File::open("/")?));
    // These can be polled, but are files.
    assert!(!refused(std::fs::File::open("/proc/self/mounts")?));
    Ok(())
}

/// Goal: a pipe can be read with a POLL first. Method: a read of an empty one does not wait; after
/// a POLL, it has what was written meanwhile.
#[tokio::test]
async fn a_pipe_is_polled_first() -> io::Result<()> {
    let driver = driver(4)?;
    let mut pipe = pipe(libc::O_NONBLOCK);
    let fd = pipe.reader.try_clone()?;
    let file = File::from_std(pipe.reader, &driver)?;
    let (result, _) = file.read_at(vec![0; 8], 0).await;
    assert_eq!(result.map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
    let readable = driver.perform(Poll::new(fd, PollEvents::IN));
    let written = async { pipe.writer.write_all(b"ready") };
    let ((events, _), written) = tokio::join!(readable, written);
    written?;
    assert!(common::holds(events, PollEvents::IN));
    let (result, buf) = file.read_at(vec![0; 8], 0).await;
    assert_eq!((result?, &buf[..5]), (5, &b"ready"[..]));
    Ok(())
}
