//! What must hold of a driver on a device that hangs: one that is suspended, and resumed later.

use crate::disk::{BLOCK, BLOCKS, Disk};
use crate::mapper::Mapped;
use crate::report::{Outcome, at, ensure};
use crate::ways::{Owned, WAYS, owned};
use linux_aio::op::Read;
use linux_aio::{AlignedBuf, Driver};
use pollster::block_on;
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

/// Goal: deadlines fire on a device that hangs, and what the kernel has is kept until it is
/// finished. Method: more writes than slots, each with a deadline. Once the device is resumed, the
/// blocks hold what was to be written, which they would not if a buffer had been freed.
pub fn deadlines(mapped: &Mapped, disk: &mut Disk) -> Outcome {
    let driver = Driver::on_thread(DEPTH as u32).map_err(at("a driver"))?;
    let alive = Arc::new(());
    let there = || Arc::strong_count(&alive) - 1;
    disk.next_version();
    let first_block = |number| number * BLOCKS / DEPTH;
    suspended(mapped, || {
        for number in 0..DEPTH {
            let block = first_block(number);
            let op: Counted = (owned(&disk.file, disk.write(block..block + 1)), alive.clone());
            let Err(timed_out) = block_on(driver.perform(op).timeout(MOMENT)) else {
                return Err(format!("operation {number} has ended"));
            };
            ensure(timed_out.into_operation().is_none(), || {
                format!("operation {number} came back, and the kernel has it")
            })?;
        }
        let op: Counted = (owned(&disk.file, disk.read(0..1)), alive.clone());
        let Err(timed_out) = block_on(driver.perform(op).timeout(MOMENT)) else {
            return Err("the operation without a slot has ended".into());
        };
        ensure(timed_out.into_operation().is_some(), || {
            "the operation without a slot did not come back".into()
        })?;
        let overdue = driver.overdue(Duration::ZERO).len();
        ensure((overdue, there()) == (DEPTH, DEPTH), || {
            format!("{overdue} of {DEPTH} operations are overdue, {} are there", there())
        })
    })?;
    block_on(driver.close());
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
    let driver = Driver::on_thread(DEPTH as u32).map_err(at("a driver"))?;
    let alive = Arc::new(());
    let there = || Arc::strong_count(&alive) - 1;
    suspended(mapped, || {
        let op: Counted = (owned(&disk.file, disk.read(0..1)), alive.clone());
        let ended = block_on(driver.perform(op).timeout(MOMENT)).is_ok();
        ensure(!ended, || "the operation has ended".into())?;
        let unfinished = match block_on(driver.close_within(MOMENT)) {
            Ok(()) => 0,
            Err(unfinished) => unfinished.operations().len(),
        };
        ensure((unfinished, there()) == (1, 1), || {
            format!("{unfinished} operations are unfinished, {} are there", there())
        })
    })?;
    // The driver's thread does it. If it does not, the guest runs out of time.
    while there() > 0 {
        sleep(Duration::from_millis(1));
    }
    Ok(())
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
    let driver = Driver::on_thread(DEPTH as u32).expect("a driver");
    let read = Read::new(file, AlignedBuf::new(BLOCK).expect("memory"), 0);
    block_on(driver.perform(read).timeout(MOMENT)).expect_err("the device does nothing");
    block_on(driver.close_within(MOMENT)).expect_err("the device does nothing");
    std::io::stdout().write_all(b".").expect("somebody listens");
    std::io::stdout().flush().expect("somebody listens");
    ExitCode::SUCCESS
}
