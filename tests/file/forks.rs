//! Forks while a `File` is at work, and by its users' code: a child never waits, and never writes
//! for its parent.

use crate::common;

use common::child::{Ended, in_child, wait_for};
use common::device::Mount;
use common::files::{file_with, open_direct, pattern};
use common::{Watchdog, is_root, say_skipped, skip};
use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use linux_aio::{Direct, DirectState, Driver, File};
use pollster::block_on;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;

/// Opens a file for which no second descriptor is to be had: /proc is hidden.
fn open_without_second(driver: &Driver, path: &Path) -> File {
    let options = File::options().read(true).write(true).direct(Direct::Require);
    let file = block_on(options.open(driver, path)).expect("a file");
    let DirectState::Direct { without_second: Some(_), .. } = file.direct() else {
        panic!("{:?}", file.direct())
    };
    file
}

/// Runs `test` where /proc is hidden, on a file that has `O_DIRECT`.
fn without_proc(test: impl FnOnce(&Path) + Send + 'static) {
    let content = pattern(65536);
    let (_dir, path, _file) = file_with(&content);
    if open_direct(&path).is_none() {
        skip!("no O_DIRECT here");
    }
    let hidden = move || -> Result<(), String> {
        Mount::unshare()?;
        let _mount = Mount::tmpfs("/proc".as_ref(), "size=4k")?;
        test(&path);
        Ok(())
    };
    if let Err(why) = thread::spawn(hidden).join().expect("no panic") {
        say_skipped(&why);
    }
}

/// Goal: a write that reads, changes and writes a block never waits in a forked child for a lock
/// that a thread of the parent held at the fork. Method: the parent writes without a pause, within
/// every block that has a lock; each child writes within each of these blocks by a driver of its
/// own, and an alarm ends one that hangs.
#[test]
fn a_child_does_not_wait_for_the_locks_of_blocks() {
    let _watchdog = Watchdog::new();
    if !is_root() {
        skip!("hiding /proc needs root");
    }
    without_proc(|path| {
        let driver = Driver::on_thread(4).expect("a driver");
        let file = open_without_second(&driver, path);
        let over = Arc::new(AtomicBool::new(false));
        let writer = {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let write = file.write_all_at(vec![1; 65536 - 2], 1);
                    block_on(write).0.expect("a write");
                    for block in 0..128 {
                        let write = file.write_all_at(vec![2; 2], block * 512 + 1);
                        block_on(write).0.expect("a write");
                    }
                }
            })
        };
        for _ in 0..20 {
            let ended = in_child(|| {
                let driver = Driver::on_thread(4).expect("a driver");
                let file = open_without_second(&driver, path);
                for block in 0..128 {
                    let write = file.write_all_at([3; 2], block * 512 + 1);
                    block_on(write).0.expect("a write");
                }
            });
            assert_eq!(ended, Ended::WELL);
        }
        over.store(true, Ordering::Relaxed);
        writer.join().expect("no panic");
    });
}

/// Bytes that fork once, when a thread of a driver asks for them. The child comes back when it is
/// told to.
struct Forks {
    bytes: Vec<u8>,
    child: Arc<AtomicI32>,
    told: Arc<UnixStream>,
}

impl AsRef<[u8]> for Forks {
    fn as_ref(&self) -> &[u8] {
        let on_thread = thread::current().name() == Some("linux-aio-write");
        if on_thread && self.child.load(Ordering::SeqCst) == 0 {
            // SAFETY: The child reads a socket, and returns to the driver's thread, which ends it:
            // that is what this tests.
            let pid = unsafe { libc::fork() };
            assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
            if pid == 0 {
                // SAFETY: Sets a timer of this process.
                unsafe { libc::alarm(40) };
                let _ = (&*self.told).read(&mut [0]);
            }
            self.child.store(if pid == 0 { -1 } else { pid }, Ordering::SeqCst);
        }
        &self.bytes
    }
}

/// Writes bytes that fork, then others, and has the child come back after that.
fn write_and_write_again(file: &File) {
    let (told, mut tell) = UnixStream::pair().expect("sockets");
    let child = Arc::new(AtomicI32::new(0));
    let forks = Forks { bytes: vec![1; 5], child: Arc::clone(&child), told: Arc::new(told) };
    block_on(file.write_all_at(forks, 100)).0.expect("a write");
    block_on(file.write_all_at([2; 5], 100)).0.expect("a write");
    tell.write_all(&[0]).expect("the child reads");
    let ended = wait_for(child.load(Ordering::SeqCst));
    let (result, read) = block_on(file.read_at(vec![0; 5], 100));
    assert_eq!((result.expect("a read"), read), (5, vec![2; 5]), "the child ended: {ended:?}");
    // Its last thread has come to its end.
    assert_eq!(ended, Ended::WELL);
}

/// Goal: a buffer that forks on the thread that writes it has its bytes written by the parent
/// alone. Method: the child comes back when the parent has written others there.
#[test]
fn a_child_of_a_buffer_does_not_write() {
    let _watchdog = Watchdog::new();
    let (_dir, path, _file) = file_with(&pattern(4096));
    for direct in [Direct::Never, Direct::Prefer] {
        let driver = Driver::on_thread(4).expect("a driver");
        let options = File::options().read(true).write(true).direct(direct);
        let file = block_on(options.open(&driver, &path)).expect("a file");
        write_and_write_again(&file);
    }
    if !is_root() {
        skip!("whole blocks: hiding /proc needs root");
    }
    without_proc(|path| {
        let driver = Driver::on_thread(4).expect("a driver");
        write_and_write_again(&open_without_second(&driver, path));
    });
}
