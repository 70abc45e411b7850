//! Every operation, on each place: what was written is what is read, by these calls and by others.

use linux_aio::abi::{
    IOCB_CMD_FDSYNC, IOCB_CMD_FSYNC, POLLIN, POLLOUT, RWF_DSYNC, RWF_SYNC, iovec,
};
use linux_aio_freestanding::kernel;
use linux_aio_freestanding::{fill, filled_with};

use crate::place::{Check, Place};
use crate::raw::{BLOCK, Block, Context, Request};
use crate::report::{Outcome, Why, equal, that};

/// The checks of this file.
pub const CHECKS: &[Check] = &[
    ("pwrite-and-pread", plain),
    ("pwritev-and-preadv", vectored),
    ("many-blocks-at-their-offsets", many),
    ("fsync-and-fdsync", sync),
    ("rwf-dsync-and-sync", write_through),
    ("poll-completes-at-once", poll),
];

/// Where the checks write, in blocks; `many` comes after it.
const FIRST: u64 = 2;

fn plain(place: &Place) -> Outcome {
    let at = FIRST * BLOCK as u64;
    let context = Context::new(4)?;
    let mut block = Block::new();
    fill(&mut block.0, 10);
    let event = context.run(&mut Request::write(place.file, &block.0, at))?;
    equal("written", event.res, BLOCK as i64)?;
    block.0.fill(0);
    equal("bytes read otherwise", kernel::read_at(place.file, &mut block.0, at)?, BLOCK)?;
    that("the data read otherwise", filled_with(&block.0, 10))?;
    block.0.fill(0);
    let event = context.run(&mut Request::read(place.file, &mut block.0, at))?;
    equal("read", event.res, BLOCK as i64)?;
    that("the data", filled_with(&block.0, 10))
}

fn vectored(place: &Place) -> Outcome {
    let at = (FIRST + 1) * BLOCK as u64;
    let context = Context::new(4)?;
    let mut vectors = [iovec::default(); 2];
    let mut blocks = [Block::new(), Block::new()];
    for (block, number) in blocks.iter_mut().zip(20..) {
        fill(&mut block.0, number);
    }
    let [first, second] = &blocks;
    let halves = [&first.0[..], &second.0[..]];
    let event = context.run(&mut Request::write_vectored(place.file, &mut vectors, halves, at))?;
    equal("written", event.res, 2 * BLOCK as i64)?;
    for block in &mut blocks {
        block.0.fill(0);
    }
    let [first, second] = &mut blocks;
    let halves = [&mut first.0[..], &mut second.0[..]];
    let event = context.run(&mut Request::read_vectored(place.file, &mut vectors, halves, at))?;
    equal("read", event.res, 2 * BLOCK as i64)?;
    that("the first", filled_with(&blocks[0].0, 20))?;
    that("the second", filled_with(&blocks[1].0, 21))?;
    let number = kernel::read_at(place.file, &mut blocks[0].0, at + BLOCK as u64)?;
    equal("bytes read otherwise", number, BLOCK)?;
    that("the second, read otherwise", filled_with(&blocks[0].0, 21))
}

fn many(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    let numbers = FIRST + 3..FIRST + 35;
    let mut block = Block::new();
    for number in numbers.clone() {
        fill(&mut block.0, number);
        let at = number * BLOCK as u64;
        context.run(&mut Request::write(place.file, &block.0, at))?;
    }
    for number in numbers.rev() {
        let at = number * BLOCK as u64;
        let event = context.run(&mut Request::read(place.file, &mut block.0, at))?;
        if event.res != BLOCK as i64 || !filled_with(&block.0, number) {
            return Err(Why::new(format_args!("block {number}: result {}", event.res)));
        }
    }
    Ok(())
}

fn sync(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    for opcode in [IOCB_CMD_FSYNC, IOCB_CMD_FDSYNC] {
        let event = context.run(&mut Request::bare(opcode, place.file))?;
        equal("result", event.res, 0)?;
    }
    Ok(())
}

fn write_through(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    let mut block = Block::new();
    fill(&mut block.0, 30);
    for flag in [RWF_DSYNC, RWF_SYNC] {
        let mut request = Request::write(place.file, &block.0, 0).rw_flags(flag);
        equal("written", context.run(&mut request)?.res, BLOCK as i64)?;
    }
    Ok(())
}

fn poll(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    let wanted = (POLLIN | POLLOUT) as u64;
    let event = context.run(&mut Request::poll(place.file, wanted))?;
    equal("events", event.res as u64, wanted)
}
