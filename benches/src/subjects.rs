//! The subjects whose instructions are counted: each way's loop on /dev/zero, and single calls. Run
//! under callgrind, which counts inside of [`measured`] and writes a total down each time it
//! returns.

use crate::device::{Device, Kind};
use crate::load::{self, Load};
use crate::ways::{self, by_c, null, raw};
use anyhow::{Context, Result};
use linux_aio::op::Read;
use linux_aio::{IoContext, Queue, Slot};
use std::fs::File;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// A subject is measured once with this many operations and once with twice as many: the difference
/// is without what begins and ends a loop.
const OPERATIONS: u64 = 3200;

/// Names [`measured`] in the program.
const MEASURED: &str = "linux_aio_measured";

type Subject<'s> = Box<dyn FnMut(u64) -> Result<()> + 's>;

/// Does something that many times.
#[unsafe(export_name = "linux_aio_measured")]
#[inline(never)]
fn measured(subject: &mut Subject<'_>, operations: u64) -> Result<()> {
    subject(operations)
}

/// Runs every subject twice, and prints its name.
///
/// With `futures_only`, runs the ways with futures alone: a quick look at a change of the drivers.
pub fn run(futures_only: bool) -> Result<()> {
    let device = Device::new(Kind::Zero, Path::new("/"), false)?;
    if !futures_only {
        loops(&device)?;
    }
    let load = Arc::new(Load::new(device.target(1)?, load::Kind::Read, 32, 1)?);
    for name in [ways::DRIVER, ways::SHARED, ways::LOCAL, ways::LOCAL_SET] {
        let mut runner = (ways::way(name).context("a way")?.prepare)(&load)?;
        run_one(&format!("{name}, depth 32"), Box::new(|n| runner.run(n, None)))?;
    }
    executors(&load)?;
    if futures_only {
        return Ok(());
    }
    for depth in [1, 32] {
        wait_in_scope(depth)?;
        wait_in_queue(depth)?;
    }
    single_calls()
}

/// Runs the tasks of the ways with futures without an operation in them.
fn executors(load: &Arc<Load>) -> Result<()> {
    let mut tokio = null::prepare(load)?;
    run_one("executor alone, tokio, depth 32", Box::new(|n| tokio.run(n, None)))?;
    let mut local_set = null::prepare_on_local_set(load)?;
    run_one("executor alone, LocalSet, depth 32", Box::new(|n| local_set.run(n, None)))?;
    let mut joined = null::prepare_joined(load)?;
    run_one("executor alone, joined, depth 32", Box::new(|n| joined.run(n, None)))
}

/// Runs the ways that choose their batches.
fn loops(device: &Device) -> Result<()> {
    for batch in [1, 8, 32] {
        let load = Arc::new(Load::new(device.target(1)?, load::Kind::Read, batch, batch)?);
        for name in [ways::RAW, ways::SCOPE, ways::QUEUE, ways::QUEUE_IN_PLACE, ways::C_RING] {
            let way = ways::way(name).context("a way")?;
            let mut runner = (way.prepare)(&load)?;
            run_one(&format!("{name}, batch {batch}"), Box::new(|n| runner.run(n, None)))?;
        }
        let mut prefilled = raw::prepare_prefilled(&load)?;
        run_one(&format!("raw, prefilled, batch {batch}"), Box::new(|n| prefilled.run(n, None)))?;
        let mut prefilled = by_c::prepare_ring_prefilled(&load)?;
        let name = format!("C, ring, prefilled, batch {batch}");
        run_one(&name, Box::new(|n| prefilled.run(n, None)))?;
        let mut library = by_c::prepare_drop_in(&load)?;
        let name = format!("libaio.so.1, batch {batch}");
        run_one(&name, Box::new(|n| library.run(n, None)))?;
    }
    Ok(())
}

/// Does `one` that many times.
fn repeated<'s>(mut one: impl FnMut() -> Result<()> + 's) -> Subject<'s> {
    Box::new(move |count| {
        for _ in 0..count {
            one()?;
        }
        Ok(())
    })
}

/// Runs twice for the count, and once before for what happens only once.
fn run_one(name: &str, mut subject: Subject<'_>) -> Result<()> {
    subject(OPERATIONS)?;
    measured(&mut subject, OPERATIONS)?;
    measured(&mut subject, 2 * OPERATIONS)?;
    println!("{name}");
    Ok(())
}

