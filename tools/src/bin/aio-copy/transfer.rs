//! The copying: each block is read, then written, in one buffer that then takes the next one.

use crate::Shape;
use crate::block::{Advance, Block, Piece, pieces};
use crate::monitor::Monitor;
use crate::source::Source;
use crate::target::Target;
use anyhow::{Context, Result, bail};
use linux_aio::op::{Read, Write};
use linux_aio::{AlignedBuf, Operation, Prepared, Queue};
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

/// What a block is waiting for.
enum Step {
    Read(Read<Arc<File>, Block>),
    Write(Write<Arc<File>, Block>),
}

impl Operation for Step {
    fn prepare(&mut self) -> Prepared<'_> {
        match self {
            Self::Read(read) => read.prepare(),
            Self::Write(write) => write.prepare(),
        }
    }
}

/// Copies the ranges of the source that hold data.
pub(crate) fn copy(
    source: &Source,
    target: &Target,
    data: &[Range<u64>],
    shape: Shape,
    monitor: &Monitor,
) -> Result<()> {
    let mut queue = Queue::with_capacity(shape.depth)?;
    let mut pieces = pieces(data.iter().cloned(), shape.block);

    for piece in pieces.by_ref().take(queue.capacity()) {
        let block = Block::new(AlignedBuf::new(shape.block)?, piece);
        queue.push(Step::Read(source.read(block)))?;
    }
    while let Some(done) = queue.wait()? {
        monitor.ensure_not_interrupted()?;
        let next = match done.op {
            Step::Read(read) => {
                let count = done.result.with_context(|| source.at("reading", read.offset))?;
                Some(after_read(read.buf, count, source, target)?)
            }
            Step::Write(write) => {
                let count = done.result.with_context(|| target.at("writing", write.offset))?;
                after_write(write.buf, count, source, target, &mut pieces, monitor)?
            }
        };
        if let Some(step) = next {
            queue.push(step)?;
        }
    }
    Ok(())
}

/// Writes what was read, or reads the rest.
fn after_read(mut block: Block, count: u32, source: &Source, target: &Target) -> Result<Step> {
    match block.advance(count) {
        Advance::Whole => Ok(Step::Write(target.write(block))),
        Advance::Part => Ok(Step::Read(source.read(block))),
        Advance::Unaligned => {
            source.finish_reading(&mut block, count)?;
            Ok(Step::Write(target.write(block)))
        }
        Advance::Nothing => bail!(source.ended_at(block.position())),
    }
}

/// Reads the next piece, or writes the rest.
fn after_write(
    mut block: Block,
    count: u32,
    source: &Source,
    target: &Target,
    pieces: &mut impl Iterator<Item = Piece>,
    monitor: &Monitor,
) -> Result<Option<Step>> {
    match block.advance(count) {
        Advance::Whole => {}
        Advance::Part => return Ok(Some(Step::Write(target.write(block)))),
        Advance::Unaligned => target.finish_writing(&mut block, count)?,
        Advance::Nothing => bail!(target.at("no progress in writing", block.position())),
    }
    monitor.add(block.piece().len as u64);
    Ok(pieces.next().map(|piece| Step::Read(source.read(block.reuse(piece)))))
}
