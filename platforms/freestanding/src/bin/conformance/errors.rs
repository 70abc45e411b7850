//! Each error that the calls give, where they give it.

use linux_aio::abi::{
    IOCB_CMD_FDSYNC, IOCB_CMD_FSYNC, IOCB_CMD_PREAD, IOCB_CMD_PWRITE, POLLIN, io_event,
};
use linux_aio_freestanding::kernel::{self, errno, flag};

use crate::layout::errno_of;
use crate::place::{Check, Open, Pipe, Place};
use crate::polling::readable;
use crate::raw::{Block, Context, NOW, Request, Way, set_up, set_up_nowhere};
use crate::report::{Outcome, Why, equal, that};

/// The checks of this file.
pub const CHECKS: &[Check] = &[
    ("setup-refuses", setup_refuses),
    ("setup-beyond-the-limit", setup_beyond_the_limit),
    ("submit-refuses", submit_refuses),
    ("submit-accepts-up-to-the-first-bad-one", submit_partly),
    ("submit-when-full", submit_when_full),
    ("submit-checks-the-open-mode", open_mode),
    ("sync-refuses-other-fields", sync_refuses),
    ("no-memory-is-said-by-the-event", no_memory),
    ("nothing-to-read-is-said-by-the-event", nothing_to_read),
    ("closing-the-file-changes-nothing", closed),
    ("destroy-of-nothing", destroy_nothing),
];

/// The checks that need a machine on which nobody else makes contexts.
pub const ALONE: &[Check] = &[("setup-charges-what-was-asked", setup_charges)];

/// The checks that need O_DIRECT.
pub const DIRECT: &[Check] = &[("misalignment-is-said-by-the-event", misaligned)];

const EINVAL: isize = -(errno::EINVAL as isize);
const EFAULT: isize = -(errno::EFAULT as isize);
const EAGAIN: isize = -(errno::EAGAIN as isize);
const EBADF: isize = -(errno::EBADF as isize);
const WAY: Way = Way::ALL[0];

fn setup_refuses(_: &Place) -> Outcome {
    let mut id = 0;
    equal("no operations", set_up(0, &mut id), EINVAL)?;
    equal("too many", set_up(0x40_0001, &mut id), EINVAL)?;
    equal("far too many", set_up(u32::MAX, &mut id), EINVAL)?;
    equal("the number after a refusal", id, 0)?;
    id = 1;
    equal("a number that is not zero", set_up(8, &mut id), EINVAL)?;
    equal("nowhere to store it", set_up_nowhere(8), EFAULT)
}

/// A number in a file of `/proc/sys/fs`.
fn setting(path: &core::ffi::CStr) -> Result<u64, Why> {
    let file = Open(kernel::open(path, flag::O_RDONLY, 0)?);
    let mut text = [0; 32];
    let length = kernel::read(file.0, &mut text)?;
    str::from_utf8(&text[..length])
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| Why::new(format_args!("{path:?} holds no number")))
}

fn setup_beyond_the_limit(_: &Place) -> Outcome {
    let limit = setting(c"/proc/sys/fs/aio-max-nr")?;
    let beyond = limit + 1;
    // Above this the number is refused for itself.
    that("the limit can be passed", beyond <= 0x40_0000)?;
    equal("one more than all", set_up(beyond as u32, &mut 0), EAGAIN)
}

fn setup_charges(_: &Place) -> Outcome {
    let before = setting(c"/proc/sys/fs/aio-nr")?;
    let context = Context::new(1000)?;
    equal("with one for 1000", setting(c"/proc/sys/fs/aio-nr")?, before + 1000)?;
    drop(context);
    equal("without it", setting(c"/proc/sys/fs/aio-nr")?, before)
}

fn submit_refuses(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    equal("a negative count", context.submit_nothing(-1), EINVAL)?;
    equal("no request", context.submit_nothing(0), 0)?;
    equal("no request and no context", Context::nowhere().submit_nothing(0), EINVAL)?;
    equal("no memory for the list", context.submit_nothing(1), EFAULT)?;
    equal("no memory for the request", context.submit_request_nowhere(), EFAULT)?;
    let mut requests = [Request::bare(IOCB_CMD_PREAD, place.file)];
    equal("no context", Context::nowhere().start(&mut requests), EINVAL)
}

fn submit_partly(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    let good = || Request::bare(IOCB_CMD_PREAD, place.file);
    let mut requests = [good(), Request::bare(IOCB_CMD_PREAD, -1), good()];
    equal("good, bad, good", context.start(&mut requests), 1)?;
    equal("bad, good", context.start(&mut requests[1..]), EBADF)?;
    equal("good", context.start(&mut requests[2..]), 1)?;
    let mut events = [io_event::default(); 3];
    equal("events", context.wait(WAY, 0, &mut events, NOW, None), 2)
}

