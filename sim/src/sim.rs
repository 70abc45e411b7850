//! [`Sim`], a simulated machine.

use crate::descriptor::Target;
use crate::faults::Faults;
use crate::files::ROOT;
use crate::random::Random;
use crate::seam::{Entering, PowerFailure};
use crate::shared::Shared;
use crate::watch::watch;
use crate::world::{End, World};
use linux_aio::sys::sim::now;
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A simulated machine: a kernel for contexts, a disk with files, and a clock.
///
/// [`check`](crate::check) makes one for each seed and enters it. A clone is another handle of the
/// same machine.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, op::Write};
/// use linux_aio_sim::{Faults, Sim};
///
/// let sim = Sim::new(1, Faults::legal());
/// let _entered = sim.enter(); // Contexts of this thread are simulated from here on.
/// let mut queue = Queue::with_capacity(8)?;
/// queue.push(Write::new(sim.file("log"), vec![7; 512], 0))?;
/// let done = queue.wait()?.expect("one operation is queued");
/// assert!(done.result? > 0);
/// assert_eq!(sim.read("log").expect("a file of this name")[0], 7);
///
/// sim.crash(); // Neither the data nor the name of the file was synced.
/// assert!(sim.names().len() <= 1);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Sim {
    pub(crate) shared: Arc<Shared>,
}

/// While this guard lives, its thread makes contexts in a simulation. From [`Sim::enter`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, op::Read};
/// use linux_aio_sim::{Faults, Sim};
///
/// let sim = Sim::new(1, Faults::none());
/// let entered = sim.enter();
/// let mut queue = Queue::with_capacity(1)?; // of the simulated kernel
/// drop(entered); // What was made before stays there; what comes next is the real kernel's.
/// queue.push(Read::new(sim.file("empty"), vec![1; 64], 0))?;
/// assert_eq!(queue.wait()?.expect("a completion").result?, 0);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "the thread leaves the simulation when the guard is dropped"]
pub struct Entered {
    _entering: Entering,
}

