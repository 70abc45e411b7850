//! Files whose requests block.

use crate::common;

use common::files::{file_with, open_direct, pattern, scratch};
use common::filter::{errno, filters_work, install};
use common::{Watchdog, say_skipped};
use fastrand::Rng;
use linux_aio::abi::syscall::NATIVE;
use linux_aio::blocking::File;
use linux_aio::{Direct, Errno, RwFlags, SyncRange, UnexpectedEnd};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::AsFd;
use std::thread;

const LARGEST: usize = 1 << 20;

fn some_range(rng: &mut Rng) -> core::ops::Range<usize> {
    let start = match rng.u8(..3) {
        0 => rng.usize(..LARGEST - 1),
        1 => 512 * rng.usize(..LARGEST / 512),
        _ => 4096 * rng.usize(..LARGEST / 4096),
    };
    let len = match rng.u8(..3) {
        0 => rng.usize(1..5000),
        1 => 4096 * rng.usize(1..20),
        _ => rng.usize(1..1 << 18),
    };
    start..(start + len).min(LARGEST)
}

/// Goal: what is written at any offset, from borrowed memory at any address, is read again, by
/// every function. Method: random requests against a `Vec<u8>`.
#[test]
fn a_file_is_what_was_written() -> io::Result<()> {
    let _watchdog = Watchdog::new();
    let mut rng = Rng::new();
    common::say_count(&format!("seed {}", rng.get_seed()));
    for direct in [Direct::Prefer, Direct::Never] {
        let dir = scratch();
        let path = dir.path().join("file");
        let options = File::options().read(true).write(true).create(true).direct(direct);
        let file = options.open_blocking(&path)?;
        let (mut model, mut memory) = (Vec::new(), pattern(LARGEST + 8192));
        for _ in 0..300 {
            let range = some_range(&mut rng);
            let (at, skip) = (range.start as u64, rng.usize(..8192));
            let bytes = &mut memory[skip..][..range.len()];
            let middle = rng.usize(..=bytes.len());
            match rng.u8(..8) {
                0 => {
                    file.set_len(at)?;
                    model.resize(range.start, 0);
                }
                1..4 => {
                    bytes.fill(rng.u8(..));
                    if rng.bool() {
                        file.write_all_at(bytes, at)?;
                    } else {
                        let (one, other) = bytes.split_at(middle);
                        let bufs = [IoSlice::new(one), IoSlice::new(other)];
                        if rng.bool() {
                            file.writev_all_at(&bufs, at)?;
                        } else {
                            assert_eq!(file.writev_at(&bufs, at)?, bytes.len());
                        }
                    }
                    model.resize(model.len().max(range.end), 0);
                    model[range].copy_from_slice(bytes);
                }
                _ => {
                    let there = model.get(range.start..).unwrap_or_default();
                    let there = &there[..there.len().min(range.len())];
                    let count = if rng.bool() {
                        file.read_at(bytes, at)?
                    } else {
                        let (one, other) = bytes.split_at_mut(middle);
                        let mut bufs = [IoSliceMut::new(one), IoSliceMut::new(other)];
                        let exact = file.readv_exact_at(&mut bufs, at);
                        assert_eq!(exact.is_ok(), there.len() == range.len(), "{exact:?}");
                        file.readv_at(&mut bufs, at)?
                    };
                    assert_eq!(count, there.len());
                    assert!(bytes[..count] == *there);
                }
            }
        }
        file.sync_all()?;
        file.sync_data()?;
        file.close()?;
        assert!(std::fs::read(path)? == model);
    }
    Ok(())
}

/// Goal: threads share a file, and writes on the two sides of the page cache wait for one another
/// without harm. Method: each thread writes and reads a part of its own, with an odd border.
#[test]
fn threads_share_a_file() -> io::Result<()> {
    let _watchdog = Watchdog::new();
    const PART: usize = 70_001;
    let dir = scratch();
    let options = File::options().read(true).write(true).create(true);
    let file = options.open_blocking(dir.path().join("file"))?;
    thread::scope(|scope| {
        for part in 0..4_u8 {
            let file = file.clone();
            scope.spawn(move || {
                let at = PART as u64 * u64::from(part);
                for round in 0..50_u8 {
                    let wrote = vec![round ^ part.reverse_bits(); PART];
                    file.write_all_at(&wrote, at).expect("a write");
                    let mut read = vec![0; PART];
                    file.read_exact_at(&mut read, at).expect("a read");
                    assert!(read == wrote);
                }
            });
        }
    });
    file.sync_data()
}

