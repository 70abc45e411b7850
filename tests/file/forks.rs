//! Forks while a `File` is at work, and by its users' code: a child never waits, and never writes
//! for its parent.

use crate::common;

use common::child::{Ended, in_child, wait_for};
use common::device::Mount;
use common::files::{file_with, open_direct, pattern};
use common::users_code::WakerCode;
use common::{Watchdog, is_root, poll_once, say_skipped, skip};
use core::panic::AssertUnwindSafe;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use core::task::Waker;
use linux_aio::op::Poll;
use linux_aio::{Direct, DirectState, Driver, EventFd, File, LocalDriver, PollEvents};
use pollster::block_on;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
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

/// A buffer that holds the thread which asks for its bytes.
struct Hangs(Mutex<Receiver<()>>, Sender<()>);

impl AsRef<[u8]> for Hangs {
    fn as_ref(&self) -> &[u8] {
        if thread::current().name() == Some("linux-aio-write") {
            let _ = self.1.send(());
            let _ = self.0.lock().expect("one thread asks").recv();
        }
        b"late"
    }
}

/// Goal: the clone of a waker may fork. In the child, a request that the parent has started panics,
/// and the end of the driver is there at once; neither takes a lock. Method: a write hangs on its
/// thread. Each poll by a waker that forks returns twice.
#[test]
fn a_waker_that_forks_when_it_is_cloned_waits_for_nothing_in_the_child() {
    let _watchdog = Watchdog::new();
    let (_dir, path, _) = file_with(b"content");
    let ended = in_child(|| {
        let driver = Driver::on_thread(4).expect("a driver");
        let options = File::options().write(true).direct(Direct::Never);
        let file = block_on(options.open(&driver, &path)).expect("a file");
        let ((go_on, goes_on), (begun, has_begun)) = (channel(), channel());
        let mut write = pin!(file.write_at(Hangs(Mutex::new(goes_on), begun), 2));
        assert!(poll_once(&mut write, Waker::noop()).is_pending());
        has_begun.recv().expect("a thread has begun it");
        let parent = std::process::id();
        let child = Arc::new(AtomicI32::new(0));
        let forks = |clones: u32, polled: &mut dyn FnMut(&Waker) -> i32| {
            let (code, pid) = (Arc::new(WakerCode::default()), Arc::clone(&child));
            code.clone.arm(move || {
                // SAFETY: The child calls what is under test, and leaves by `_exit` below.
                pid.store(unsafe { libc::fork() }, Ordering::SeqCst);
            });
            // What is armed last comes first.
            (1..clones).for_each(|_| code.clone.arm(|| ()));
            let waker = code.waker();
            let code = polled(&waker);
            if std::process::id() != parent {
                // SAFETY: Ends the child.
                unsafe { libc::_exit(code) };
            }
            assert_eq!(code, 1, "it is pending in the parent");
            assert_eq!(wait_for(child.load(Ordering::SeqCst)), Ended::Exited(7));
        };
        forks(1, &mut |waker| {
            let poll = AssertUnwindSafe(|| poll_once(&mut write, waker).is_pending());
            catch_unwind(poll).map_or(7, i32::from)
        });
        let mut closed = driver.clone().close();
        // One clone is for the context, and one for the call.
        for clones in [1, 2] {
            forks(clones, &mut |waker| {
                if poll_once(&mut closed, waker).is_ready() { 7 } else { 1 }
            });
        }
        drop(go_on);
        block_on(closed);

        let local = LocalDriver::new(4).expect("a driver");
        let silent = EventFd::new().expect("an eventfd");
        let mut poll = pin!(local.perform(Poll::new(silent, PollEvents::IN)));
        assert!(poll_once(&mut poll, Waker::noop()).is_pending());
        forks(1, &mut |waker| {
            let poll = AssertUnwindSafe(|| poll_once(&mut poll, waker).is_pending());
            catch_unwind(poll).map_or(7, i32::from)
        });
    });
    assert_eq!(ended, Ended::WELL);
}
