//! POLL and io_cancel.

use linux_aio::abi::{
    IOCB_CMD_POLL, IOCB_CMD_PREAD, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, io_event,
};
use linux_aio_freestanding::kernel::{self, errno};

use crate::layout::errno_of;
use crate::place::{Check, Open, Pipe, Place};
use crate::raw::{Context, NOW, Request, Way};
use crate::report::{Outcome, equal, that};

/// The checks of this file.
pub const CHECKS: &[Check] = &[
    ("poll-waits-for-its-events", waits),
    ("poll-hangup-and-error", hang_up),
    ("poll-refuses-other-fields", refuses),
    ("cancel", cancel),
    ("cancel-needs-address-and-key", cancel_needs_address_and_key),
    ("cancel-of-what-is-not-there", cancel_of_nothing),
    ("destroy-ends-polls", destroy),
];

const EINVAL: isize = -(errno::EINVAL as isize);
const EFAULT: isize = -(errno::EFAULT as isize);
const EINPROGRESS: isize = -(errno::EINPROGRESS as isize);
const WAY: Way = Way::ALL[0];

/// Whether the result of a POLL says that there is something to read, and no error. A POLL that a
/// write has completed may also bear POLLRDNORM, which nobody asked for: the kernel passes on what
/// woke it.
pub fn readable(result: i64) -> Outcome {
    let others = !i64::from(POLLIN | POLLRDNORM);
    that("POLLIN is among the events", result & i64::from(POLLIN) != 0)?;
    equal("events beside it", result & others, 0)
}

fn waits(_: &Place) -> Outcome {
    let context = Context::new(4)?;
    let pipe = Pipe::new()?;
    let mut events = [io_event::default(); 2];
    let mut polls = [Request::poll(pipe.from, (POLLIN | POLLOUT) as u64).data(77)];
    equal("io_submit", context.start(&mut polls), 1)?;
    equal("while it is empty", context.wait(WAY, 0, &mut events, NOW, None), 0)?;
    pipe.fill()?;
    equal("when it is not", context.wait(WAY, 1, &mut events, None, None), 1)?;
    equal("data", events[0].data, 77)?;
    equal("obj", events[0].obj, polls[0].address())?;
    readable(events[0].res)?;
    // Once is once.
    equal("more", context.wait(WAY, 0, &mut events, NOW, None), 0)?;
    let event = context.run(&mut Request::poll(pipe.writer(), POLLOUT as u64))?;
    equal("the other end", event.res, i64::from(POLLOUT))
}

/// They are reported without being asked for.
fn hang_up(_: &Place) -> Outcome {
    let context = Context::new(4)?;
    let mut pipe = Pipe::new()?;
    let mut events = [io_event::default()];
    let mut polls = [Request::poll(pipe.from, 0)];
    equal("io_submit", context.start(&mut polls), 1)?;
    pipe.hang_up()?;
    equal("waiting", context.wait(WAY, 1, &mut events, None, None), 1)?;
    equal("events of the reader", events[0].res, i64::from(POLLHUP))?;
    let (from, to) = kernel::pipe(0)?;
    let to = Open(to);
    kernel::close(from)?;
    let event = context.run(&mut Request::poll(to.0, 0))?;
    equal("events of the writer", event.res, i64::from(POLLERR))
}

fn refuses(_: &Place) -> Outcome {
    let context = Context::new(4)?;
    let pipe = Pipe::new()?;
    let events = POLLIN as u64;
    let refused = |mut request: Request<'_>| errno_of(context.run(&mut request));
    let poll = || Request::poll(pipe.from, events);
    equal("an offset", refused(poll().offset(1)), errno::EINVAL)?;
    equal("flags", refused(poll().rw_flags(1)), errno::EINVAL)?;
    let length = Request::of_length(IOCB_CMD_POLL, pipe.from, 1);
    equal("a length", refused(length), errno::EINVAL)?;
    equal("17 bits", refused(Request::poll(pipe.from, 1 << 16)), errno::EINVAL)?;
    equal("33 bits", refused(Request::poll(pipe.from, 1 << 32)), errno::EINVAL)
}

fn cancel(_: &Place) -> Outcome {
    let context = Context::new(4)?;
    let pipe = Pipe::new()?;
    let mut events = [io_event::default(); 2];
    let mut polls = [Request::poll(pipe.from, POLLIN as u64).data(5)];
    equal("io_submit", context.start(&mut polls), 1)?;
    equal("io_cancel", context.cancel(&polls[0]), EINPROGRESS)?;
    // The event comes all the same, and says that nothing happened.
    equal("waiting", context.wait(WAY, 1, &mut events, None, None), 1)?;
    equal("data", events[0].data, 5)?;
    equal("obj", events[0].obj, polls[0].address())?;
    equal("events", events[0].res, 0)?;
    equal("a second time", context.cancel(&polls[0]), EINVAL)
}

fn cancel_needs_address_and_key(_: &Place) -> Outcome {
    let context = Context::new(4)?;
    let pipe = Pipe::new()?;
    let mut events = [io_event::default()];
    let mut polls = [Request::poll(pipe.from, POLLIN as u64)];
    equal("io_submit", context.start(&mut polls), 1)?;
    let copy = Request::poll(pipe.from, POLLIN as u64);
    equal("an equal request elsewhere", context.cancel(&copy), EINVAL)?;
    polls[0].set_key(1);
    equal("another key", context.cancel(&polls[0]), EINVAL)?;
    equal("no memory", context.cancel_nowhere(), EFAULT)?;
    equal("nothing came", context.wait(WAY, 0, &mut events, NOW, None), 0)?;
    pipe.fill()?;
    equal("the event", context.wait(WAY, 1, &mut events, None, None), 1)
}

fn cancel_of_nothing(place: &Place) -> Outcome {
    let context = Context::new(4)?;
    let mut request = Request::bare(IOCB_CMD_PREAD, place.file);
    context.run(&mut request)?;
    equal("a completed read", context.cancel(&request), EINVAL)?;
    equal("no context", Context::nowhere().cancel(&request), EINVAL)
}

fn destroy(_: &Place) -> Outcome {
    let context = Context::new(4)?;
    let pipe = Pipe::new()?;
    let mut polls = [(); 3].map(|()| Request::poll(pipe.from, POLLIN as u64));
    equal("io_submit", context.start(&mut polls), 3)?;
    equal("io_destroy", context.destroy(), 0)?;
    equal("a second time", context.destroy(), EINVAL)?;
    equal("io_submit afterwards", context.start(&mut polls), EINVAL)?;
    equal("waiting afterwards", context.wait(WAY, 0, &mut [], NOW, None), EINVAL)
}
