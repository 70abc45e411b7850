//! What a forked child inherits of a `File`, and what that answers there.

use super::checks::{Check, panic_of};
use super::common::files::scratch;
use super::common::poll_once;
use super::on_streams::Started;
use super::world::World;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Waker;
use core::time::Duration;
use linux_aio::blocking::File as Blocking;
use linux_aio::{
    Direct, Driver, Errno, File, FileWithDeadline, IoPrio, Outcome, RwFlags, SyncRange,
};
use smol::future::block_on;
use std::io;
use std::os::fd::AsFd;
use std::thread;
use tempfile::TempDir;

type Reading = Pin<Box<dyn Future<Output = Outcome<Vec<u8>>>>>;

/// Files that a thread uses all the time, through the page cache and around it, and one of a driver
/// that has no free slot.
pub(crate) struct Inherited {
    dir: TempDir,
    driver: Option<Driver>,
    files: Option<[File; 3]>,
    /// One that blocks, and that the thread uses, too.
    blocking: Option<Blocking>,
    /// A read by the last, which waits for a slot.
    waiting: Option<Reading>,
    user: Option<thread::JoinHandle<()>>,
    pub(crate) streams: Option<Started>,
}

static OVER: AtomicBool = AtomicBool::new(false);

impl Inherited {
    /// `full` is a driver without a free slot.
    pub(crate) fn new(full: &Driver) -> Self {
        let dir = scratch();
        let driver = Driver::on_thread(8).expect("a driver");
        let open = |name, direct| {
            let options = File::options().read(true).write(true).create(true).direct(direct);
            block_on(options.open(&driver, dir.path().join(name))).expect("a file")
        };
        let (direct, buffered) = (open("direct", Direct::Prefer), open("buffered", Direct::Never));
        for file in [&direct, &buffered] {
            block_on(file.set_len(100)).expect("a length");
        }
        // What the streams read is there before the thread comes to it.
        block_on(direct.set_len(100)).expect("a length");
        let options = File::options().read(true).write(true).create(true);
        let blocking = options.open_blocking(dir.path().join("blocking")).expect("a file");
        let user = thread::spawn({
            let files = [direct.clone(), buffered.clone()];
            let blocking = blocking.clone();
            move || {
                while !OVER.load(Ordering::Relaxed) {
                    blocking.write_all_at(&[1; 8], 3).expect("a write");
                    for file in &files {
                        block_on(file.write_all_at(vec![1; 8], 3)).0.expect("a write");
                        assert_eq!(block_on(file.read_at(vec![1; 8], 0)).0.expect("a read"), 8);
                        let timed = file.clone().with_deadline(Duration::from_secs(3600));
                        block_on(timed.read_at(vec![1; 8], 0)).expect("in time").0.expect("a read");
                        block_on(file.set_len(100)).expect("a length");
                        let _ = format!("{file:?}");
                    }
                }
            }
        });
        let zero = std::fs::File::open("/dev/zero").expect("/dev/zero");
        let of_full = File::from_std(zero, full).expect("a file");
        let streams = Some(Started::of(&direct));
        let files = Some([direct, buffered, of_full.clone()]);
        let mut waiting: Reading = Box::pin(async move { of_full.read_at(vec![1; 8], 0).await });
        assert!(poll_once(&mut waiting, Waker::noop()).is_pending());
        let (blocking, waiting, user) = (Some(blocking), Some(waiting), Some(user));
        Self { dir, driver: Some(driver), files, blocking, waiting, user, streams }
    }

    /// When the slot is free.
    pub(crate) fn is_as_it_was(&mut self) {
        assert_eq!(block_on(self.waiting.take().expect("it")).0.expect("a read"), 8);
        self.streams.take().expect("they").are_as_they_were();
        OVER.store(true, Ordering::Relaxed);
        self.user.take().expect("it").join().expect("no panic");
    }

    pub(crate) fn streams(&mut self) -> &mut Started {
        self.streams.as_mut().expect("they")
    }

    pub(crate) fn files(&self) -> &[File] {
        self.files.as_ref().expect("all")
    }

    fn blocking(&self) -> &Blocking {
        self.blocking.as_ref().expect("it")
    }

    fn driver(&self) -> &Driver {
        self.driver.as_ref().expect("it")
    }
}

/// Handles with a deadline, whose thread may hold its lock in the parent.
fn timed(world: &World<'_>) -> Vec<FileWithDeadline> {
    let time = Duration::from_secs(3600);
    world.files.files().iter().map(|file| file.clone().with_deadline(time)).collect()
}

fn assert_forked<T: core::fmt::Debug>(result: io::Result<T>) {
    let error = result.expect_err("the driver is the parent's");
    assert_eq!(error.kind(), io::Error::from(Errno::FORKED).kind());
    assert!(error.to_string().contains("fork"), "{error}");
}

