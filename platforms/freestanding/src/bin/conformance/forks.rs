//! fork: the child owns no context, whatever it inherits, and the parent loses nothing.

use linux_aio::abi::{IOCB_CMD_PREAD, POLLIN, io_event};
use linux_aio_freestanding::kernel::{self, Ended, errno};

use crate::place::{Check, Pipe, Place};
use crate::raw::{Context, NOW, Request, Way};
use crate::report::{Outcome, equal, that};
use crate::waiting::complete;

/// The checks of this file.
pub const CHECKS: &[Check] = &[
    ("fork-child-owns-no-context", child_owns_nothing),
    ("fork-child-sees-the-ring-or-nothing", child_sees_the_ring_or_nothing),
    ("fork-child-makes-its-own", child_makes_its_own),
    ("fork-parent-polls-on", parent_polls_on),
];

const EINVAL: isize = -(errno::EINVAL as isize);
const SIGSEGV: i32 = 11;
const WAY: Way = Way::ALL[0];

fn child_owns_nothing(place: &Place) -> Outcome {
    let context = Context::new(8)?;
    complete(&context, place, 3)?;
    let ended = kernel::in_child(|| {
        let mut request = Request::bare(IOCB_CMD_PREAD, place.file);
        let words = [
            context.start(core::slice::from_mut(&mut request)),
            context.wait(WAY, 0, &mut [io_event::default()], NOW, None),
            context.cancel(&request),
            context.destroy(),
        ];
        words.iter().enumerate().map(|(bit, word)| i32::from(*word != EINVAL) << bit).sum()
    })?;
    equal("calls of the child that were not EINVAL", ended, Ended::Exited(0))?;
    let mut events = [io_event::default(); 4];
    equal("events of the parent", context.wait(WAY, 0, &mut events, NOW, None), 3)
}

/// At the ring's address a child finds the ring (Linux 6.18) or no memory (7.2), never something
/// else.
fn child_sees_the_ring_or_nothing(_: &Place) -> Outcome {
    let context = Context::new(8)?;
    let nr = context.header().nr;
    let ended = kernel::in_child(|| i32::from(context.header().nr != nr))?;
    that("the ring or no memory", matches!(ended, Ended::Exited(0) | Ended::Killed(SIGSEGV)))
}

/// Where the child does not see the parent's ring, its own may have the same address.
fn child_makes_its_own(place: &Place) -> Outcome {
    let context = Context::new(8)?;
    complete(&context, place, 2)?;
    let ended = kernel::in_child(|| {
        let own = match Context::new(8) {
            Ok(own) => own,
            Err(_) => return 1,
        };
        match complete(&own, place, 3) {
            Ok(()) => {}
            Err(_) => return 2,
        }
        let mut events = [io_event::default(); 4];
        i32::from(own.wait(WAY, 0, &mut events, NOW, None) != 3) * 3
    })?;
    equal("the child", ended, Ended::Exited(0))?;
    let mut events = [io_event::default(); 4];
    equal("events of the parent", context.wait(WAY, 0, &mut events, NOW, None), 2)
}

/// An operation that was under way at the fork completes when the child is gone.
fn parent_polls_on(_: &Place) -> Outcome {
    let context = Context::new(8)?;
    let pipe = Pipe::new()?;
    let mut polls = [Request::poll(pipe.from, POLLIN as u64).data(9)];
    equal("io_submit", context.start(&mut polls), 1)?;
    let ended = kernel::in_child(|| i32::from(pipe.fill().is_err()))?;
    equal("the child", ended, Ended::Exited(0))?;
    let mut events = [io_event::default()];
    equal("waiting", context.wait(WAY, 1, &mut events, None, None), 1)?;
    equal("data", events[0].data, 9)
}
