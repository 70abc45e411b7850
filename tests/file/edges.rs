//! Requests at the edges: large ones, devices without bytes, disks that fill up, memory that is
//! smaller than a block.

use crate::common;
use crate::drivers::{AnyDriver, on_each_driver};

use common::device::{LoopDevice, Mount};
use common::files::scratch;
use common::{Watchdog, is_root, say_skipped};
use linux_aio::{AlignedBuf, BufferPool, Direct, Errno, File, blocking};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

on_each_driver![
    more_than_2_gib_is_moved_whole,
    a_device_of_0_bytes_ends_at_once,
    a_full_disk_is_an_error_at_its_offset,
    memory_may_be_smaller_than_a_block,
];

fn errno<T>(result: io::Result<T>) -> (Errno, String) {
    let error = result.map(drop).expect_err("an error");
    (Errno::from_io_error(&error).unwrap_or(Errno::EIO), error.to_string())
}

/// Goal: a request of more bytes than the kernel moves at once is moved whole, aligned or not.
/// Method: 2.5 GiB of a file, if `LINUX_AIO_LARGE` is set.
fn more_than_2_gib_is_moved_whole<D: AnyDriver>() -> io::Result<()> {
    const LEN: usize = 5 << 29;
    if std::env::var_os("LINUX_AIO_LARGE").is_none() {
        say_skipped("it takes 3 GiB of memory and of disk: set LINUX_AIO_LARGE");
        return Ok(());
    }
    let dir = scratch();
    let path = dir.path().join("large");
    let marks = [0, 1 << 30, (1 << 31) - 1, 1 << 31, LEN - 1];
    let driver = D::with_capacity(2)?;
    for (direct, at) in [(Direct::Prefer, 0), (Direct::Prefer, 7), (Direct::Never, 7)] {
        let options = File::options().read(true).write(true).create(true).direct(direct);
        let mut buf = AlignedBuf::new(LEN)?;
        for mark in marks {
            buf[mark] = mark as u8 | 1;
        }
        driver.block_on(async {
            let file = options.open(&driver, &path).await?;
            let (result, mut buf) = file.write_all_at(buf, at).await;
            result?;
            assert_eq!(file.metadata()?.len(), LEN as u64 + at);
            buf.fill(0);
            let (result, buf) = file.read_exact_at(buf, at).await;
            result?;
            assert!(marks.iter().all(|mark| buf[*mark] == *mark as u8 | 1));
            file.close().await
        })?;
        let file = options.open_blocking(&path)?;
        let mut buf = vec![0; LEN];
        file.read_exact_at(&mut buf, at)?;
        assert!(marks.iter().all(|mark| buf[*mark] == *mark as u8 | 1));
        file.write_all_at(&buf, 0)?;
    }
    Ok(())
}

/// Runs a part of a test with mounts of its own.
fn mounted(part: impl FnOnce(&Path) -> Result<(), String> + Send + 'static) {
    if !is_root() {
        return say_skipped("only root can mount");
    }
    let _watchdog = Watchdog::new();
    let part = || {
        let dir = scratch();
        Mount::unshare().and_then(|()| part(dir.path()))
    };
    if let Err(why) = thread::spawn(part).join().expect("no panic") {
        say_skipped(&why);
    }
}

fn image(directory: &Path, len: u64) -> PathBuf {
    let image = directory.join("image");
    std::fs::File::create_new(&image).expect("a file").set_len(len).expect("a length");
    image
}

