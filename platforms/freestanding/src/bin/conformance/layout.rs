//! Layout by behaviour: each field of the two records is where the kernel looks for it, since the
//! kernel does what only that field can tell it.

use linux_aio::abi::{
    IOCB_CMD_FSYNC, IOCB_CMD_NOOP, IOCB_CMD_PREAD, IOCB_CMD_PREADX, IOCB_CMD_PWRITEV,
    IOCB_FLAG_IOPRIO, IOCB_FLAG_RESFD, IOPRIO_CLASS_BE, IOPRIO_CLASS_SHIFT, KIOCB_KEY, POLLIN,
    RWF_DSYNC,
};
use linux_aio_freestanding::kernel::{self, errno};
use linux_aio_freestanding::{fill, filled_with};

use crate::place::{Check, Open, Place};
use crate::raw::{BLOCK, Block, Context, Request};
use crate::report::{Outcome, Why, equal, that};

/// The checks of this file.
pub const CHECKS: &[Check] = &[
    ("event-fields", event_fields),
    ("iocb-key-is-written-and-rw-flags-are-not", key_is_written),
    ("iocb-rw-flags", rw_flags),
    ("iocb-opcode", opcode),
    ("iocb-reqprio", reqprio),
    ("iocb-fildes", fildes),
    ("iocb-buf-and-nbytes", buf_and_nbytes),
    ("iocb-nbytes-has-64-bits", nbytes_has_64_bits),
    ("iocb-offset-has-64-bits", offset_has_64_bits),
    ("iocb-offset-is-signed", offset_is_signed),
    ("iocb-reserved2", reserved2),
    ("iocb-flags", flags),
    ("iocb-resfd", resfd),
];

/// A flag of `aio_rw_flags` that no kernel knows, and no flag of another field.
const UNKNOWN_RWF: i32 = 1 << 30;

fn event_fields(place: &Place) -> Outcome {
    const DATA: u64 = 0x0123_4567_89ab_cdef;
    let context = Context::new(4)?;
    let mut block = Block::new();
    let mut request = Request::write(place.file, &block.0, 0).data(DATA);
    let event = context.run(&mut request)?;
    equal("data", event.data, DATA)?;
    equal("obj", event.obj, request.address())?;
    equal("res", event.res, BLOCK as i64)?;
    equal("res2", event.res2, 0)?;
    // A negative result needs all 64 bits of `res`.
    let mut request = Request::nowhere(IOCB_CMD_PREAD, place.file).data(!DATA);
    let event = context.run(&mut request)?;
    equal("data of the second", event.data, !DATA)?;
    equal("obj of the second", event.obj, request.address())?;
    equal("res of the second", event.res, -i64::from(errno::EFAULT))?;
    equal("res2 of the second", event.res2, 0)?;
    block.0.fill(0);
    Ok(())
}

fn key_is_written(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    let block = Block::new();
    let mut request = Request::write(place.file, &block.0, 0).key(0xffff_ffff).rw_flags(RWF_DSYNC);
    context.run(&mut request)?;
    equal("key", request.iocb().aio_key, KIOCB_KEY)?;
    equal("rw_flags", request.iocb().aio_rw_flags, RWF_DSYNC)
}

fn rw_flags(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    let block = Block::new();
    let mut flagged = Request::write(place.file, &block.0, 0).rw_flags(UNKNOWN_RWF);
    equal("an unknown flag", errno_of(context.run(&mut flagged)), errno::EOPNOTSUPP)?;
    let mut keyed = Request::write(place.file, &block.0, 0).key(UNKNOWN_RWF as u32);
    equal("the same bits as a key", errno_of(context.run(&mut keyed)), 0)
}

fn opcode(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    let first_unknown = IOCB_CMD_PWRITEV + 1;
    for opcode in [IOCB_CMD_PREADX, IOCB_CMD_NOOP, first_unknown, 0x100, 0xffff] {
        let mut request = Request::bare(opcode, place.file);
        if errno_of(context.run(&mut request)) != errno::EINVAL {
            return Err(Why::new(format_args!("opcode {opcode} is not EINVAL")));
        }
    }
    Ok(())
}

fn reqprio(place: &Place) -> Outcome {
    /// A class beyond those that there are.
    const WRONG: i16 = (7_u16 << IOPRIO_CLASS_SHIFT) as i16;
    const RIGHT: i16 = ((IOPRIO_CLASS_BE as u16) << (IOPRIO_CLASS_SHIFT as u16) | 4) as i16;
    let context = Context::new(4)?;
    let block = Block::new();
    let write = || Request::write(place.file, &block.0, 0);
    let mut request = write().reqprio(WRONG).flags(IOCB_FLAG_IOPRIO);
    equal("a class that is none", errno_of(context.run(&mut request)), errno::EINVAL)?;
    equal("ignored", errno_of(context.run(&mut write().reqprio(WRONG))), 0)?;
    let mut request = write().reqprio(RIGHT).flags(IOCB_FLAG_IOPRIO);
    equal("best effort", errno_of(context.run(&mut request)), 0)
}

