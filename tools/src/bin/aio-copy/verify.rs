//! The comparison: each piece is read from the source, then from the target.

use crate::block::{Advance, Block, pieces};
use crate::monitor::Monitor;
use crate::source::Source;
use crate::target::Target;
use crate::{Shape, direct};
use anyhow::{Context, Result, bail};
use linux_aio::op::Read;
use linux_aio::{AlignedBuf, Queue};
use std::fs::File;
use std::iter;
use std::sync::Arc;

/// Which file is being read, and the other buffer of the pair.
enum Turn {
    Source { spare: Block },
    Target { expected: Block },
}

/// The turn rides along with the read.
type Step = (Read<Arc<File>, Block>, Turn);

/// Reads both files whole, holes too, and fails where they differ.
pub(crate) fn compare(
    source: &Source,
    target: &Target,
    shape: Shape,
    monitor: &Monitor,
) -> Result<()> {
    direct::drop_cache(&source.file)?;
    direct::drop_cache(&target.file)?;
    let mut queue: Queue<Step> = Queue::with_capacity(shape.depth)?;
    let mut pieces = pieces(iter::once(0..source.size), shape.block);

    for piece in pieces.by_ref().take(queue.capacity()) {
        let block = Block::new(AlignedBuf::new(shape.block)?, piece);
        let spare = Block::new(AlignedBuf::new(shape.block)?, piece);
        queue.push((source.read(block), Turn::Source { spare }))?;
    }
    while let Some(done) = queue.wait()? {
        monitor.ensure_not_interrupted()?;
        let (read, turn) = done.op;
        let at = read.offset;
        let mut block = read.buf;
        let count = done.result.with_context(|| turn.at(source, target, at))?;
        let mut advance = block.advance(count);
        if let Advance::Unaligned = advance {
            match turn {
                Turn::Source { .. } => source.finish_reading(&mut block, count)?,
                Turn::Target { .. } => target.finish_reading(&mut block, count)?,
            }
            advance = Advance::Whole;
        }
        let next = match (advance, turn) {
            (Advance::Unaligned | Advance::Nothing, turn) => {
                bail!("nothing came from {}", turn.at(source, target, at))
            }
            (Advance::Part, turn @ Turn::Source { .. }) => Some((source.read(block), turn)),
            (Advance::Part, turn @ Turn::Target { .. }) => Some((target.read(block), turn)),
            (Advance::Whole, Turn::Source { spare }) => {
                let spare = spare.reuse(block.piece());
                Some((target.read(spare), Turn::Target { expected: block }))
            }
            (Advance::Whole, Turn::Target { expected }) => {
                ensure_equal(&expected, &block, target)?;
                monitor.add(block.piece().len as u64);
                let turn = Turn::Source { spare: block };
                pieces.next().map(|piece| (source.read(expected.reuse(piece)), turn))
            }
        };
        if let Some(step) = next {
            queue.push(step)?;
        }
    }
    Ok(())
}

impl Turn {
    fn at(&self, source: &Source, target: &Target, offset: u64) -> String {
        match self {
            Self::Source { .. } => source.at("reading", offset),
            Self::Target { .. } => target.at("reading the copy of", offset),
        }
    }
}

fn ensure_equal(expected: &Block, found: &Block, target: &Target) -> Result<()> {
    let (expected, found, offset) = (expected.bytes(), found.bytes(), expected.piece().offset);
    if expected == found {
        return Ok(());
    }
    let same = expected.iter().zip(found).take_while(|(expected, found)| expected == found).count();
    bail!(target.at("the copy differs:", offset + same as u64));
}