type Small = Read<Arc<File>, [u8; 16]>;

/// Waits and pushes in a loop, and leaves it to `wait` when to submit.
fn wait_in_scope(depth: usize) -> Result<()> {
    let file = File::open("/dev/zero")?;
    let mut buffers = vec![[0; 16]; depth];
    let mut slots: Vec<_> = (0..depth).map(|_| Slot::new()).collect();
    let mut context = IoContext::new(depth as u32)?;
    linux_aio::scope(&mut context, &mut slots, |io| {
        for buf in &mut buffers {
            io.push(Read::new(&file, buf, 0)).map_err(|refused| refused.errno())?;
        }
        let wait = repeated(|| {
            let done = io.wait()?.context("nothing is in flight")?;
            black_box(done.result?);
            io.push(done.op).map_err(|refused| refused.errno())?;
            Ok(())
        });
        run_one(&format!("Scope::wait and push, depth {depth}"), wait)
    })?
}

/// Does the same as [`wait_in_scope`].
fn wait_in_queue(depth: usize) -> Result<()> {
    let file = Arc::new(File::open("/dev/zero")?);
    let mut queue = Queue::<Small>::with_capacity(depth as u32)?;
    for _ in 0..depth {
        let read = Read::new(Arc::clone(&file), [0; 16], 0);
        queue.push(read).map_err(|refused| refused.errno())?;
    }
    let wait = repeated(|| {
        let done = queue.wait()?.context("nothing is in flight")?;
        black_box(done.result?);
        queue.push(done.op).map_err(|refused| refused.errno())?;
        Ok(())
    });
    run_one(&format!("Queue::wait and push, depth {depth}"), wait)
}

fn single_calls() -> Result<()> {
    let file = Arc::new(File::open("/dev/zero")?);
    let mut context = IoContext::new(1)?;
    let (_, mut reaper) = context.split();
    let mut events = [MaybeUninit::uninit(); 1];
    let reap = repeated(|| {
        black_box(reaper.reap(black_box(&mut events))?);
        Ok(())
    });
    run_one("Reaper::reap, nothing there", reap)?;

    let mut queue = Queue::<Small>::with_capacity(1)?;
    let look = repeated(|| {
        let _ = black_box(queue.try_next());
        Ok(())
    });
    run_one("Queue::try_next, nothing there", look)?;

    // Room for all that are pushed in the three runs. They are never submitted.
    let context = IoContext::new(1)?;
    let capacity = 4 * OPERATIONS as u32;
    let queue = Queue::<Small>::new(context, capacity)?;
    let mut queue = black_box(queue);
    let read = Read::new(file, [0; 16], 0);
    let push = repeated(|| {
        let read = Read::new(Arc::clone(&read.fd), read.buf, 0);
        black_box(queue.push(read).map_err(|refused| refused.errno())?);
        Ok(())
    });
    run_one("Queue::push", push)
}

/// Runs this program under callgrind, and gives each subject's instructions for one operation.
pub fn count(futures_only: bool) -> Result<Vec<(String, f64)>> {
    let folder = tempfile::tempdir()?;
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--quiet", "--error-limit=no"])
        .arg(format!("--toggle-collect={MEASURED}"))
        .arg(format!("--dump-after={MEASURED}"))
        .arg(format!("--callgrind-out-file={}/out", folder.path().display()))
        .arg(std::env::current_exe()?)
        .arg("--subjects")
        .args(futures_only.then_some("--futures"))
        .stderr(Stdio::inherit());
    let ran = valgrind.output().context("valgrind (Debian's package of that name)")?;
    anyhow::ensure!(ran.status.success(), "valgrind: {}", ran.status);
    let mut counts = Vec::new();
    for (number, name) in String::from_utf8(ran.stdout)?.lines().enumerate() {
        let once = total(&folder.path().join(format!("out.{}", 2 * number + 1)))?;
        let twice = total(&folder.path().join(format!("out.{}", 2 * number + 2)))?;
        counts.push((name.to_owned(), (twice - once) / OPERATIONS as f64));
    }
    Ok(counts)
}

/// Returns the instructions that a dump of callgrind has counted.
fn total(dump: &Path) -> Result<f64> {
    let text = std::fs::read_to_string(dump).with_context(|| dump.display().to_string())?;
    let line = text.lines().find_map(|line| line.strip_prefix("totals: "));
    Ok(line.context("a dump without totals")?.trim().parse()?)
}
