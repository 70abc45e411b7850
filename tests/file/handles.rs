//! Handles of a file: their flags and priorities reach the kernel, their errors say what failed,
//! and a read of nothing is no end of the file.

use crate::common;

use common::files::{file_with, open_direct, pattern, pipe};
use common::say_skipped;
use linux_aio::op::Read;
use linux_aio::{Direct, DirectState, Driver, Errno, File, IoPrio, Queue, RwFlags, UnexpectedEnd};
use pollster::block_on;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;

/// A flag that no kernel has.
const UNKNOWN: RwFlags = RwFlags::from_bits_retain(1 << 30);

fn errno<T>(result: io::Result<T>) -> Option<Errno> {
    result.err().and_then(|error| Errno::from_io_error(&error))
}

/// Goal: a buffer without a length is refused, and comes back, instead of a count of 0 that looks
/// like the end of the file. Of several buffers, one with a length is enough. An operation of the
/// user's own may read no bytes all the same: the kernel allows it.
#[test]
fn a_read_of_no_bytes_is_no_end_of_the_file() -> io::Result<()> {
    block_on(async {
        let (_dir, _, plain) = file_with(b"content");
        let driver = Driver::on_thread(4)?;
        let file = File::from_std(plain.try_clone()?, &driver)?;
        let (result, buf) = file.read_at(Vec::with_capacity(100), 0).await;
        let error = result.expect_err("there is nothing to fill");
        assert_eq!((error.kind(), buf.capacity()), (io::ErrorKind::InvalidInput, 100));
        assert!(error.to_string().contains("vec![0; n]"), "{error}");
        let (result, _) = file.readv_at([Vec::with_capacity(100), Vec::new()], 0).await;
        assert_eq!(result.expect_err("nothing to fill").kind(), io::ErrorKind::InvalidInput);
        let (result, _) = file.readv_at(Vec::<Vec<u8>>::new(), 0).await;
        assert_eq!(result.expect_err("nothing to fill").kind(), io::ErrorKind::InvalidInput);
        assert_eq!(driver.stats().submitted, 0);

        let (result, bufs) = file.readv_at([Vec::new(), vec![0; 7]], 0).await;
        assert_eq!((result?, &bufs[1][..]), (7, &b"content"[..]));
        let (result, _) = file.read_at(vec![0; 7], 7).await;
        assert_eq!(result?, 0);
        let (result, _) = file.write_at(Vec::new(), 0).await;
        assert_eq!(result?, 0);

        let mut queue: Queue<Read<_, _>> = common::queue(1);
        queue.push(Read::new(plain, Vec::with_capacity(100), 0)).expect("a slot");
        assert_eq!(queue.wait()?.expect("a completion").result, Ok(0));
        driver.close().await;
        Ok(())
    })
}

/// Goal: the flags of a handle go with each of its reads and writes, and with those of no other
/// handle. Method: a flag that the kernel refuses.
#[test]
fn a_handle_has_flags_of_its_own() -> io::Result<()> {
    block_on(async {
        let driver = Driver::on_thread(4)?;
        let (_dir, _, plain) = file_with(&[7; 8]);
        let file = File::from_std(plain, &driver)?;
        {
            let refused = file.clone().with_rw_flags(UNKNOWN);
            assert_eq!(errno(refused.read_at([0; 8], 0).await.0), Some(Errno::EOPNOTSUPP));
            assert_eq!(errno(refused.readv_at([[0; 4]; 2], 0).await.0), Some(Errno::EOPNOTSUPP));
            assert_eq!(errno(refused.write_at([1; 8], 0).await.0), Some(Errno::EOPNOTSUPP));
            let (result, _) = refused.writev_at([[1; 4]; 2], 0).await;
            let error = result.expect_err("the kernel does not know the flag");
            let text = "PWRITEV of 2 buffers at offset 0 of descriptor ";
            assert!(error.to_string().starts_with(text), "{error}");
            assert!(error.to_string().contains("a bit that no flag has"), "{error}");
            // What is synchronized has no flags.
            refused.sync_all().await?;
            refused.sync_data().await?;

            let (result, buf) = file.read_at([0; 8], 0).await;
            assert_eq!((result?, buf), (8, [7; 8]));
            let durable = file.clone().with_rw_flags(RwFlags::DSYNC);
            assert_eq!(durable.write_at([7; 8], 0).await.0?, 8);
        }
        driver.close().await;
        Ok(())
    })
}

/// Goal: a file that is open for appending ignores the offset of a write, unless the handle says
/// NOAPPEND; a handle with APPEND appends to any file.
#[test]
fn appending_is_up_to_the_file_and_to_the_flags() -> io::Result<()> {
    block_on(async {
        let driver = Driver::on_thread(4)?;
        let (_dir, path, _) = file_with(b"aaaa");
        let appending = OpenOptions::new().append(true).open(&path)?;
        let file = File::from_std(appending, &driver)?;
        assert_eq!(file.write_at("b", 0).await.0?, 1);
        assert_eq!(std::fs::read(&path)?, b"aaaab");
        let (result, _) = file.with_rw_flags(RwFlags::NOAPPEND).write_at("c", 0).await;
        let first = match result {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::EOPNOTSUPP) => {
                say_skipped("this kernel has no NOAPPEND");
                b'a'
            }
            result => {
                assert_eq!(result?, 1);
                b'c'
            }
        };
        assert_eq!(std::fs::read(&path)?, [&[first], &b"aaab"[..]].concat());
        let positioned = File::from_std(OpenOptions::new().write(true).open(&path)?, &driver)?;
        assert_eq!(positioned.with_rw_flags(RwFlags::APPEND).write_at("d", 0).await.0?, 1);
        assert_eq!(std::fs::read(&path)?, [&[first], &b"aaabd"[..]].concat());
        driver.close().await;
        Ok(())
    })
}

