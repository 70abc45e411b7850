//! In a [`Queue`] that owns its files and buffers.

use super::Runner;
use super::step::{StepOperation, Varied};
use crate::clock::{Clock, Latencies, NoClock, Watch};
use crate::load::{Cursor, Kind, Load};
use anyhow::{Result, anyhow};
use linux_aio::op::{Read, Write};
use linux_aio::{AlignedBuf, Queue};
use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

/// A queue whose operations have nothing riding along, and one for when time is taken, which is
/// made when it is first asked for.
struct InQueue<O: StepOperation + 'static, const IN_PLACE: bool> {
    queue: Queue<(O, ())>,
    timed: Option<Queue<(O, Instant)>>,
    supply: Supply,
}

/// Holds what operations are made from.
struct Supply {
    cursor: Cursor,
    /// Empty while they are in the queue.
    buffers: Vec<AlignedBuf>,
    load: Arc<Load>,
}

/// Moves operations in and out by value.
pub fn prepare(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    prepare_as::<false>(load)
}

/// Changes operations in their slots, and pushes them there.
pub fn prepare_in_place(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    prepare_as::<true>(load)
}

fn prepare_as<const IN_PLACE: bool>(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    match load.kind {
        Kind::Read => InQueue::<Read<Arc<File>, AlignedBuf>, IN_PLACE>::prepare(load),
        Kind::Write => InQueue::<Write<Arc<File>, AlignedBuf>, IN_PLACE>::prepare(load),
        Kind::Mixed | Kind::Sync => {
            InQueue::<Varied<Arc<File>, AlignedBuf>, IN_PLACE>::prepare(load)
        }
    }
}

impl<O, const IN_PLACE: bool> InQueue<O, IN_PLACE>
where
    O: StepOperation<File = Arc<File>, Buf = AlignedBuf> + 'static,
{
    fn prepare(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
        let (buffers, load) = (load.buffers()?, Arc::clone(load));
        let queue = Queue::with_capacity(load.depth)?;
        let supply = Supply { cursor: Cursor::default(), buffers, load };
        Ok(Box::new(Self { queue, timed: None, supply }))
    }
}

impl<O, const IN_PLACE: bool> Runner for InQueue<O, IN_PLACE>
where
    O: StepOperation<File = Arc<File>, Buf = AlignedBuf> + 'static,
{
    fn run(&mut self, operations: u64, latencies: Option<&mut Latencies>) -> Result<()> {
        let Self { queue, timed, supply } = self;
        let Some(latencies) = latencies else {
            return run::<O, _, IN_PLACE>(queue, supply, operations, NoClock);
        };
        let queue = match timed {
            Some(queue) => queue,
            None => timed.insert(Queue::with_capacity(supply.load.depth)?),
        };
        run::<O, _, IN_PLACE>(queue, supply, operations, Watch(latencies))
    }
}

fn run<O, C, const IN_PLACE: bool>(
    queue: &mut Queue<(O, C::Mark)>,
    supply: &mut Supply,
    operations: u64,
    mut clock: C,
) -> Result<()>
where
    O: StepOperation<File = Arc<File>, Buf = AlignedBuf> + 'static,
    C: Clock,
{
    let Supply { cursor, buffers, load } = supply;
    for buf in buffers.drain(..) {
        let (step, file) = cursor.next_with_file(load);
        let op = O::new(Arc::clone(file), buf, step);
        queue.push((op, clock.begin())).map_err(|refused| anyhow!("{refused}"))?;
    }
    queue.submit()?;
    let again = operations - u64::from(load.depth);
    if IN_PLACE {
        in_place(queue, cursor, load, again, &mut clock)?;
    } else {
        by_value(queue, cursor, load, again, &mut clock)?;
    }
    while let Some(done) = queue.wait()? {
        let (op, mark) = done.op;
        load.check(op.action(), done.result.map(|count| count as usize))?;
        clock.end(mark);
        buffers.push(op.into_buf());
    }
    Ok(())
}

/// Ends and begins `again` operations, by value.
#[inline(never)]
fn by_value<O, C>(
    queue: &mut Queue<(O, C::Mark)>,
    cursor: &mut Cursor,
    load: &Load,
    again: u64,
    clock: &mut C,
) -> Result<()>
where
    O: StepOperation<File = Arc<File>> + 'static,
    C: Clock,
{
    for _ in 0..again / u64::from(load.batch) {
        for _ in 0..load.batch {
            let done = queue.wait()?.ok_or_else(nothing_in_flight)?;
            let (mut op, mark) = done.op;
            load.check(op.action(), done.result.map(|count| count as usize))?;
            clock.end(mark);
            let (step, file) = cursor.next(load);
            op.change(file.cloned(), step);
            queue.push((op, clock.begin())).map_err(|refused| anyhow!("{refused}"))?;
        }
        queue.submit()?;
    }
    Ok(())
}

/// Ends and begins `again` operations, which stay where they are.
#[inline(never)]
fn in_place<O, C>(
    queue: &mut Queue<(O, C::Mark)>,
    cursor: &mut Cursor,
    load: &Load,
    again: u64,
    clock: &mut C,
) -> Result<()>
where
    O: StepOperation<File = Arc<File>> + 'static,
    C: Clock,
{
    for _ in 0..again / u64::from(load.batch) {
        for _ in 0..load.batch {
            let mut done = queue.wait_ready()?.ok_or_else(nothing_in_flight)?;
            let result = done.result().map(|count| count as usize);
            let (op, mark) = done.op_mut();
            load.check(op.action(), result)?;
            clock.end(*mark);
            let (step, file) = cursor.next(load);
            op.change(file.cloned(), step);
            *mark = clock.begin();
            done.push_again();
        }
        queue.submit()?;
    }
    Ok(())
}

#[cold]
fn nothing_in_flight() -> anyhow::Error {
    anyhow!("nothing is in flight")
}