pub(crate) const FILE: &[(&str, Check)] = &[
    ("File::options", |_| drop(File::options())),
    ("File::open", |world| assert_forked(block_on(File::open(world.files.driver(), "/dev/zero")))),
    ("OpenOptions::open", |world| {
        assert_forked(block_on(File::options().read(true).open(world.files.driver(), "/dev/zero")));
        // The child has a driver of its own.
        let driver = Driver::on_thread(2).expect("a driver");
        let path = world.files.dir.path().join("child");
        let options = File::options().read(true).write(true).create(true);
        let file = block_on(options.open(&driver, path)).expect("a file");
        block_on(file.write_all_at(vec![7; 5000], 100)).0.expect("a write");
        let (result, buf) = block_on(file.read_at(vec![0; 5000], 100));
        assert_eq!((result.expect("a read"), buf), (5000, vec![7; 5000]));
        block_on(file.close()).expect("closed");
    }),
    ("File::from_std", |world| {
        let zero = std::fs::File::open("/dev/zero").expect("/dev/zero");
        let file = File::from_std(zero, world.files.driver()).expect("a file");
        assert_forked(block_on(file.read_at(vec![1; 8], 0)).0);
    }),
    ("File::from_std_with", |world| {
        let plain = std::fs::File::open("/proc/self/exe").expect("this program");
        let file = File::from_std_with(plain, world.files.driver(), Direct::Prefer);
        assert_forked(block_on(file.expect("a file").read_at(vec![1; 8], 0)).0);
    }),
    ("File::with_deadline", |world| {
        for file in world.files.files() {
            drop(file.clone().with_deadline(Duration::MAX));
        }
    }),
    ("FileWithDeadline::with_deadline", |world| {
        for file in timed(world) {
            let file = file.with_deadline(Duration::ZERO);
            assert_forked(block_on(file.read_at(vec![1; 8], 0)).expect("no alarm").0);
        }
    }),
    ("FileWithDeadline::get_ref", |world| assert!(!timed(world)[1].get_ref().is_direct())),
    ("FileWithDeadline::read_at", |world| {
        for file in timed(world) {
            assert_forked(block_on(file.read_at(vec![1; 8], 0)).expect("no alarm").0);
        }
    }),
    ("FileWithDeadline::read_exact_at", |world| {
        for file in timed(world) {
            assert_forked(block_on(file.read_exact_at(vec![1; 8], 0)).expect("no alarm").0);
        }
    }),
    ("FileWithDeadline::readv_at", |world| {
        for file in timed(world) {
            assert_forked(block_on(file.readv_at([vec![1; 8]], 0)).expect("no alarm").0);
        }
    }),
    ("FileWithDeadline::readv_exact_at", |world| {
        for file in timed(world) {
            assert_forked(block_on(file.readv_exact_at([vec![1; 8]], 0)).expect("no alarm").0);
        }
    }),
    ("FileWithDeadline::write_at", |world| {
        for file in timed(world) {
            assert_forked(block_on(file.write_at(vec![1; 8], 0)).expect("no alarm").0);
        }
    }),
    ("FileWithDeadline::write_all_at", |world| {
        for file in timed(world) {
            assert_forked(block_on(file.write_all_at(vec![1; 8], 0)).expect("no alarm").0);
        }
    }),
    ("FileWithDeadline::writev_at", |world| {
        for file in timed(world) {
            assert_forked(block_on(file.writev_at([vec![1; 8]], 0)).expect("no alarm").0);
        }
    }),
    ("FileWithDeadline::writev_all_at", |world| {
        for file in timed(world) {
            assert_forked(block_on(file.writev_all_at([vec![1; 8]], 0)).expect("no alarm").0);
        }
    }),
    ("FileWithDeadline::sync_all", |world| {
        timed(world).iter().for_each(|file| assert_forked(block_on(file.sync_all())));
    }),
    ("FileWithDeadline::sync_data", |world| {
        timed(world).iter().for_each(|file| assert_forked(block_on(file.sync_data())));
    }),
    ("FileWithDeadline::sync_range", |world| {
        let range = |file: &FileWithDeadline| block_on(file.sync_range(0, 0, SyncRange::Wait));
        timed(world).iter().for_each(|file| assert_forked(range(file)));
    }),
    ("FileWithDeadline::set_len", |world| {
        timed(world).iter().for_each(|file| assert_forked(block_on(file.set_len(1))));
    }),
    ("FileWithDeadline::allocate", |world| {
        timed(world).iter().for_each(|file| assert_forked(block_on(file.allocate(0, 1))));
    }),
    ("FileWithDeadline::punch_hole", |world| {
        timed(world).iter().for_each(|file| assert_forked(block_on(file.punch_hole(0, 1))));
    }),
    ("FileWithDeadline: Clone", |world| drop(timed(world).to_vec())),
    ("FileWithDeadline: Debug", |world| drop(format!("{:?}", timed(world)))),
    ("FileWithDeadline: Drop", |world| drop(timed(world))),
    ("File::is_direct", |world| assert!(!world.files.files()[1].is_direct())),
    ("File::direct", |world| drop(world.files.files()[0].direct().to_string())),
    ("File::with_rw_flags", |world| {
        for file in world.files.files() {
            let file = file.clone().with_rw_flags(RwFlags::HIPRI);
            assert_forked(block_on(file.read_at(vec![1; 8], 0)).0);
        }
    }),
    ("File::with_ioprio", |world| {
        for file in world.files.files() {
            let file = file.clone().with_ioprio(IoPrio::idle());
            assert_forked(block_on(file.read_at(vec![1; 8], 0)).0);
        }
    }),
    ("File::read_at", |world| {
        for file in world.files.files() {
            let (result, buf) = block_on(file.read_at(vec![1; 8], 0));
            assert_eq!(buf, [1; 8]);
            assert_forked(result);
        }
        // What waits for an operation of the parent's does as that does.
        let waiting = world.files.waiting.as_mut().expect("it");
        let text = panic_of(|| drop(poll_once(waiting, Waker::noop())));
        assert!(text.contains("fork"), "{text}");
    }),
    ("File::read_exact_at", |world| {
        for file in world.files.files() {
            assert_forked(block_on(file.read_exact_at(vec![1; 8], 0)).0);
        }
    }),
    ("File::write_at", |world| {
        for file in world.files.files() {
            let (result, buf) = block_on(file.write_at(vec![1; 8], 0));
            assert_eq!(buf, [1; 8]);
            assert_forked(result);
        }
    }),
    ("File::write_all_at", |world| {
        for file in world.files.files() {
            assert_forked(block_on(file.write_all_at(vec![1; 8], 0)).0);
        }
    }),
    ("File::readv_at", |world| {
        for file in world.files.files() {
            let (result, bufs) = block_on(file.readv_at([vec![1; 8], vec![2; 8]], 0));
            assert_eq!(bufs, [[1; 8], [2; 8]]);
            assert_forked(result);
        }
    }),
    ("File::writev_at", |world| {
        for file in world.files.files() {
            let (result, bufs) = block_on(file.writev_at([vec![1; 8], vec![2; 8]], 0));
            assert_eq!(bufs, [[1; 8], [2; 8]]);
            assert_forked(result);
        }
    }),
    ("File::readv_exact_at", |world| {
        for file in world.files.files() {
            assert_forked(block_on(file.readv_exact_at([vec![1; 8], vec![2; 8]], 0)).0);
        }
    }),
    ("File::writev_all_at", |world| {
        for file in world.files.files() {
            assert_forked(block_on(file.writev_all_at([vec![1; 8], vec![2; 8]], 0)).0);
        }
    }),
    ("File::sync_all", |world| {
        world.files.files().iter().for_each(|file| assert_forked(block_on(file.sync_all())));
    }),
    ("File::sync_data", |world| {
        world.files.files().iter().for_each(|file| assert_forked(block_on(file.sync_data())));
    }),
    ("File::sync_range", |world| {
        world.files.files().iter().for_each(|file| {
            assert_forked(block_on(file.sync_range(0, 0, SyncRange::Wait)));
        });
    }),
    ("File::set_len", |world| {
        world.files.files().iter().for_each(|file| assert_forked(block_on(file.set_len(1))));
    }),
    ("File::allocate", |world| {
        world.files.files().iter().for_each(|file| assert_forked(block_on(file.allocate(0, 1))));
    }),
    ("File::punch_hole", |world| {
        world.files.files().iter().for_each(|file| assert_forked(block_on(file.punch_hole(0, 1))));
    }),
    ("File::metadata", |world| assert!(world.files.files()[0].metadata().is_ok())),
    ("File::get_ref", |world| assert!(world.files.files()[0].get_ref().metadata().is_ok())),
    ("File::close", |world| {
        drop(world.files.waiting.take());
        for file in world.files.files.take().expect("all") {
            block_on(file.close()).expect("it closes what the child has");
        }
    }),
    ("File: AsFd", |world| assert!(world.files.files()[0].as_fd().try_clone_to_owned().is_ok())),
    ("File: Clone", |world| drop(world.files.files().to_vec())),
    ("File: Debug", |world| {
        for file in world.files.files() {
            assert!(format!("{file:?}").contains("outstanding: 0"));
        }
    }),
    ("File: Drop", |world| {
        drop((world.files.waiting.take(), world.files.files.take(), world.files.driver.take()));
    }),
];