/// Goal: who asks for NOWAIT gets EAGAIN, and no thread that waits. Method: an empty pipe.
#[test]
fn a_handle_with_nowait_waits_on_no_thread() -> io::Result<()> {
    block_on(async {
        let driver = Driver::on_thread(4)?;
        let pipe = pipe(libc::O_NONBLOCK);
        let number = pipe.reader.as_raw_fd();
        let file = File::from_std(pipe.reader, &driver)?;
        let (result, buf) = file.with_rw_flags(RwFlags::NOWAIT).read_at([1; 8], 0).await;
        let error = result.expect_err("the pipe is empty");
        assert_eq!((error.kind(), buf), (io::ErrorKind::WouldBlock, [1; 8]));
        let text =
            format!("PREAD of 8 bytes at offset 0 of descriptor {number} with RwFlags(NOWAIT)");
        assert!(error.to_string().starts_with(&text), "{error}");
        driver.close().await;
        Ok(())
    })
}

/// Goal: the priority of a handle goes with its reads and writes. Method: one that the kernel
/// refuses, a level without a class.
#[test]
fn a_handle_has_a_priority_of_its_own() -> io::Result<()> {
    block_on(async {
        let driver = Driver::on_thread(4)?;
        let file = File::from_std(std::fs::File::open("/dev/zero")?, &driver)?;
        let refused = file.clone().with_ioprio(IoPrio::from_raw(4));
        let error = refused.read_at([1; 8], 0).await.0.expect_err("it has no class");
        assert!(error.to_string().ends_with("a level, but no class"), "{error}");
        for file in [file.clone().with_ioprio(IoPrio::idle()), file] {
            assert_eq!(file.read_at([1; 8], 0).await.0?, 8);
        }
        driver.close().await;
        Ok(())
    })
}

/// Goal: a list of buffers is filled whole, or the error has the count; it is written whole.
#[test]
fn lists_of_buffers_are_moved_whole() -> io::Result<()> {
    block_on(async {
        let driver = Driver::on_thread(4)?;
        for direct in [Direct::Prefer, Direct::Never] {
            let (_dir, path, _) = file_with(b"");
            let options = File::options().read(true).write(true).direct(direct);
            let file = options.open(&driver, &path).await?;
            let content = pattern(3 * 8192 + 5);
            let bufs: Vec<_> = content.chunks(8192).map(Vec::from).collect();
            let (result, bufs) = file.writev_all_at(bufs, 100).await;
            result?;
            assert_eq!(std::fs::read(&path)?[100..], bufs.concat());
            let memory = bufs.iter().map(|buf| vec![0; buf.len()]).collect::<Vec<_>>();
            let (result, memory) = file.readv_exact_at(memory, 100).await;
            result?;
            assert_eq!(memory.concat(), content);
            let (result, memory) = file.readv_exact_at(memory, 107).await;
            let error = result.expect_err("the file ends before");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            let end = error.get_ref().and_then(|error| error.downcast_ref::<UnexpectedEnd>());
            assert_eq!(end.map(UnexpectedEnd::read), Some(content.len() - 7));
            assert_eq!(memory.concat()[..content.len() - 7], content[7..]);
            let (result, _) = file.readv_exact_at([Vec::<u8>::new(), Vec::new()], 0).await;
            assert_eq!(result.expect_err("nothing to fill").kind(), io::ErrorKind::InvalidInput);
        }
        Ok(())
    })
}

/// Goal: a file of the standard library becomes direct, or not, as it is asked for, and says so;
/// the descriptor that the program has keeps its flags.
#[test]
fn a_file_of_std_is_as_direct_as_asked_for() -> io::Result<()> {
    let driver = Driver::on_thread(4)?;
    let (_dir, path, _) = file_with(&pattern(10_000));
    let has_direct = open_direct(&path).is_some();
    let plain = OpenOptions::new().read(true).write(true).open(&path)?;
    for direct in [Direct::Prefer, Direct::Require, Direct::Never] {
        let flags = || rustix::fs::fcntl_getfl(&plain);
        let before = flags()?;
        let file = File::from_std_with(plain.try_clone()?, &driver, direct);
        let file = match file {
            Ok(file) => file,
            Err(error) => {
                assert!(direct == Direct::Require && !has_direct, "{error}");
                assert_eq!(error.kind(), io::ErrorKind::Unsupported);
                continue;
            }
        };
        assert_eq!(file.is_direct(), has_direct && direct != Direct::Never, "{}", file.direct());
        assert_eq!(flags()?, before);
        block_on(async {
            file.write_all_at([7; 9], 4090).await.0?;
            let (result, buf) = file.read_exact_at(vec![0; 9], 4090).await;
            assert_eq!(buf, [7; 9]);
            result
        })?;
    }
    let Some(direct) = open_direct(&path) else { return Ok(()) };
    let clone = direct.try_clone()?;
    let file = File::from_std_with(direct, &driver, Direct::Never)?;
    assert_eq!(file.direct(), DirectState::NotAskedFor);
    assert!(File::from_std_with(clone, &driver, Direct::Require)?.is_direct());
    // What has no disk says so, and is not direct.
    let zero = std::fs::File::open("/dev/zero")?;
    let error = File::from_std_with(zero, &driver, Direct::Require).expect_err("no disk");
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    Ok(())
}