/// Goal: of a device without bytes a read gives none, and a write is an error at its offset.
fn a_device_of_0_bytes_ends_at_once<D: AnyDriver>() {
    mounted(|dir| {
        let device = LoopDevice::over(&image(dir, 0))?;
        let driver = D::with_capacity(2).expect("a driver");
        for direct in [Direct::Prefer, Direct::Never] {
            let options = File::options().read(true).write(true).direct(direct);
            driver.block_on(async {
                let file = options.open(&driver, &device.path).await.expect("a device");
                assert_eq!(file.read_at(vec![1; 100], 0).await.0.expect("nothing"), 0);
                let error = file.read_exact_at(vec![1; 100], 512).await.0.expect_err("nothing");
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
                assert!(error.to_string().contains("at offset 512"), "{error}");
                for (at, len) in [(0, 4096), (4096, 512), (512, 100)] {
                    let (result, _) = file.write_all_at(vec![1; len], at).await;
                    let text = result.expect_err("there is no room").to_string();
                    assert!(text.contains(&format!("{len} bytes at offset {at}")), "{text}");
                }
            });
            let file = options.open_blocking(&device.path).expect("a device");
            assert_eq!(file.read_at(&mut [1; 100], 0).expect("nothing"), 0);
            file.write_all_at(&[1; 4096], 0).expect_err("there is no room");
        }
        Ok(())
    });
}

/// Goal: a disk that fills up in the middle of a write is an error that names where the write could
/// not go on, and what was written before is there.
fn a_full_disk_is_an_error_at_its_offset<D: AnyDriver>() {
    fn judge(result: io::Result<()>, len: u64, file: &std::fs::File) {
        let (errno, text) = errno(result);
        assert_eq!(errno, Errno::ENOSPC, "{text}");
        let offset = text.split("at offset ").nth(1).and_then(|rest| rest.split(' ').next());
        let offset: u64 = offset.and_then(|offset| offset.parse().ok()).expect(&text);
        assert!(offset >= 7 && offset < len, "{text}");
        assert!(file.metadata().expect("metadata").len() <= len);
    }
    mounted(|dir| {
        let at = dir.join("mount");
        std::fs::create_dir(&at).expect("a directory");
        let device = LoopDevice::over(&image(dir, 16 << 20))?;
        let _mount = Mount::ext4(&device.path, &at)?;
        let driver = D::with_capacity(2).expect("a driver");
        for direct in [Direct::Prefer, Direct::Never] {
            let options = File::options().read(true).write(true).create(true).direct(direct);
            let path = at.join("file");
            driver.block_on(async {
                let file = options.open(&driver, &path).await.expect("a file");
                let (result, buf) = file.write_all_at(vec![1; 32 << 20], 7).await;
                assert_eq!(buf.len(), 32 << 20);
                judge(result, (32 << 20) + 7, file.get_ref());
                let error = file.allocate(0, 32 << 20).await.expect_err("there is no room");
                assert_eq!(Errno::from_io_error(&error), Some(Errno::ENOSPC));
                file.set_len(0).await.expect("room again");
            });
            let file = options.open_blocking(&path).expect("a file");
            judge(file.write_all_at(&vec![1; 32 << 20], 7), (32 << 20) + 7, file.get_ref());
            std::fs::remove_file(&path).expect("removed");
        }
        Ok(())
    });
}

/// Goal: buffers of a pool may be smaller than a block of the device.
fn memory_may_be_smaller_than_a_block<D: AnyDriver>() {
    mounted(|dir| {
        let device = LoopDevice::with_sectors(&image(dir, 1 << 20), 4096)?;
        let driver = D::with_capacity(4).expect("a driver");
        let pool = BufferPool::new(4, 512, 512).expect("a pool");
        driver.block_on(async {
            let options = File::options().read(true).write(true);
            let file = options.open(&driver, &device.path).await.expect("a device");
            for at in [0, 512, 4096 - 256, 10_000] {
                let mut buf = pool.try_take().expect("a buffer");
                buf.fill(at as u8 | 1);
                file.write_all_at(buf, at).await.0.expect("a write");
                let buf = pool.try_take().expect("a buffer");
                let (result, buf) = file.read_exact_at(buf, at).await;
                result.expect("a read");
                assert!(buf.iter().all(|byte| *byte == at as u8 | 1));
            }
        });
        let file = blocking::File::open(&device.path).expect("a device");
        let mut buf = [0; 512];
        file.read_exact_at(&mut buf, 10_000).expect("a read");
        assert_eq!(buf, [10_000_u64 as u8 | 1; 512]);
        Ok(())
    });
}
