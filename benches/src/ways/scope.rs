//! In an [`IoContext::scope`], on borrowed files and buffers.

use super::Runner;
use super::step::{StepOperation, Varied};
use crate::clock::{Clock, Latencies, NoClock, Watch};
use crate::load::{Cursor, Kind, Load};
use anyhow::{Result, anyhow};
use linux_aio::op::{Read, Write};
use linux_aio::{AlignedBuf, IoContext, Slot};
use std::fs::File;
use std::sync::Arc;

/// Holds a context, and what its operations borrow.
pub struct InScope {
    context: IoContext,
    buffers: Vec<AlignedBuf>,
    cursor: Cursor,
    load: Arc<Load>,
}

/// Moves operations in and out by value.
pub fn prepare(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    let context = IoContext::new(load.depth)?;
    let (buffers, load) = (load.buffers()?, Arc::clone(load));
    Ok(Box::new(InScope { context, buffers, cursor: Cursor::default(), load }))
}

impl InScope {
    fn by_kind<C: Clock>(&mut self, operations: u64, clock: C) -> Result<()> {
        let load = Arc::clone(&self.load);
        match load.kind {
            Kind::Read => self.by_value::<Read<&File, &mut [u8]>, C>(&load, operations, clock),
            Kind::Write => self.by_value::<Write<&File, &mut [u8]>, C>(&load, operations, clock),
            Kind::Mixed | Kind::Sync => {
                self.by_value::<Varied<&File, &mut [u8]>, C>(&load, operations, clock)
            }
        }
    }

    #[inline(never)]
    fn by_value<'l, O, C>(&'l mut self, load: &'l Load, operations: u64, mut clock: C) -> Result<()>
    where
        O: StepOperation<File = &'l File, Buf = &'l mut [u8]>,
        C: Clock,
    {
        let Self { context, buffers, cursor, .. } = self;
        let mut slots: Vec<_> = (0..load.depth).map(|_| Slot::<(O, C::Mark)>::new()).collect();
        linux_aio::scope(context, &mut slots, |io| {
            for buf in buffers {
                let (step, file) = cursor.next_with_file(load);
                let op = O::new(file, buf, step);
                io.push((op, clock.begin())).map_err(|refused| anyhow!("{refused}"))?;
            }
            io.submit()?;
            for _ in 0..(operations - u64::from(load.depth)) / u64::from(load.batch) {
                for _ in 0..load.batch {
                    let done = io.wait()?.ok_or_else(|| anyhow!("nothing is in flight"))?;
                    let (mut op, mark) = done.op;
                    load.check(op.action(), done.result.map(|count| count as usize))?;
                    clock.end(mark);
                    let (step, file) = cursor.next(load);
                    op.change(file.map(|file| &**file), step);
                    io.push((op, clock.begin())).map_err(|refused| anyhow!("{refused}"))?;
                }
                io.submit()?;
            }
            while let Some(done) = io.wait()? {
                load.check(done.op.0.action(), done.result.map(|count| count as usize))?;
                clock.end(done.op.1);
            }
            Ok(())
        })?
    }
}

impl Runner for InScope {
    fn run(&mut self, operations: u64, latencies: Option<&mut Latencies>) -> Result<()> {
        match latencies {
            None => self.by_kind(operations, NoClock),
            Some(latencies) => self.by_kind(operations, Watch(latencies)),
        }
    }
}
