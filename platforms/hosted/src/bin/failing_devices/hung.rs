//! What must hold of a driver on a device that hangs: one that is suspended, and resumed later.

use crate::disk::{BLOCK, BLOCKS, Disk};
use crate::mapper::Mapped;
use crate::report::{Outcome, at, ensure};
use crate::ways::{Owned, WAYS, owned};
use linux_aio::op::Read;
use linux_aio::{AlignedBuf, Driver, LocalDriver, Operation, Overdue, TimedOut};
use rustix::fs::OFlags;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

/// Operations in flight at most.
const DEPTH: usize = 4;
/// A time in which the device does nothing.
const MOMENT: Duration = Duration::from_millis(50);

/// A driver, and how a program waits with it.
pub trait Waits: Clone {
    fn with_capacity(capacity: u32) -> std::io::Result<Self>;
    fn block_on<F: Future>(&self, future: F) -> F::Output;
    /// Performs an operation, and gives it up after a moment. `None` if it has ended.
    fn give_up<O: Operation + Send + 'static>(&self, op: O) -> Option<TimedOut<O>>;
    fn overdue(&self) -> Vec<Overdue>;
    fn end(&self);
    /// Returns the number of operations that keep the driver from its end.
    fn unfinished_within(&self, time: Duration) -> usize;
}

macro_rules! waits {
    ($driver:ty, $new:ident, $block_on:expr) => {
        impl Waits for $driver {
            fn with_capacity(capacity: u32) -> std::io::Result<Self> {
                Self::$new(capacity)
            }

            fn block_on<F: Future>(&self, future: F) -> F::Output {
                $block_on(self, future)
            }

            fn give_up<O: Operation + Send + 'static>(&self, op: O) -> Option<TimedOut<O>> {
                Waits::block_on(self, self.perform(op).timeout(MOMENT)).err()
            }

            fn overdue(&self) -> Vec<Overdue> {
                self.overdue(Duration::ZERO)
            }

            fn end(&self) {
                Waits::block_on(self, self.clone().close());
            }

            fn unfinished_within(&self, time: Duration) -> usize {
                match Waits::block_on(self, self.clone().close_within(time)) {
                    Ok(()) => 0,
                    Err(unfinished) => unfinished.operations().len(),
                }
            }
        }
    };
}

waits!(Driver, on_thread, |_: &Self, future| pollster::block_on(future));
waits!(LocalDriver, new, |this: &Self, future| this.block_on(future));

/// An operation, and a count of those that are still there.
type Counted = (Owned, Arc<()>);

/// Calls `while_suspended`, and resumes the device, whatever that has found.
fn suspended<R>(
    mapped: &Mapped,
    while_suspended: impl FnOnce() -> Result<R, String>,
) -> Result<R, String> {
    mapped.suspend()?;
    let found = while_suspended();
    mapped.resume()?;
    found
}

/// Gives an operation up that the kernel has. On a busy machine its time may be over before the
/// driver has submitted it. Then it comes back, and is performed again.
fn leave_with_kernel<D: Waits, O>(driver: &D, mut op: O) -> Outcome
where
    O: Operation + Send + 'static,
{
    while let Some(timed_out) = driver.give_up(op) {
        match timed_out.into_operation() {
            None => return Ok(()),
            Some(back) => op = back,
        }
    }
    Err("the operation has ended".into())
}

/// Goal: deadlines fire on a device that hangs, and what the kernel has is kept until it is
/// finished. Method: more writes than slots, each with a deadline. Once the device is resumed, the
/// blocks hold what was to be written, which they would not if a buffer had been freed.
pub fn deadlines<D: Waits>(mapped: &Mapped, disk: &mut Disk) -> Outcome {
    let driver = D::with_capacity(DEPTH as u32).map_err(at("a driver"))?;
    let alive = Arc::new(());
    let there = || Arc::strong_count(&alive) - 1;
    disk.next_version();
    let first_block = |number| number * BLOCKS / DEPTH;
    suspended(mapped, || {
        for number in 0..DEPTH {
            let block = first_block(number);
            let op: Counted = (owned(&disk.file, disk.write(block..block + 1)), alive.clone());
            leave_with_kernel(&driver, op).map_err(at("an operation with a slot"))?;
        }
        let op: Counted = (owned(&disk.file, disk.read(0..1)), alive.clone());
        let Some(timed_out) = driver.give_up(op) else {
            return Err("the operation without a slot has ended".into());
        };
        ensure(timed_out.into_operation().is_some(), || {
            "the operation without a slot did not come back".into()
        })?;
        let overdue = driver.overdue().len();
        ensure((overdue, there()) == (DEPTH, DEPTH), || {
            format!("{overdue} of {DEPTH} operations are overdue, {} are there", there())
        })
    })?;
    driver.end();
    ensure(there() == 0, || format!("{} operations are there after the end", there()))?;
    for number in 0..DEPTH {
        let block = first_block(number);
        disk.check(Ok(BLOCK as u32), &disk.write(block..block + 1))?;
    }
    let reads = (0..BLOCKS).map(|block| disk.read(block..block + 1)).collect();
    disk.run(WAYS[0].1, reads).map(drop)
}