fn fildes(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    let other = Open(kernel::eventfd()?);
    // An eventfd cannot be synced; the file can.
    let mut request = Request::bare(IOCB_CMD_FSYNC, other.0);
    equal("fsync of an eventfd", errno_of(context.run(&mut request)), errno::EINVAL)?;
    equal("fsync", errno_of(context.run(&mut Request::bare(IOCB_CMD_FSYNC, place.file))), 0)?;
    for file in [-1, i32::MAX, i32::MIN] {
        let mut request = Request::bare(IOCB_CMD_PREAD, file);
        equal("no file", errno_of(context.run(&mut request)), errno::EBADF)?;
    }
    Ok(())
}

fn buf_and_nbytes(place: &Place) -> Outcome {
    const GUARD: u8 = 0xa5;
    let context = Context::new(4)?;
    let mut block = Block::new();
    fill(&mut block.0, 1);
    context.run(&mut Request::write(place.file, &block.0, 0))?;
    // A count and an address that nothing rounds: only files without O_DIRECT take them.
    let mut memory = [GUARD; 600];
    let event = context.run(&mut Request::read(place.file, &mut memory[7..520], 1000))?;
    equal("res", event.res, 513)?;
    that("the data", memory[7..520] == block.0[1000..1513])?;
    let guards = memory[..7].iter().chain(&memory[520..]);
    that("memory beside the buffer", guards.copied().all(|byte| byte == GUARD))
}

fn nbytes_has_64_bits(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    let mut request = Request::of_length(IOCB_CMD_PREAD, place.file, 1 << 63);
    equal("2^63 bytes", errno_of(context.run(&mut request)), errno::EINVAL)?;
    let mut request = Request::of_length(IOCB_CMD_PREAD, place.file, 0);
    equal("0 bytes", errno_of(context.run(&mut request)), 0)
}

fn offset_has_64_bits(place: &Place) -> Outcome {
    const FAR: u64 = (5 << 30) + 3 * BLOCK as u64;
    let context = Context::new(4)?;
    let mut block = Block::new();
    fill(&mut block.0, 2);
    let event = context.run(&mut Request::write(place.file, &block.0, FAR))?;
    equal("res", event.res, BLOCK as i64)?;
    equal("the file's size", kernel::size_of(place.file)?, FAR + BLOCK as u64)?;
    block.0.fill(0);
    let event = context.run(&mut Request::read(place.file, &mut block.0, FAR))?;
    equal("res of the read", event.res, BLOCK as i64)?;
    that("the data", filled_with(&block.0, 2))?;
    block.0.fill(0);
    equal("bytes read otherwise", kernel::read_at(place.file, &mut block.0, FAR)?, BLOCK)?;
    that("the data read otherwise", filled_with(&block.0, 2))
}

fn offset_is_signed(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    let mut block = Block::new();
    let mut request = Request::read(place.file, &mut block.0, 0).offset(-1);
    equal("offset -1", errno_of(context.run(&mut request)), errno::EINVAL)
}

fn reserved2(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    for value in [1, 1 << 63] {
        let mut request = Request::bare(IOCB_CMD_PREAD, place.file).reserved2(value);
        equal("reserved2", errno_of(context.run(&mut request)), errno::EINVAL)?;
    }
    Ok(())
}

fn flags(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    let known = IOCB_FLAG_RESFD | IOCB_FLAG_IOPRIO;
    let mut request = Request::bare(IOCB_CMD_PREAD, place.file).flags(!known);
    equal("unknown flags", errno_of(context.run(&mut request)), 0)?;
    let mut request = Request::bare(IOCB_CMD_PREAD, place.file).flags(IOCB_FLAG_RESFD).resfd(-1);
    equal("RESFD without a file", errno_of(context.run(&mut request)), errno::EBADF)?;
    let mut request = Request::bare(IOCB_CMD_PREAD, place.file).resfd(-1);
    equal("no file without RESFD", errno_of(context.run(&mut request)), 0)
}

fn resfd(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    let counter = Open(kernel::eventfd()?);
    for _ in 0..3 {
        let mut request =
            Request::bare(IOCB_CMD_PREAD, place.file).flags(IOCB_FLAG_RESFD).resfd(counter.0);
        context.run(&mut request)?;
    }
    let mut count = [0; 8];
    kernel::read(counter.0, &mut count)?;
    equal("the count", u64::from_ne_bytes(count), 3)?;
    let mut request =
        Request::bare(IOCB_CMD_PREAD, place.file).flags(IOCB_FLAG_RESFD).resfd(place.file);
    equal("not an eventfd", errno_of(context.run(&mut request)), errno::EINVAL)?;
    // A POLL, too, signals it.
    let mut request =
        Request::poll(place.file, POLLIN as u64).flags(IOCB_FLAG_RESFD).resfd(counter.0);
    context.run(&mut request)?;
    kernel::read(counter.0, &mut count)?;
    equal("the count after a POLL", u64::from_ne_bytes(count), 1)
}

/// The errno of a request, whether it was refused or its event brings it; 0 for success.
pub fn errno_of(run: Result<linux_aio::abi::io_event, i32>) -> i32 {
    match run {
        Err(refused) => refused,
        Ok(event) if event.res < 0 => -event.res as i32,
        Ok(_) => 0,
    }
}