impl Sim {
    /// Makes a machine with an empty disk. The same seed gives the same machine: every fault and
    /// every duration follows from it and from the calls of the program.
    ///
    /// # Panics
    /// If [`Faults::sector`] is neither 512 nor 4096.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self::with(seed, faults, false)
    }

    /// Makes a machine as [`new`](Self::new) does, and records what happens for
    /// [`trace`](Self::trace).
    ///
    /// # Panics
    /// If [`Faults::sector`] is neither 512 nor 4096.
    pub fn with_trace(seed: u64, faults: Faults) -> Self {
        Self::with(seed, faults, true)
    }

    fn with(seed: u64, faults: Faults, traced: bool) -> Self {
        let shared = Arc::new(Shared::new(seed, World::new(Random::new(seed), faults, traced)));
        watch(&shared);
        Self { shared }
    }

    /// Makes this machine the one in which the thread makes contexts, until the guard is dropped.
    ///
    /// Only the thread that makes a context enters. Every other call follows its context, so queues
    /// may be moved to other threads.
    pub fn enter(&self) -> Entered {
        Entered { _entering: Entering::new(&self.shared) }
    }

    /// Returns the seed.
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    // ---- files ----

    /// Opens a file for reading and writing, and creates it if there is none (`open(2)` with
    /// `O_CREAT`).
    ///
    /// The name of a new file is lost in a crash unless the [directory](Self::directory) is synced.
    /// The descriptor is for operations of contexts in this simulation, and ends with the next
    /// crash or kill. `metadata` tells the length of the file. Other uses give `EBADF`.
    ///
    /// # Panics
    /// If the process cannot open more descriptors, or has no /proc.
    #[doc(alias = "open")]
    pub fn file(&self, name: &str) -> OwnedFd {
        self.open(name, OFlags::RDWR)
    }

    /// Opens a file as [`file`](Self::file) does, with `O_DIRECT`: offsets, lengths and addresses
    /// must be multiples of [`Faults::sector`], otherwise operations end with `EINVAL`.
    ///
    /// # Panics
    /// If the process cannot open more descriptors, or has no /proc.
    #[doc(alias = "O_DIRECT")]
    pub fn direct(&self, name: &str) -> OwnedFd {
        self.open(name, OFlags::RDWR | OFlags::DIRECT)
    }

    fn open(&self, name: &str, flags: OFlags) -> OwnedFd {
        let mut world = self.shared.world();
        let file = world.disk.open(name);
        world.open_file(file, name, flags)
    }

    /// Returns the path of a file, for [`linux_aio::File`]. The empty name is that of the
    /// directory.
    ///
    /// A file is opened by its path in a thread that has entered the simulation. There is nothing
    /// at these paths for other calls, such as those of `std::fs`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::{File, LocalDriver};
    /// use linux_aio_sim::{Faults, Sim};
    ///
    /// let sim = Sim::new(1, Faults::legal());
    /// let _entered = sim.enter();
    /// let driver = LocalDriver::new(8)?;
    /// driver.block_on(async {
    ///     let options = File::options().read(true).write(true).create(true);
    ///     let file = options.open(&driver, sim.path("log")).await?;
    ///     file.write_all_at("any length", 777).await.0?;
    ///     file.sync_data().await?;
    ///     File::open(&driver, sim.path("")).await?.sync_all().await // The name of the file.
    /// })?;
    /// sim.crash();
    /// assert_eq!(sim.read("log").expect("a durable name").len(), 787);
    /// # Ok(()) }
    /// ```
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(ROOT).join(name)
    }

    /// Opens the directory of all files. fsync and fdatasync of it make the names durable.
    ///
    /// # Panics
    /// If the process cannot open more descriptors, or has no /proc.
    pub fn directory(&self) -> OwnedFd {
        self.shared.world().descriptors.open(Target::Directory, "the directory", 0)
    }

    /// Gives a file another name, and replaces the file that has it (`rename(2)`). The change is
    /// durable when the [directory](Self::directory) has been synced.
    ///
    /// # Panics
    /// If there is no file of the name `from`.
    pub fn rename(&self, from: &str, to: &str) {
        let mut world = self.shared.world();
        let renamed = world.disk.rename(from, to);
        world.note(|_| format!("rename {from} to {to}"));
        drop(world);
        assert!(renamed, "linux-aio-sim: there is no file {from:?} to be renamed");
    }

    /// Removes a file (`unlink(2)`). The change is durable when the [directory](Self::directory)
    /// has been synced.
    ///
    /// # Panics
    /// If there is no such file.
    #[doc(alias = "unlink")]
    pub fn remove(&self, name: &str) {
        let mut world = self.shared.world();
        let removed = world.disk.remove(name);
        world.note(|_| format!("remove {name}"));
        drop(world);
        assert!(removed, "linux-aio-sim: there is no file {name:?} to be removed");
    }

    /// Changes the length of a file (`truncate(2)`). The change is durable when the file has been
    /// synced.
    ///
    /// # Panics
    /// If there is no such file.
    #[doc(alias = "truncate")]
    #[doc(alias = "ftruncate")]
    pub fn set_len(&self, name: &str, length: u64) {
        let mut world = self.shared.world();
        let found = world.disk.find(name);
        if let Some(file) = found {
            world.disk.inode_mut(file).set_len(length);
            world.descriptors.set_len(file, length);
            world.note(|_| format!("truncate {name} to {length}"));
        }
        drop(world);
        assert!(found.is_some(), "linux-aio-sim: there is no file {name:?}");
    }

    /// Returns the names of all files, sorted.
    pub fn names(&self) -> Vec<String> {
        self.shared.world().disk.names().map(String::from).collect()
    }

    /// Returns the content of a file as programs see it now, or `None` if there is none of that
    /// name. For assertions: nothing fails and no time passes.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        let world = self.shared.world();
        let file = world.disk.find(name)?;
        Some(world.disk.inode(file).content().to_vec())
    }

    // ---- crashes ----

    /// Has the power fail now, and the machine start again. Data, lengths and names that no sync
    /// has made durable are kept, lost, or kept by sectors.
    ///
    /// Descriptors and contexts from before are of no use afterwards: a submit panics. Operations
    /// in flight end with `EIO`.
    pub fn crash(&self) {
        self.end(End::Crash);
    }

    /// Has the process end now and start again. The kernel goes on: what has been written is still
    /// there, and what was not durable is still not durable. Operations in flight are carried out.
    ///
    /// What a failed sync has lost is not to be seen any more afterwards: the kernel is free to
    /// drop these pages from its cache.
    ///
    /// Descriptors and contexts from before are of no use afterwards: a submit panics.
    pub fn kill(&self) {
        self.end(End::Kill);
    }

    pub(crate) fn end(&self, end: End) {
        let mut world = self.shared.world();
        world.end_machine(end);
        world.show_lengths();
        drop(world);
        self.shared.changed.notify_all();
    }

    /// Runs `life` until it returns, or until the power fails at the start of one of its next
    /// `most` system calls. Returns what `life` returns, or `None` after a power failure.
    ///
    /// The thread unwinds from the system call, as by a panic. So tests must be built with
    /// `panic = "unwind"`, and `life` must not catch all panics.
    ///
    /// ```
    /// use linux_aio::{Queue, op::{Any, Fdsync, Write}};
    /// use linux_aio_sim::{Faults, Sim};
    /// use std::sync::Arc;
    ///
    /// let sim = Sim::new(7, Faults::none());
    /// let _entered = sim.enter();
    /// let done = sim.until_crash(3, || {
    ///     let file = Arc::new(sim.file("data"));
    ///     let mut queue: Queue<Any<_, Vec<u8>>> = Queue::with_capacity(8).expect("a context");
    ///     for i in 0..100 {
    ///         queue.push(Write::new(file.clone(), vec![1; 512], i * 512).into()).expect("a slot");
    ///         queue.wait().expect("a completion");
    ///     }
    ///     queue.push(Fdsync::new(file.clone()).into()).expect("a slot");
    ///     queue.wait().expect("a completion");
    /// });
    /// assert!(done.is_none(), "the power fails within three calls");
    /// ```
    pub fn until_crash<R>(&self, most: u64, life: impl FnOnce() -> R) -> Option<R> {
        self.until(End::Crash, most, life)
    }

    /// Runs `life` as [`until_crash`](Self::until_crash) does, with a [crash](Self::crash) or a
    /// [kill](Self::kill) at the end, whichever the seed says.
    pub fn until_end<R>(&self, most: u64, life: impl FnOnce() -> R) -> Option<R> {
        let is_kill = self.shared.world().random.one_in(2);
        self.until(if is_kill { End::Kill } else { End::Crash }, most, life)
    }

    fn until<R>(&self, end: End, most: u64, life: impl FnOnce() -> R) -> Option<R> {
        if cfg!(panic = "abort") {
            panic!(
                "linux-aio-sim: the power fails by unwinding; build the tests with \
                 panic = \"unwind\""
            );
        }
        let mut world = self.shared.world();
        let calls = world.random.below(most);
        world.light_fuse(calls, end);
        drop(world);
        let result = catch_unwind(AssertUnwindSafe(life));
        let ended = self.shared.world().put_fuse_out();
        match result {
            Ok(result) if !ended => Some(result),
            Ok(_) => None,
            Err(payload) if ended && payload.is::<PowerFailure>() => None,
            Err(payload) => resume_unwind(payload),
        }
    }

    // ---- time and chance ----

    /// Returns the time since the machine was made. Only system calls, looks at empty rings and
    /// [`sleep`](Self::sleep) let it pass.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.shared.world().now)
    }

    /// Lets time pass. Operations that are due complete.
    pub fn sleep(&self, time: Duration) {
        self.shared.world().pass(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        self.shared.changed.notify_all();
    }

    /// Has the disk hang for a time: it answers nothing, neither the operations that it has nor
    /// those that come. Afterwards it completes them all.
    ///
    /// Time passes as always, so deadlines end futures meanwhile. A second call while the disk
    /// hangs makes it hang until the later of both ends. A crash ends it.
    ///
    /// ```
    /// use linux_aio::{File, LocalDriver};
    /// use linux_aio_sim::{Faults, Sim};
    /// use std::{io::ErrorKind, time::Duration};
    ///
    /// let sim = Sim::new(1, Faults::none());
    /// let _entered = sim.enter();
    /// let driver = LocalDriver::new(8)?;
    /// let file = driver.block_on(async {
    ///     let options = File::options().read(true).write(true).create(true);
    ///     let file = options.open(&driver, sim.path("pages")).await?;
    ///     file.write_all_at(vec![7; 4096], 0).await.0?;
    ///     std::io::Result::Ok(file.with_deadline(Duration::from_secs(5)))
    /// })?;
    /// sim.stall(Duration::from_secs(3600));
    /// let late = driver.block_on(file.read_exact_at(vec![0; 4096], 0)).unwrap_err();
    /// assert_eq!(late.kind(), ErrorKind::TimedOut);
    /// assert_eq!(driver.overdue(Duration::from_secs(5)).len(), 1);
    /// sim.sleep(Duration::from_secs(3600)); // The disk is back.
    /// let (result, page) = driver.block_on(file.read_exact_at(vec![0; 4096], 0))?;
    /// result?;
    /// assert_eq!(page, [7; 4096]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// A call that a thread would make for a [`File`](linux_aio::File) is made in the poll, so it
    /// takes the whole time there: open files before.
    #[doc(alias = "hang")]
    pub fn stall(&self, time: Duration) {
        self.shared.world().stall(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Changes what may go wrong from now on: a disk that is full and then is not, or that fails
    /// once the test is prepared.
    ///
    /// ```
    /// use linux_aio::{File, LocalDriver};
    /// use linux_aio_sim::{Faults, Sim};
    /// use std::io::ErrorKind;
    ///
    /// let mut faults = Faults::none();
    /// faults.capacity = 4096;
    /// let sim = Sim::new(1, faults);
    /// let _entered = sim.enter();
    /// let driver = LocalDriver::new(8)?;
    /// driver.block_on(async {
    ///     let options = File::options().write(true).create(true);
    ///     let log = options.open(&driver, sim.path("log")).await?;
    ///     let (result, record) = log.write_all_at(vec![7; 5000], 0).await;
    ///     assert_eq!(result.unwrap_err().kind(), ErrorKind::StorageFull);
    ///     sim.set_faults(Faults::none()); // Somebody has made room.
    ///     log.write_all_at(record, 0).await.0
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// If [`Faults::sector`] is another one: the disk stays as it was made.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.world().set_faults(faults);
    }

    /// Returns the time as an `Instant`, for deadlines: that of [`now`](Self::now) after a start
    /// that all simulations share.
    ///
    /// Deadlines of the drivers go by this clock. `Instant::now` is that of the machine.
    ///
    /// ```
    /// use linux_aio::{Driver, PollEvents, op::Poll};
    /// use linux_aio_sim::{Executor, Faults, Sim};
    /// use std::time::Duration;
    ///
    /// let sim = Sim::new(1, Faults::none());
    /// let _entered = sim.enter();
    /// let executor = Executor::new(&sim);
    /// let driver = Driver::on_thread(8)?;
    /// let (silent, _writer) = std::os::unix::net::UnixStream::pair()?;
    /// let deadline = sim.instant() + Duration::from_secs(3600);
    /// let poll = driver.perform(Poll::new(silent, PollEvents::IN)).deadline(deadline);
    /// assert!(executor.block_on(poll).is_err());
    /// assert_eq!(sim.now().as_secs(), 3600, "an hour that took no time");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn instant(&self) -> Instant {
        let _entered = self.enter();
        now().expect("the thread has entered a simulation")
    }

    /// Lets time pass until the next operation completes. Returns `false` if none is in flight.
    ///
    /// A program that waits for [`Queue::completion_fd`](linux_aio::Queue::completion_fd) in an
    /// event loop makes no system call by which time could pass. Its test calls this in place of
    /// the wait.
    pub fn run_next(&self) -> bool {
        self.shared.go_on()
    }

    /// Has this machine do the work of the threads of drivers that are made from now on, between
    /// the tasks of a runtime: in [`run_next`](Self::run_next) and [`park`](Self::park). An
    /// [`Executor`](crate::Executor) does so by itself.
    ///
    /// It also says that a runtime or loop makes these calls while futures of a
    /// [`LocalDriver`](linux_aio::LocalDriver) wait. Otherwise such a future panics that waits
    /// outside of its driver's `block_on`.
    pub fn adopt_threads(&self) {
        self.shared.expect_helpers(false);
    }

    /// Lets time pass until a task may go on, if one can. A runtime of one thread calls it before
    /// it sleeps.
    ///
    /// tokio with a paused clock:
    ///
    /// ```
    /// use linux_aio::op::Write;
    /// use linux_aio_sim::{Faults, Sim};
    ///
    /// let sim = Sim::new(1, Faults::legal());
    /// let _entered = sim.enter();
    /// sim.adopt_threads();
    /// let park = sim.clone();
    /// let runtime = tokio::runtime::Builder::new_current_thread()
    ///     .enable_all()
    ///     .start_paused(true)
    ///     .on_thread_park(move || park.park())
    ///     .build()?;
    /// runtime.block_on(async {
    ///     let driver = linux_aio::tokio::driver(8)?;
    ///     let write = Write::new(sim.file("data"), vec![7; 512], 0);
    ///     assert!(driver.perform(write).await.0.is_ok());
    ///     driver.close().await;
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # ?; Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// The disk goes first: tokio's clock moves only when nothing is in flight.
    #[doc(alias = "start_paused")]
    pub fn park(&self) {
        self.shared.world().has_signalled = false;
        while !self.shared.world().has_signalled && self.shared.go_on() {}
    }

    /// Returns a number below `limit` that follows from the seed, or 0 if `limit` is 0. Tests
    /// choose by it what they do.
    pub fn below(&self, limit: u64) -> u64 {
        self.shared.world().random.below(limit)
    }

    /// Returns what has happened so far, a line for each event; nothing if the machine was not made
    /// by [`with_trace`](Self::with_trace) or [`check`](crate::check).
    ///
    /// The trace names files and contexts, and no descriptors or addresses. So it is the same in
    /// every run of a seed.
    pub fn trace(&self) -> String {
        self.shared.world().trace.clone().unwrap_or_default()
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = self.now();
        f.debug_struct("Sim").field("seed", &self.seed()).field("now", &now).finish()
    }
}