/// Goal: a driver ends in time on a device that hangs, and keeps the buffer until the kernel is
/// finished. Method: `close_within`. When the device is resumed, the operation is dropped.
pub fn end_of_a_driver(mapped: &Mapped, disk: &mut Disk) -> Outcome {
    let alive = Arc::new(());
    let driver = gives_up::<Driver>(mapped, disk, &alive)?;
    // The driver's thread does it. If it does not, the guest runs out of time.
    while Arc::strong_count(&alive) > 1 {
        sleep(Duration::from_millis(1));
    }
    drop(driver);
    Ok(())
}

/// Goal: the same for a local driver, whose drop does not wait either: it leaks what the kernel
/// has. A driver that somebody goes on with ends when the device is resumed.
pub fn end_of_a_local_driver(mapped: &Mapped, disk: &mut Disk) -> Outcome {
    let alive = Arc::new(());
    let driver = gives_up::<LocalDriver>(mapped, disk, &alive)?;
    driver.end();
    ensure(Arc::strong_count(&alive) == 1, || "the operation is there after the end".into())?;
    suspended(mapped, || {
        let driver = LocalDriver::with_capacity(DEPTH as u32).map_err(at("a driver"))?;
        let op: Counted = (owned(&disk.file, disk.read(0..1)), alive.clone());
        leave_with_kernel(&driver, op)?;
        let unfinished = driver.unfinished_within(MOMENT);
        drop(driver);
        let there = Arc::strong_count(&alive) - 1;
        ensure((unfinished, there) == (1, 1), || {
            format!("{unfinished} operations are unfinished, {there} are there after the drop")
        })
    })
}

/// Has `close_within` give up on a device that hangs.
fn gives_up<D: Waits>(mapped: &Mapped, disk: &mut Disk, alive: &Arc<()>) -> Result<D, String> {
    let driver = D::with_capacity(DEPTH as u32).map_err(at("a driver"))?;
    suspended(mapped, || {
        let op: Counted = (owned(&disk.file, disk.read(0..1)), alive.clone());
        leave_with_kernel(&driver, op)?;
        let unfinished = driver.unfinished_within(MOMENT);
        let there = Arc::strong_count(alive) - 1;
        ensure((unfinished, there) == (1, 1), || {
            format!("{unfinished} operations are unfinished, {there} are there")
        })
    })?;
    Ok(driver)
}

/// Goal: a process comes to its end on a device that hangs. Method: another process, which says so
/// when nothing of the program is left to do. The kernel waits for its operation, so the process is
/// gone when the device is resumed.
pub fn end_of_a_process(mapped: &Mapped) -> Outcome {
    let mut child = suspended(mapped, || {
        let mut child = Command::new("/proc/self/exe")
            .args([GIVE_UP, &mapped.path])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(at("another process"))?;
        let mut said = [0];
        let mut output = child.stdout.take().expect("it is piped");
        output.read_exact(&mut said).map_err(at("what the process says"))?;
        sleep(MOMENT);
        let ended = child.try_wait().map_err(at("the process"))?.is_some();
        println!("fact process-with-held-operation {}", if ended { "ends" } else { "waits" });
        Ok(child)
    })?;
    let status = child.wait().map_err(at("the process"))?;
    ensure(status.success(), || format!("the process ended with {status}"))
}

/// The argument of that process, before the path of the device.
pub const GIVE_UP: &str = "give-up";

/// What that process does.
pub fn give_up(path: &str) -> ExitCode {
    let direct = OFlags::DIRECT.bits() as i32;
    let file = File::options().read(true).custom_flags(direct).open(path).expect("the device");
    gives_up_and_ends::<LocalDriver>(&file);
    gives_up_and_ends::<Driver>(&file);
    std::io::stdout().write_all(b".").expect("somebody listens");
    std::io::stdout().flush().expect("somebody listens");
    ExitCode::SUCCESS
}

fn gives_up_and_ends<D: Waits>(file: &File) {
    let driver = D::with_capacity(DEPTH as u32).expect("a driver");
    let file = file.try_clone().expect("a descriptor");
    let read = Read::new(file, AlignedBuf::new(BLOCK).expect("memory"), 0);
    leave_with_kernel(&driver, read).expect("the device does nothing");
    assert_eq!(driver.unfinished_within(MOMENT), 1, "the device does nothing");
}
