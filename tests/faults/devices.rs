//! Devices that fail: a loop device whose file was truncated, or whose file system is full, bare
//! and below ext4. Each operation completes with its own error, the others with their data; a
//! device that works again is used again.

use crate::common;

use common::device::{LoopDevice, Mount};
use common::files::{open_direct, pattern, scratch};
use common::{Watchdog, is_root, queue, skip};
use linux_aio::op::{Any, Fsync, Read, Write};
use linux_aio::{AlignedBuf, Errno};
use std::fs::{self, File, OpenOptions};
use std::sync::Arc;
use std::thread;

const BLOCK: usize = 64 << 10;

type Transfer = Any<Arc<File>, AlignedBuf>;

fn block_of(content: &[u8], at: usize) -> AlignedBuf {
    let mut buf = AlignedBuf::new(BLOCK).expect("memory");
    buf.copy_from_slice(&content[at * BLOCK..][..BLOCK]);
    buf
}

/// Runs an operation for each block, eight at a time, and says how each ended.
fn for_each_block(
    blocks: usize,
    op: impl Fn(usize) -> Transfer,
) -> Vec<(Result<u32, Errno>, Transfer)> {
    let mut queue = queue(8);
    let mut ended: Vec<_> = (0..blocks).map(|_| None).collect();
    let mut next = 0;
    loop {
        while next < blocks && queue.push((op(next), next)).is_ok() {
            next += 1;
        }
        let Some(done) = queue.wait().expect("a wait") else { break };
        let (op, at) = done.op;
        assert!(ended[at].replace((done.result, op)).is_none(), "{at} ended twice");
    }
    ended.into_iter().map(|ended| ended.expect("every operation ends")).collect()
}

fn read_all(file: &Arc<File>, blocks: usize) -> Vec<(Result<u32, Errno>, AlignedBuf)> {
    let read = |at| {
        let buf = AlignedBuf::new(BLOCK).expect("memory");
        Read::new(Arc::clone(file), buf, (at * BLOCK) as u64).into()
    };
    let ended = for_each_block(blocks, read).into_iter();
    ended
        .map(|(result, op)| match op {
            Any::Read(read) => (result, read.buf),
            other => panic!("a read came back as {other:?}"),
        })
        .collect()
}

fn write_all(file: &Arc<File>, content: &[u8]) -> Vec<Result<u32, Errno>> {
    let write =
        |at| Write::new(Arc::clone(file), block_of(content, at), (at * BLOCK) as u64).into();
    let ended = for_each_block(content.len() / BLOCK, write);
    ended.into_iter().map(|(result, _)| result).collect()
}

fn fsync(file: &Arc<File>) -> Result<u32, Errno> {
    let mut queue = queue(1);
    queue.push(Fsync::new(Arc::clone(file))).expect("a slot");
    queue.wait().expect("a wait").expect("a completion").result
}

/// How many blocks could not be read; the others are what was written.
fn unreadable(file: &Arc<File>, content: &[u8]) -> usize {
    let mut failed = 0;
    for (at, (result, buf)) in read_all(file, content.len() / BLOCK).into_iter().enumerate() {
        match result {
            Ok(count) => {
                assert_eq!(count as usize, BLOCK, "block {at}");
                assert!(*buf == content[at * BLOCK..][..BLOCK], "block {at} is another");
            }
            Err(errno) => {
                assert_eq!(errno, Errno::EIO, "block {at}");
                failed += 1;
            }
        }
    }
    failed
}

/// Goal: reads beyond the end of what is left of a device complete with `EIO`, each alone, and come
/// back when the device does. Method: truncate the file of a loop device, to a quarter; then
/// restore the file.
#[test]
fn reads_of_a_device_that_lost_its_end_complete_with_eio() {
    const BLOCKS: usize = 32;
    let _watchdog = Watchdog::new();
    let content = pattern(BLOCKS * BLOCK);
    let dir = scratch();
    let backing = dir.path().join("backing");
    fs::write(&backing, &content).expect("a file");
    let device = match LoopDevice::over(&backing) {
        Ok(device) => device,
        Err(reason) => skip!("{reason}"),
    };
    let file = Arc::new(open_direct(&device.path).expect("block devices have O_DIRECT"));
    assert_eq!(unreadable(&file, &content), 0);

    let left = content.len() as u64 / 4;
    OpenOptions::new().write(true).open(&backing).expect("it").set_len(left).expect("a truncation");
    let failed = unreadable(&file, &content);
    assert_eq!(failed, BLOCKS / 4 * 3);
    fs::write(&backing, &content).expect("a file");
    assert_eq!(unreadable(&file, &content), 0, "with its end again");
    common::say_count(&format!("{failed} of {BLOCKS} reads failed"));
}

