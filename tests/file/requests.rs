//! What a request of a `File` does at its edges, and on each runtime.

use crate::common;
use crate::drivers::AnyDriver;

use common::device::{EXT4, Mount, on_new_disk};
use common::files::{file_with, open_direct, pattern, scratch};
use common::held::{HeldFile, short_content};
use common::{Watchdog, is_root, say_skipped};
use core::num::NonZero;
use core::task::{Context, Poll};
use linux_aio::{
    AlignedBuf, Direct, DirectState, Driver, Errno, EventFd, File, LocalDriver, Reactor, RwFlags,
    Spare, SyncRange, UnexpectedEnd,
};
use pollster::block_on;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;

fn errno<T>(result: io::Result<T>) -> Option<Errno> {
    result.err().and_then(|error| Errno::from_io_error(&error))
}

/// Writes and reads at places of every kind, and checks what others see.
async fn exchange<D: AnyDriver>(driver: D, direct: Direct) -> io::Result<()> {
    let dir = scratch();
    let path = dir.path().join("file");
    let options = File::options().read(true).write(true).create_new(true).direct(direct);
    let file = options.open(&driver, &path).await?;
    let content = pattern(300_000);
    file.write_all_at(content.clone(), 777).await.0?;
    file.sync_all().await?;
    let whole = std::fs::read(&path)?;
    assert!(whole[..777].iter().all(|byte| *byte == 0) && whole[777..] == content);
    let (result, buf) = file.read_exact_at(vec![0; content.len()], 777).await;
    result?;
    assert!(buf == content);
    file.set_len(1000).await?;
    assert_eq!(file.metadata()?.len(), 1000);
    let (result, buf) = file.read_at(vec![0; 4096], 0).await;
    assert_eq!((result?, &buf[..1000]), (1000, &whole[..1000]));
    let (result, _) = file.read_at(vec![0; 4096], 1000).await;
    assert_eq!(result?, 0);
    file.close().await?;
    driver.close().await;
    Ok(())
}

#[cfg(feature = "tokio")]
#[test]
fn a_file_works_on_tokio() -> io::Result<()> {
    let _watchdog = Watchdog::new();
    for workers in [1, 2] {
        let builder = &mut tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(workers).enable_all().build()?;
        for direct in [Direct::Prefer, Direct::Never] {
            runtime.block_on(async {
                // In a task, so the future can be sent.
                tokio::spawn(exchange(linux_aio::tokio::driver(4)?, direct)).await?
            })?;
        }
    }
    Ok(())
}

#[cfg(feature = "tokio")]
#[test]
fn a_file_works_on_a_local_set() -> io::Result<()> {
    let _watchdog = Watchdog::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for direct in [Direct::Prefer, Direct::Never] {
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let driver = linux_aio::tokio::local_driver(4)?;
            tokio::task::spawn_local(exchange(driver, direct)).await?
        })?;
    }
    Ok(())
}

struct SmolReactor(smol::Async<Arc<EventFd>>);

impl Reactor for SmolReactor {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_readable(cx)
    }
}

#[test]
fn a_file_works_on_smol_and_without_a_runtime() -> io::Result<()> {
    let _watchdog = Watchdog::new();
    for direct in [Direct::Prefer, Direct::Never] {
        let reactor = |eventfd| Ok(SmolReactor(smol::Async::new_nonblocking(eventfd)?));
        smol::block_on(exchange(Driver::new(4, reactor)?, direct))?;
        block_on(exchange(Driver::on_thread(4)?, direct))?;

        let local = LocalDriver::new(4)?;
        let executor = smol::LocalExecutor::new();
        executor.spawn(local.run_on(reactor)?).detach();
        smol::block_on(executor.run(exchange(local, direct)))?;
        let local = LocalDriver::new(4)?;
        local.block_on(exchange(local.clone(), direct))?;
    }
    Ok(())
}