/// Goal: what cannot be is an error that names the range, or says how much was read.
#[test]
fn errors_say_what_failed() -> io::Result<()> {
    let content = pattern(10_001);
    let (_dir, path, _) = file_with(&content);
    for direct in [Direct::Prefer, Direct::Never] {
        let file = File::options().read(true).write(true).direct(direct).open_blocking(&path)?;
        let mut buf = [0; 8192];
        let error = file.read_exact_at(&mut buf, 5001).expect_err("the file has 5000 more");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let end = error.get_ref().and_then(|error| error.downcast_ref::<UnexpectedEnd>());
        assert_eq!(end.expect("what was read").read(), 5000);
        assert_eq!(buf[..5000], content[5001..]);
        let largest = i64::MAX as u64 - 6;
        for offset in [u64::MAX, u64::MAX - 3, largest] {
            let text = offset.to_string();
            let error = file.read_at(&mut [0; 7], offset).expect_err("no file is so long");
            assert!(error.to_string().contains(&text), "{error}");
            let error = file.write_all_at(&[0; 7], offset).expect_err("no file is so long");
            assert!(error.to_string().contains(&text), "{error}");
            let error = file.sync_range(offset, 7, SyncRange::Wait).expect_err("nor this");
            assert!(error.to_string().contains(&text), "{error}");
        }
        assert_eq!(file.metadata()?.len(), 10_001);
        let kind = file.read_at(&mut [], 0).expect_err("nothing to fill").kind();
        assert_eq!(kind, io::ErrorKind::InvalidInput);
        let unknown = file.clone().with_rw_flags(RwFlags::from_bits_retain(1 << 30));
        let error = unknown.write_at(&[1; 4096], 0).expect_err("the kernel does not know the flag");
        assert_eq!(Errno::from_io_error(&error), Some(Errno::EOPNOTSUPP));
        assert!(error.to_string().starts_with("PWRITE of 4096 bytes at offset 0 "), "{error}");
    }
    let error = File::open("/nowhere/none").expect_err("no such file");
    assert!(error.to_string().contains("/nowhere/none"), "{error}");
    Ok(())
}

/// Goal: a file works where AIO is refused. Method: a filter on the thread refuses `io_setup`.
#[test]
fn a_file_needs_no_context() {
    let _watchdog = Watchdog::new();
    let (_dir, path, _) = file_with(&pattern(65_536));
    if !filters_work() {
        return say_skipped("this kernel takes no filters");
    }
    let filtered = move || -> io::Result<()> {
        install(&[NATIVE.io_setup], errno(libc::EPERM));
        assert!(linux_aio::LocalDriver::new(1).is_err());
        let file = File::options().read(true).write(true).open_blocking(&path)?;
        file.write_all_at(&[7; 10_000], 1_001)?;
        let mut buf = vec![0; 65_536];
        file.read_exact_at(&mut buf, 0)?;
        let mut expected = pattern(65_536);
        expected[1_001..][..10_000].fill(7);
        assert!(buf == expected);
        assert_eq!(file.is_direct(), open_direct(&path).is_some());
        file.sync_all()
    };
    thread::spawn(filtered).join().expect("no panic").expect("no error");
}

/// Goal: the page cache's part of a range is written, with and without waiting; a length of 0 means
/// all; a pipe has no such pages.
#[test]
fn a_range_is_written_to_the_disk() -> io::Result<()> {
    let dir = scratch();
    for direct in [Direct::Prefer, Direct::Never] {
        let options = File::options().read(true).write(true).create(true).direct(direct);
        let file = options.open_blocking(dir.path().join("file"))?;
        file.write_all_at(&pattern(1 << 20), 5)?;
        file.sync_range(0, 4096, SyncRange::Start)?;
        file.sync_range(4096, 1 << 19, SyncRange::Wait)?;
        file.sync_range(0, 0, SyncRange::Wait)?;
        // The rest has been written, and is found clean.
        file.sync_range(1 << 40, 0, SyncRange::Start)?;
    }
    let (_reader, writer) = io::pipe()?;
    rustix::io::ioctl_fionbio(&writer, true)?;
    let pipe = File::from_std(std::fs::File::from(writer.as_fd().try_clone_to_owned()?))?;
    let error = pipe.sync_range(3, 4, SyncRange::Wait).expect_err("a pipe has no pages");
    assert_eq!(Errno::from_io_error(&error), Some(Errno::ESPIPE));
    assert!(error.to_string().starts_with("sync_file_range of 4 bytes at offset 3"), "{error}");
    Ok(())
}