pub(crate) const BLOCKING: &[(&str, Check)] = &[
    ("blocking::OpenOptions::open_blocking", |world| {
        // The child may have a file of its own.
        let path = world.files.dir.path().join("child's");
        let options = File::options().read(true).write(true).create(true);
        let file = options.open_blocking(path).expect("a file");
        file.write_all_at(&[7; 5000], 100).expect("a write");
        let mut buf = [0; 5000];
        file.read_exact_at(&mut buf, 100).expect("a read");
        assert_eq!(buf, [7; 5000]);
    }),
    ("blocking::File::options", |_| drop(Blocking::options())),
    ("blocking::File::open", |_| {
        let file = Blocking::open("/dev/zero").expect("a file");
        assert_eq!(file.read_at(&mut [1; 8], 0).expect("a read"), 8);
    }),
    ("blocking::File::from_std", |world| {
        let again = world.files.blocking().get_ref().try_clone().expect("a descriptor");
        let file = Blocking::from_std(again).expect("a file");
        file.read_at(&mut [1; 8], 0).expect("the child's own");
    }),
    ("blocking::File::from_std_with", |world| {
        let again = std::fs::File::open(world.files.dir.path().join("blocking"));
        let file = Blocking::from_std_with(again.expect("it is there"), Direct::Never);
        file.expect("a file").read_at(&mut [1; 8], 0).expect("the child's own");
    }),
    ("blocking::File::is_direct", |world| _ = world.files.blocking().is_direct()),
    ("blocking::File::direct", |world| drop(world.files.blocking().direct().to_string())),
    ("blocking::File::with_rw_flags", |world| {
        let file = world.files.blocking().clone().with_rw_flags(RwFlags::DSYNC);
        assert_forked(file.write_at(&[1; 8], 0));
    }),
    ("blocking::File::read_at", |world| {
        assert_forked(world.files.blocking().read_at(&mut [1; 8], 0));
    }),
    ("blocking::File::read_exact_at", |world| {
        assert_forked(world.files.blocking().read_exact_at(&mut [1; 8], 0));
    }),
    ("blocking::File::readv_at", |world| {
        let mut buf = [1; 8];
        let bufs = &mut [io::IoSliceMut::new(&mut buf)];
        assert_forked(world.files.blocking().readv_at(bufs, 0));
    }),
    ("blocking::File::readv_exact_at", |world| {
        let mut buf = [1; 8];
        let bufs = &mut [io::IoSliceMut::new(&mut buf)];
        assert_forked(world.files.blocking().readv_exact_at(bufs, 0));
    }),
    ("blocking::File::writev_all_at", |world| {
        assert_forked(world.files.blocking().writev_all_at(&[io::IoSlice::new(&[1; 8])], 0));
    }),
    ("blocking::File::write_at", |world| {
        assert_forked(world.files.blocking().write_at(&[1; 8], 0));
    }),
    ("blocking::File::write_all_at", |world| {
        assert_forked(world.files.blocking().write_all_at(&[1; 8], 3));
    }),
    ("blocking::File::writev_at", |world| {
        assert_forked(world.files.blocking().writev_at(&[io::IoSlice::new(&[1; 8])], 0));
    }),
    ("blocking::File::sync_all", |world| assert_forked(world.files.blocking().sync_all())),
    ("blocking::File::sync_data", |world| assert_forked(world.files.blocking().sync_data())),
    ("blocking::File::sync_range", |world| {
        assert_forked(world.files.blocking().sync_range(0, 0, SyncRange::Start));
    }),
    ("blocking::File::set_len", |world| assert_forked(world.files.blocking().set_len(1))),
    ("blocking::File::allocate", |world| assert_forked(world.files.blocking().allocate(0, 1))),
    ("blocking::File::punch_hole", |world| assert_forked(world.files.blocking().punch_hole(0, 1))),
    ("blocking::File::metadata", |world| assert!(world.files.blocking().metadata().is_ok())),
    ("blocking::File::get_ref", |world| {
        assert!(world.files.blocking().get_ref().metadata().is_ok());
    }),
    ("blocking::File::close", |world| {
        let file = world.files.blocking.take().expect("it");
        file.close().expect("it closes what the child has");
    }),
    ("blocking::File: AsFd", |world| {
        assert!(world.files.blocking().as_fd().try_clone_to_owned().is_ok());
    }),
    ("blocking::File: Clone", |world| drop(world.files.blocking().clone())),
    ("blocking::File: Debug", |world| assert!(!format!("{:?}", world.files.blocking()).is_empty())),
    ("blocking::File: Drop", |world| drop(world.files.blocking.take())),
];
