//! Limits on files: `RLIMIT_FSIZE` and a full file system. The completion says which, and what fits
//! is written.

use crate::common;

use common::child::{Ended, in_child};
use common::device::{LoopDevice, Mount};
use common::files::{file_with, open_direct, scratch};
use common::{Watchdog, is_root, queue, skip};
use linux_aio::op::Write;
use linux_aio::{AlignedBuf, Errno};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::thread;

fn limit_file_size(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes as _, rlim_max: bytes as _ };
    // SAFETY: `limit` lives during the call.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
    assert_eq!(set, 0, "setrlimit: {}", std::io::Error::last_os_error());
}

/// Goal: a write past the process's file size limit completes with `EFBIG`, one that reaches it is
/// short, others are not touched. Method: in a child with a limit and SIGXFSZ ignored.
#[test]
fn a_write_past_the_file_size_limit_completes_with_efbig() {
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(b"");
    let ended = in_child(|| {
        // SAFETY: Ignoring a signal is what the test is about.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        limit_file_size(8192);
        let file = Arc::new(file);
        let mut queue = queue(4);
        for offset in [0, 8192, 8000, 1 << 40] {
            queue.push(Write::new(Arc::clone(&file), [7u8; 4096], offset)).expect("a slot");
        }
        let mut completed = 0;
        while let Some(done) = queue.wait().expect("a wait") {
            let expected = match done.op.offset {
                0 => Ok(4096),
                8000 => Ok(192),
                _ => Err(Errno::EFBIG),
            };
            assert_eq!(done.result, expected, "at {}", done.op.offset);
            completed += 1;
        }
        assert_eq!(completed, 4);
    });
    assert_eq!(ended, Ended::WELL);
    assert_eq!(std::fs::metadata(path).expect("the file").len(), 8192);
}

/// Goal: it is known that the kernel sends SIGXFSZ to who submits, which ends a program that does
/// not expect it. Method: as above, with the signal at its default.
#[test]
fn the_file_size_limit_sends_sigxfsz_to_who_submits() {
    let _watchdog = Watchdog::new();
    let (_dir, _path, file) = file_with(b"");
    let ended = in_child(|| {
        limit_file_size(4096);
        let mut queue = queue(1);
        queue.push(Write::new(Arc::new(file), [7u8; 16], 4096)).expect("a slot");
        let _ = queue.submit();
    });
    assert_eq!(ended, Ended::Killed(libc::SIGXFSZ));
}

/// Goal: on a full file system writes complete with `ENOSPC`, buffered and with O_DIRECT, each
/// alone; what fitted is in the file; and with room again writes succeed. Method: a small ext4 on
/// a loop device, filled through a queue.
#[test]
fn a_write_to_a_full_file_system_completes_with_enospc() {
    let _watchdog = Watchdog::new();
    if !is_root() {
        skip!("mounting a loop device needs root");
    }
    let dir = scratch();
    // The thread's mount namespace ends with it, and with that the mount.
    let result = thread::scope(|threads| {
        threads
            .spawn(|| {
                let (image, at) = (dir.path().join("image"), dir.path().join("mounted"));
                File::create(&image).and_then(|file| file.set_len(8 << 20)).expect("8 MiB");
                std::fs::create_dir(&at).expect("a directory to mount on");
                Mount::unshare()?;
                let device = LoopDevice::over(&image)?;
                let _mounted = Mount::ext4(&device.path, &at)?;
                fill(&at.join("buffered"), false);
                fill(&at.join("direct"), true);
                Ok::<_, String>(())
            })
            .join()
    });
    match result {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => skip!("no small file system here: {reason}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn fill(path: &Path, direct: bool) {
    const BLOCK: usize = 64 << 10;
    let file = File::options().read(true).write(true).create_new(true).open(path);
    let file = file.expect("room for an empty file");
    let file = if direct { open_direct(path).expect("ext4 has O_DIRECT") } else { file };
    let file = Arc::new(file);
    let mut queue = queue(8);
    let mut buffers: Vec<AlignedBuf> = (0..8)
        .map(|_| {
            let mut buf = AlignedBuf::new(BLOCK).expect("memory");
            buf.fill(7);
            buf
        })
        .collect();
    // 8 MiB is 128 blocks; twice that is more than fits.
    let (mut next, mut written, mut full) = (0u64, 0, 0);
    loop {
        while next < 256 {
            let Some(buf) = buffers.pop() else { break };
            queue.push(Write::new(Arc::clone(&file), buf, next * BLOCK as u64)).expect("a slot");
            next += 1;
        }
        let Some(done) = queue.wait().expect("a wait") else { break };
        match done.result {
            Ok(count) => written += count as usize,
            Err(errno) => {
                assert_eq!(errno, Errno::ENOSPC);
                full += 1;
            }
        }
        buffers.push(done.op.buf);
    }
    assert!(full > 0 && written >= BLOCK, "{full} failed, {written} bytes written");
    let content = std::fs::read(path).expect("the file");
    let found = content.iter().filter(|&&byte| byte == 7).count();
    assert!(content.iter().all(|&byte| byte == 7 || byte == 0));
    assert_eq!(found, written, "direct: {direct}");

    drop(content);
    file.set_len(0).expect("a truncation");
    let buf = buffers.pop().expect("a buffer");
    queue.push(Write::new(file, buf, 0)).expect("a slot");
    let done = queue.wait().expect("a wait").expect("a completion");
    assert_eq!(done.result, Ok(BLOCK as u32), "with room again");
    drop(queue);
    std::fs::remove_file(path).expect("removing the file");
}