/// Goal: a request that cannot be is refused, with a text that names it, and its buffer comes back.
#[test]
fn a_range_behind_the_largest_offset_is_refused() -> io::Result<()> {
    let (_dir, _, plain) = file_with(b"content");
    let driver = Driver::on_thread(2)?;
    let file = File::from_std(plain, &driver)?;
    block_on(async {
        for offset in [u64::MAX, u64::MAX - 3, i64::MAX as u64 - 6] {
            let (result, buf) = file.write_at(vec![1; 7], offset).await;
            let error = result.expect_err("no file is so long");
            assert_eq!((error.kind(), buf.len()), (io::ErrorKind::InvalidInput, 7));
            assert!(error.to_string().contains(&offset.to_string()), "{error}");
            let (result, _) = file.read_at(vec![1; 7], offset).await;
            assert_eq!(result.expect_err("none").kind(), io::ErrorKind::InvalidInput);
            let error = file.allocate(offset, 7).await.expect_err("none");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
        assert_eq!(file.metadata()?.len(), 7);
        Ok(())
    })
}

/// Goal: a range that ends at the largest offset is one like any other, and no length is behind it.
/// Method: reads whose last block ends behind that offset, where the kernel would refuse a read.
#[test]
fn a_read_up_to_the_largest_offset_finds_the_end() -> io::Result<()> {
    let (_dir, path, _) = file_with(b"content");
    let driver = Driver::on_thread(2)?;
    for direct in [Direct::Prefer, Direct::Never] {
        let options = File::options().read(true).write(true).direct(direct);
        let blocking = options.open_blocking(&path)?;
        block_on(async {
            let file = options.open(&driver, &path).await?;
            for len in [1, 100, 5000] {
                let offset = i64::MAX as u64 - len as u64;
                assert_eq!(file.read_at(vec![1; len], offset).await.0?, 0, "{len} bytes");
                assert_eq!(blocking.read_at(&mut vec![1; len], offset)?, 0, "{len} bytes");
                let error = file.read_exact_at(vec![1; len], offset).await.0.expect_err("no byte");
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
            }
            for len in [1 << 63, u64::MAX] {
                let errors = [file.set_len(len).await, blocking.set_len(len)];
                for error in errors.map(|result| result.expect_err("no file is so long")) {
                    assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
                    assert!(error.to_string().contains(&len.to_string()), "{error}");
                }
            }
            assert_eq!(file.metadata()?.len(), 7);
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

/// Goal: a request that a file is not open for says what it is open for.
#[test]
fn a_file_that_is_open_for_reading_alone_says_so() -> io::Result<()> {
    let (_dir, path, _) = file_with(b"content");
    for direct in [Direct::Prefer, Direct::Never] {
        let file = File::options().read(true).direct(direct).open_blocking(&path)?;
        let error = file.write_at(b"x", 0).expect_err("read only");
        assert_eq!(Errno::from_io_error(&error), Some(Errno::EBADF));
        assert!(error.to_string().contains("the file is open for reading alone"), "{error}");
        let error = file.set_len(1).expect_err("read only");
        assert!(error.to_string().starts_with("ftruncate to 1 bytes: EINVAL"), "{error}");
        assert!(error.to_string().contains("the file is not open for writing"), "{error}");
    }
    Ok(())
}

/// Goal: the end of a file before a buffer is full is an error that says how much was read.
#[test]
fn an_unexpected_end_keeps_what_was_read() -> io::Result<()> {
    let content = pattern(10_001);
    let (_dir, path, _) = file_with(&content);
    let driver = Driver::on_thread(2)?;
    for direct in [Direct::Prefer, Direct::Never] {
        block_on(async {
            let options = File::options().read(true).direct(direct);
            let file = options.open(&driver, &path).await?;
            let (result, buf) = file.read_exact_at(vec![0; 8192], 5001).await;
            let error = result.expect_err("the file has 5000 more");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            let end = error.get_ref().and_then(|error| error.downcast_ref::<UnexpectedEnd>());
            let end = end.expect("what was read");
            assert_eq!((end.read(), &buf[..5000]), (5000, &content[5001..]));
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

/// Goal: a buffered file is read whole, however little of it is in the page cache, and no read or
/// write of it goes to `io_submit`. Method: pages here and there are read into an emptied cache.
#[test]
fn a_file_that_is_cached_in_part_is_read_whole() -> io::Result<()> {
    let content = pattern(1 << 20);
    let (_dir, path, plain) = file_with(&content);
    let driver = Driver::on_thread(2)?;
    block_on(async {
        let file = File::from_std(plain, &driver)?;
        for round in 0..20u64 {
            file.sync_all().await?;
            let before = driver.stats().submitted;
            let len = NonZero::new(content.len() as u64);
            rustix::fs::fadvise(file.get_ref(), 0, len, rustix::fs::Advice::DontNeed)?;
            rustix::fs::fadvise(file.get_ref(), 0, len, rustix::fs::Advice::Random)?;
            for page in 0..16 {
                let at = (page * 7 + round) % 256 * 4096;
                let (result, _) = file.read_at([0; 100], at).await;
                assert_eq!(result?, 100);
            }
            let (result, buf) = file.read_at(vec![0; content.len() - 1], 1).await;
            assert_eq!(result?, content.len() - 1);
            assert!(buf[..] == content[1..]);
            let (result, bufs) = file.readv_at([vec![0; 70_001], vec![0; 70_001]], round).await;
            assert_eq!(result?, 140_002);
            assert!(bufs.concat() == content[round as usize..][..140_002]);
            file.write_all_at(content[..5000].to_vec(), 0).await.0?;
            assert_eq!(driver.stats().submitted, before, "of {}", path.display());
        }
        Ok(())
    })
}

/// Goal: a file says whether it is direct, and why not; it is direct if that is required, or not
/// opened.
#[test]
fn a_file_says_whether_it_is_direct() -> io::Result<()> {
    let driver = Driver::on_thread(2)?;
    block_on(async {
        let dir = scratch();
        let path = dir.path().join("file");
        let options = File::options().read(true).write(true).create(true);
        let never = options.clone().direct(Direct::Never).open(&driver, &path).await?;
        assert_eq!(never.direct(), DirectState::NotAskedFor);
        let required = options.clone().direct(Direct::Require).open(&driver, &path).await;
        let preferred = options.clone().open(&driver, &path).await?;
        if open_direct(&path).is_some() {
            assert!(required?.is_direct() && preferred.is_direct());
            let direct = open_direct(&path).expect("it has O_DIRECT");
            assert!(File::from_std(direct, &driver)?.is_direct());
        } else {
            assert_eq!(required.expect_err("no O_DIRECT").kind(), io::ErrorKind::Unsupported);
            assert!(!preferred.is_direct());
        }
        // An open that fails names the path, and what went wrong.
        let error = File::open(&driver, dir.path().join("none")).await.expect_err("no such file");
        assert_eq!(Errno::from_io_error(&error), Some(Errno::ENOENT));
        assert!(error.to_string().contains("none"), "{error}");
        if let Ok(dir) = tempfile::tempdir_in("/dev/shm") {
            let path = dir.path().join("file");
            let in_memory = options.clone().open(&driver, &path).await?;
            assert!(!in_memory.is_direct(), "{}", in_memory.direct());
            let new = File::options().write(true).create_new(true).direct(Direct::Require);
            let error = new.open(&driver, dir.path().join("new")).await.expect_err("no disk");
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        }
        Ok(())
    })
}

/// Goal: what is written with a flag for one operation is one operation, or refused as it is.
#[test]
fn flags_of_one_operation_are_not_split() -> io::Result<()> {
    let (_dir, path, _) = file_with(&pattern(8192));
    let Some(direct) = open_direct(&path) else {
        say_skipped("no O_DIRECT here");
        return Ok(());
    };
    let driver = Driver::on_thread(2)?;
    let file = File::from_std(direct, &driver)?.with_rw_flags(RwFlags::ATOMIC);
    let (result, _) = block_on(file.write_at(vec![1; 5000], 3));
    // Which of the two depends on the kernel and the file system.
    assert!(matches!(errno(result), Some(Errno::EINVAL | Errno::EOPNOTSUPP)));
    assert!(std::fs::read(&path)? == pattern(8192));
    Ok(())
}

/// Goal: without a second descriptor, whole blocks are read, changed and written, and nothing is
/// written behind the end. Method: `/proc` is hidden from the thread, and those that it starts.
#[test]
fn blocks_are_changed_where_there_is_no_second_descriptor() {
    if !is_root() {
        return say_skipped("only root can mount");
    }
    let _watchdog = Watchdog::new();
    let content = pattern(65536);
    let (_dir, path, _) = file_with(&content);
    if open_direct(&path).is_none() {
        return say_skipped("no O_DIRECT here");
    }
    let hidden = move || -> Result<(), String> {
        Mount::unshare()?;
        let _mount = Mount::tmpfs("/proc".as_ref(), "size=4k")?;
        let driver = Driver::on_thread(4).expect("a driver");
        block_on(async {
            let options = File::options().read(true).write(true).direct(Direct::Require);
            let file = options.open(&driver, &path).await.expect("a file");
            let DirectState::Direct { without_second, .. } = file.direct() else {
                panic!("it is required")
            };
            assert_eq!(without_second, Some(Errno::ENOENT));
            let mut model = content;
            for (at, len) in [(0, 1), (100, 5000), (4095, 2), (513, 40_000), (65_000, 536)] {
                model[at..][..len].fill(at as u8 | 1);
                let bytes = model[at..][..len].to_vec();
                file.write_all_at(bytes, at as u64).await.0.expect("a write");
            }
            let (result, buf) = file.read_at(vec![0; 65536], 1).await;
            assert_eq!(result.expect("a read"), 65535);
            assert!(buf[..65535] == model[1..]);
            for (at, len) in [(65_536, 100), (65_535, 2), (70_000, 1)] {
                let (result, _) = file.write_all_at(vec![1; len], at).await;
                assert_eq!(errno(result), Some(Errno::EINVAL));
            }
            assert_eq!(file.metadata().expect("metadata").len(), 65536);
        });
        // A descriptor that the program may have clones of is not switched to O_DIRECT.
        let plain = || std::fs::File::open(&path).expect("a file");
        let file = File::from_std_with(plain(), &driver, Direct::Prefer).expect("a file");
        assert_eq!(file.direct(), DirectState::Refused(Errno::ENOENT));
        assert!(File::from_std_with(plain(), &driver, Direct::Require).is_err());
        Ok(())
    };
    // The mount belongs to the thread.
    if let Err(why) = thread::spawn(hidden).join().expect("no panic") {
        say_skipped(&why);
    }
}

/// Goal: a read of a direct file is whole, however short the counts of its file system are, also
/// within a block. Method: a FUSE server that gives half of each read; aligned memory and not.
#[test]
fn short_counts_in_the_middle_of_a_direct_file_are_no_end() {
    let _watchdog = Watchdog::new();
    for make in [HeldFile::short, HeldFile::short_within_blocks] {
        let held = match make() {
            Ok(held) => held,
            Err(reason) => return say_skipped(&reason),
        };
        let content = short_content();
        let driver = Driver::on_thread(4).expect("a driver");
        let file = held.file().try_clone().expect("a descriptor");
        // SAFETY: Numbers of an open file.
        let set = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_DIRECT) };
        assert_eq!(set, 0, "F_SETFL: {}", io::Error::last_os_error());
        let file = File::from_std(file, &driver).expect("a file");
        assert!(file.is_direct(), "{}", file.direct());
        for (at, len) in [(0, content.len()), (513, 100_000), (4096, 4096), (content.len() - 5, 5)]
        {
            let aligned = AlignedBuf::new(len).expect("memory");
            let (result, buf) = block_on(file.read_at(aligned, at as u64));
            assert_eq!(result.expect("a read"), len, "at {at}");
            assert!(buf[..] == content[at..][..len]);
            let (result, buf) = block_on(file.read_at(vec![0; len], at as u64));
            assert_eq!(result.expect("a read"), len, "at {at}");
            assert!(buf == content[at..][..len]);
        }
        let (result, _) = block_on(file.read_at(vec![0; 100], content.len() as u64));
        assert_eq!(result.expect("the end"), 0);
    }
}

/// Goal: a future that is dropped at any await leaves the file and the driver usable, and a buffer
/// that is in use alive. Method: each future is polled some times and dropped.
#[test]
fn dropped_futures_leave_nothing_behind() -> io::Result<()> {
    let _watchdog = Watchdog::new();
    let dir = scratch();
    let driver = Driver::on_thread(4)?;
    for direct in [Direct::Prefer, Direct::Never] {
        block_on(async {
            let path = dir.path().join(format!("{direct:?}"));
            let options = File::options().read(true).write(true).create(true).direct(direct);
            for polls in 0..8 {
                let opening = options.open(&driver, &path);
                poll_and_drop(opening, polls);
                let file = options.open(&driver, &path).await?;
                poll_and_drop(file.write_all_at(vec![1; 100_000], 5), polls);
                poll_and_drop(file.read_at(vec![1; 100_000], 7), polls);
                poll_and_drop(file.read_exact_at(vec![1; 4096], 0), polls);
                poll_and_drop(file.writev_all_at(vec![vec![1; 50_000]; 2], 3), polls);
                let spares = [(); 2].map(|()| Spare::new(Vec::with_capacity(50_000)));
                poll_and_drop(file.readv_exact_at(spares, 7), polls);
                poll_and_drop(file.sync_all(), polls);
                poll_and_drop(file.sync_data(), polls);
                poll_and_drop(file.sync_range(0, 4096, SyncRange::Wait), polls);
                poll_and_drop(file.allocate(0, 200_000), polls);
                poll_and_drop(file.punch_hole(4096, 4096), polls);
                poll_and_drop(file.set_len(10), polls);
                poll_and_drop(file.clone().close(), polls);
                // The calls of each thread are in order, so this comes after all of them.
                file.set_len(100).await?;
                file.write_all_at(vec![2; 100], 0).await.0?;
                let (result, buf) = file.read_exact_at(vec![0; 100], 0).await;
                result?;
                assert_eq!(buf, vec![2; 100]);
            }
            io::Result::Ok(())
        })?;
    }
    block_on(driver.close());
    Ok(())
}

/// Goal: a file system that is frozen holds no task but those that write to it. Method: on one
/// thread a write, a length and an open that creates are begun, and reads are done beside them.
#[test]
fn a_frozen_file_system_holds_no_other_task() {
    let _watchdog = Watchdog::new();
    on_new_disk(EXT4, 64 << 20, |mount, at| {
        let driver = Driver::on_thread(4).expect("a driver");
        let options = File::options().read(true).write(true).create(true).direct(Direct::Never);
        let open = options.open(&driver, at.join("file"));
        let file = block_on(open).expect("a file");
        block_on(file.write_all_at(pattern(8192), 0)).0.expect("a write");
        let executor = smol::LocalExecutor::new();
        let frozen = mount.freeze().expect("fsfreeze");
        let write = executor.spawn(file.write_all_at(vec![7; 100], 8192));
        let length = executor.spawn(file.set_len(9000));
        let creates = executor.spawn(options.open(&driver, at.join("other")));
        smol::block_on(executor.run(async {
            for round in 0..100 {
                let (result, buf) = file.read_exact_at(vec![0; 100], round * 7).await;
                result.expect("a read");
                assert!(buf == pattern(8192)[round as usize * 7..][..100]);
                smol::future::yield_now().await;
            }
            assert!(!write.is_finished() && !length.is_finished() && !creates.is_finished());
            drop(frozen);
            write.await.0.expect("a write");
            length.await.expect("a length");
            creates.await.expect("a file");
        }));
        assert_eq!(file.metadata().expect("metadata").len(), 9000);
    });
}

fn poll_and_drop<F: Future>(future: F, polls: u32) {
    let mut future = core::pin::pin!(future);
    for _ in 0..polls {
        thread::yield_now();
        if future.as_mut().poll(&mut Context::from_waker(core::task::Waker::noop())).is_ready() {
            return;
        }
    }
}

/// Goal: a driver that is closed, and nobody's handle, end the file's calls; the descriptor closes.
#[test]
fn a_closed_driver_takes_no_calls() -> io::Result<()> {
    let (_dir, path, plain) = file_with(&[7; 100]);
    let driver = Driver::on_thread(4)?;
    let file = File::from_std(plain, &driver)?;
    let number = file.get_ref().as_raw_fd();
    block_on(async {
        // Which of the two ways of closing does not matter.
        let _ = driver.clone().close_within(core::time::Duration::ZERO).await;
        let (result, buf) = file.read_at(vec![1; 8], 0).await;
        assert_eq!((errno(result), buf), (Some(Errno::ECANCELED), vec![1; 8]));
        assert_eq!(errno(file.write_at(vec![1; 8], 0).await.0), Some(Errno::ECANCELED));
        assert_eq!(errno(file.set_len(1).await), Some(Errno::ECANCELED));
        let error = File::open(&driver, &path).await.expect_err("it is closed");
        assert!(error.to_string().ends_with("the driver is closed"), "{error}");
        assert_eq!(errno::<()>(Err(error)), Some(Errno::ECANCELED));
        file.close().await
    })?;
    // Another thread of the tests may have taken the number meanwhile, for another file.
    let link = std::fs::read_link(format!("/proc/self/fd/{number}"));
    assert!(link.map_or(true, |link| link != path));
    Ok(())
}

/// Goal: a read may ask for more than a file of xfs has. Method: a write through the page cache has
/// blocks reserved behind the end, and a direct write takes a part of them. The kernel gives `EIO`
/// for a direct read that comes to the rest.
#[test]
fn a_read_may_pass_the_end_where_blocks_are_reserved() {
    let _watchdog = Watchdog::new();
    on_new_disk(("xfs", &["-q", "-f"]), 512 << 20, |_mount, at| {
        let driver = Driver::on_thread(4).expect("a driver");
        let options = File::options().read(true).write(true).create(true);
        block_on(async {
            let file = options.open(&driver, at.join("file")).await.expect("a file");
            file.write_all_at(vec![1; 1 << 20], 0).await.0.expect("a write");
            file.write_all_at(vec![2; 4000], 1 << 20).await.0.expect("through the page cache");
            file.write_all_at(vec![3; 4096], (1 << 20) + 4096).await.0.expect("around it");
            for len in [8192, 8193, 100_000, 500_000] {
                // Once straight to the memory, and once by a copy.
                for skip in [0, 7] {
                    let (result, buf) = file.read_at(vec![0; len], (1 << 20) + skip).await;
                    let count = 8192.min(len + skip as usize) - skip as usize;
                    assert_eq!(result.expect("a read"), count);
                    assert!(buf[4096..count].iter().all(|byte| *byte == 3));
                    let aligned = linux_aio::AlignedBuf::new(len).expect("memory");
                    let (result, _) = file.read_at(aligned, (1 << 20) + skip).await;
                    assert_eq!(result.expect("a read"), count);
                }
            }
        });
    });
}