/// As many as the kernel takes, at least what was asked; then none, until one has been reaped.
fn submit_when_full(_: &Place) -> Outcome {
    const ASKED: usize = 8;
    /// More than any ring here holds.
    const ENOUGH: usize = 1 << 20;
    let context = Context::new(ASKED as u32)?;
    let pipe = Pipe::new()?;
    let mut requests = [Request::poll(pipe.from, POLLIN as u64)];
    let mut accepted = 0;
    let word = loop {
        match context.start(&mut requests) {
            1 if accepted < ENOUGH => accepted += 1,
            word => break word,
        }
    };
    equal("when it is full", word, EAGAIN)?;
    that("at least what was asked was accepted", accepted >= ASKED)?;
    pipe.fill()?;
    let mut events = [io_event::default(); 32];
    let mut reaped = 0;
    while reaped < accepted {
        let word = context.wait(WAY, 1, &mut events, None, None);
        that("waiting gives events", word > 0)?;
        reaped += word as usize;
    }
    equal("events", reaped, accepted)?;
    equal("more events", context.wait(WAY, 0, &mut events, NOW, None), 0)?;
    equal("when it is empty", context.start(&mut requests), 1)
}

fn open_mode(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    let reader = Open(kernel::open(place.path, flag::O_RDONLY, 0)?);
    let writer = Open(kernel::open(place.path, flag::O_WRONLY, 0)?);
    let mut block = Block::new();
    let refused = |mut request: Request<'_>| context.run(&mut request).err();
    equal("a write", refused(Request::write(reader.0, &block.0, 0)), Some(errno::EBADF))?;
    equal("a read", refused(Request::read(writer.0, &mut block.0, 0)), Some(errno::EBADF))
}

fn sync_refuses(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    let refused = |mut request: Request<'_>| context.run(&mut request).err();
    for opcode in [IOCB_CMD_FSYNC, IOCB_CMD_FDSYNC] {
        let sync = || Request::bare(opcode, place.file);
        let wrong = Some(errno::EINVAL);
        equal("an offset", refused(sync().offset(1)), wrong)?;
        equal("flags", refused(sync().rw_flags(2)), wrong)?;
        equal("a length", refused(Request::of_length(opcode, place.file, 1)), wrong)?;
        let buffer = Request::at(opcode, place.file, 1);
        equal("an address", refused(buffer), wrong)?;
    }
    Ok(())
}

fn no_memory(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    for opcode in [IOCB_CMD_PREAD, IOCB_CMD_PWRITE] {
        let event = context.run(&mut Request::nowhere(opcode, place.file))?;
        equal("result", event.res, -i64::from(errno::EFAULT))?;
    }
    Ok(())
}

fn nothing_to_read(_: &Place) -> Outcome {
    let context = Context::new(4)?;
    let pipe = Pipe::new()?;
    let mut block = Block::new();
    let event = context.run(&mut Request::read(pipe.from, &mut block.0, 0))?;
    equal("result", event.res, -i64::from(errno::EAGAIN))?;
    pipe.fill()?;
    let event = context.run(&mut Request::read(pipe.from, &mut block.0, 0))?;
    equal("result when there is something", event.res, 1)
}

fn closed(_: &Place) -> Outcome {
    let context = Context::new(4)?;
    let (from, to) = kernel::pipe(flag::O_NONBLOCK)?;
    let to = Open(to);
    let mut polls = [Request::poll(from, POLLIN as u64)];
    equal("io_submit", context.start(&mut polls), 1)?;
    kernel::close(from)?;
    let mut events = [io_event::default()];
    equal("after closing", context.wait(WAY, 0, &mut events, NOW, None), 0)?;
    kernel::write(to.0, b"x")?;
    equal("after writing", context.wait(WAY, 1, &mut events, None, None), 1)?;
    readable(events[0].res)
}

fn destroy_nothing(_: &Place) -> Outcome {
    equal("io_destroy", Context::nowhere().destroy(), EINVAL)
}

fn misaligned(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    let mut block = Block::new();
    let event = context.run(&mut Request::read(place.file, &mut block.0, 1))?;
    equal("an odd offset", event.res, -i64::from(errno::EINVAL))?;
    let event = context.run(&mut Request::read(place.file, &mut block.0[..511], 0))?;
    equal("an odd length", event.res, -i64::from(errno::EINVAL))?;
    equal("aligned", errno_of(context.run(&mut Request::read(place.file, &mut block.0, 0))), 0)
}