/// Runs `body` on a thread in a mount namespace of its own, which goes with it.
fn in_mount_namespace(body: impl FnOnce() -> Result<(), String> + Send) {
    if !is_root() {
        skip!("mounting needs root");
    }
    let ended = thread::scope(|threads| {
        let name = thread::current().name().unwrap_or("a test").to_owned();
        let body = || Mount::unshare().and_then(|()| body());
        thread::Builder::new().name(name).spawn_scoped(threads, body).expect("a thread").join()
    });
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => skip!("{reason}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Goal: writes that a device has no room for complete with an error, each alone; what it took is
/// there; with room again the rest can be written. Method: a loop device whose sparse file lies on
/// a tmpfs that is smaller.
#[test]
fn writes_to_a_device_without_room_fail_and_what_fitted_is_there() {
    const BLOCKS: usize = 64;
    let _watchdog = Watchdog::new();
    in_mount_namespace(|| {
        let content = pattern(BLOCKS * BLOCK);
        let dir = scratch();
        let small = Mount::tmpfs(dir.path(), "size=1m")?;
        let backing = dir.path().join("backing");
        File::create(&backing).and_then(|file| file.set_len(content.len() as u64)).expect("a hole");
        let device = LoopDevice::over(&backing)?;
        let file = Arc::new(open_direct(&device.path).expect("block devices have O_DIRECT"));

        let written = write_all(&file, &content);
        let failed = written.iter().filter(|result| result.is_err()).count();
        assert!(failed > 0 && failed < BLOCKS, "{failed} of {BLOCKS} failed");
        for result in &written {
            let expected = [Ok(BLOCK as u32), Err(Errno::ENOSPC), Err(Errno::EIO)];
            assert!(expected.contains(result), "{result:?}");
        }
        for (at, (result, buf)) in read_all(&file, BLOCKS).into_iter().enumerate() {
            if written[at].is_ok() {
                assert_eq!(result, Ok(BLOCK as u32));
                assert!(*buf == content[at * BLOCK..][..BLOCK], "block {at} is another");
            }
        }
        small.remount("size=16m")?;
        assert!(write_all(&file, &content).iter().all(Result::is_ok), "with room again");
        assert_eq!(fsync(&file), Ok(0));
        assert_eq!(unreadable(&file, &content), 0);
        common::say_count(&format!("{failed} of {BLOCKS} writes failed"));
        Ok(())
    });
}

/// Goal: the errors of a device come through a file system: reads of a file on it complete with
/// `EIO` where the device fails, and only there. Method: ext4 on a loop device whose file is
/// truncated to half.
#[test]
fn reads_of_a_file_on_a_failing_device_complete_with_eio() {
    const BLOCKS: usize = 128;
    let _watchdog = Watchdog::new();
    in_mount_namespace(|| {
        let content = pattern(BLOCKS * BLOCK);
        let dir = scratch();
        let (backing, at) = (dir.path().join("backing"), dir.path().join("mounted"));
        File::create(&backing).and_then(|file| file.set_len(16 << 20)).expect("a hole");
        fs::create_dir(&at).expect("a directory to mount on");
        let device = LoopDevice::over(&backing)?;
        let mounted = Mount::ext4(&device.path, &at)?;
        let path = at.join("file");
        fs::write(&path, &content).expect("room for it");
        let file = Arc::new(open_direct(&path).expect("ext4 has O_DIRECT"));
        assert_eq!(fsync(&file), Ok(0));
        assert_eq!(unreadable(&file, &content), 0);

        let half = OpenOptions::new().write(true).open(&backing).expect("it");
        half.set_len(8 << 20).expect("a truncation");
        let failed = unreadable(&file, &content);
        assert!(failed > 0 && failed < BLOCKS, "{failed} of {BLOCKS} failed");
        drop(file);
        drop(mounted);
        common::say_count(&format!("{failed} of {BLOCKS} reads failed"));
        Ok(())
    });
}
