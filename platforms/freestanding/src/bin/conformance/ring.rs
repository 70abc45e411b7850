//! The ring: its header, its events, and what the kernel makes of a head that user space stores.

use linux_aio::abi::{
    AIO_RING_COMPAT_FEATURES, AIO_RING_INCOMPAT_FEATURES, AIO_RING_MAGIC, IOCB_CMD_PREAD, POLLIN,
    aio_ring, io_event,
};

use crate::place::{Check, Pipe, Place};
use crate::raw::{Context, NOW, Request, Way};
use crate::report::{Outcome, Why, equal, that};
use crate::waiting::complete;

/// The checks of this file.
pub const CHECKS: &[Check] = &[
    ("ring-header", header),
    ("ring-events", events),
    ("ring-head-and-tail", head_and_tail),
    ("ring-taken-by-hand-all-around", all_around),
    ("ring-head-rings-further-on-by-call", further_on_by_call),
    ("ring-head-rings-further-on-by-hand", further_on_by_hand),
];

/// How many events the ring of a context for one operation holds.
pub fn entries() -> Result<u32, Why> {
    Ok(Context::new(1)?.header().nr)
}

fn header(_: &Place) -> Outcome {
    for asked in [1, 8, 100, 1000] {
        let context = Context::new(asked)?;
        let header = context.header();
        equal("magic", header.magic, AIO_RING_MAGIC)?;
        equal("compat_features", header.compat_features, AIO_RING_COMPAT_FEATURES)?;
        equal("incompat_features", header.incompat_features, AIO_RING_INCOMPAT_FEATURES)?;
        equal("header_length", header.header_length as usize, size_of::<aio_ring>())?;
        that("nr is larger than what was asked", header.nr > asked)?;
        equal("head", header.head, 0)?;
        equal("tail", header.tail, 0)?;
    }
    Ok(())
}

/// Each event stands after the header where its number says, as io_getevents gives it.
fn events(place: &Place) -> Outcome {
    let context = Context::new(8)?;
    complete(&context, place, 6)?;
    let mut events = [io_event::default(); 6];
    equal("events", context.wait(Way::ALL[0], 6, &mut events, NOW, None), 6)?;
    for (number, event) in events.iter().enumerate() {
        equal("data", event.data, number as u64)?;
        equal("event", context.event(number as u32), *event)?;
    }
    Ok(())
}

fn head_and_tail(place: &Place) -> Outcome {
    let context = Context::new(8)?;
    complete(&context, place, 5)?;
    equal("tail", context.header().tail, 5)?;
    equal("head", context.header().head, 0)?;
    let mut events = [io_event::default(); 2];
    equal("events", context.wait(Way::ALL[0], 2, &mut events, NOW, None), 2)?;
    equal("head after 2", context.header().head, 2)?;
    equal("tail after 2", context.header().tail, 5)?;
    // What user space takes by storing the head, the kernel does not give again.
    context.set_head(4);
    let mut events = [io_event::default(); 2];
    equal("events left", context.wait(Way::ALL[0], 0, &mut events, NOW, None), 1)?;
    equal("the last one", events[0].data, 4)
}

/// Several times the ring's length, with no io_getevents at all: slots come back by the head alone.
fn all_around(place: &Place) -> Outcome {
    const AT_ONCE: u32 = 8;
    let context = Context::new(AT_ONCE)?;
    let nr = context.header().nr;
    let rounds = 3 * nr / AT_ONCE + 1;
    let (mut head, mut data) = (0, 0);
    for _ in 0..rounds {
        let mut requests = [const { 0_u64 }; AT_ONCE as usize].map(|_| {
            data += 1;
            Request::bare(IOCB_CMD_PREAD, place.file).data(data)
        });
        equal("io_submit", context.start(&mut requests), AT_ONCE as isize)?;
        for request in &requests {
            let event = context.event(head);
            equal("data", event.data, request.iocb().aio_data)?;
            equal("obj", event.obj, request.address())?;
            head = (head + 1) % nr;
        }
        equal("tail", context.header().tail, head)?;
        context.set_head(head);
    }
    let mut events = [io_event::default()];
    equal("events left", context.wait(Way::ALL[0], 0, &mut events, NOW, None), 0)
}

/// The head at `place`, some rings further on: what the C drop-in stores while it takes events.
/// From 1 ring to as many as 32 bits hold.
fn further_on(nr: u32, place: u32, number: u32) -> u32 {
    let most = u32::MAX / nr - 1;
    let rings = [1, 2, 3, 1 << 8, 1 << 15, most - 1, most];
    place + nr * rings[number as usize % rings.len()].min(most)
}

/// To io_getevents such a head is the same place, and is below `nr` afterwards, also where nothing
/// is there or asked for: so that call is no harmless question beside a reader of the ring, and an
/// io_submit of no requests is. To completions such a head is the same place, too.
fn further_on_by_call(place: &Place) -> Outcome {
    let context = Context::new(8)?;
    let nr = context.header().nr;
    let mut head = 0;
    for round in 0..10_000 {
        let count = round % 6;
        context.set_head(further_on(nr, head, round));
        complete(&context, place, count as usize)?;
        let further = further_on(nr, head, round / 6);
        context.set_head(further);
        equal("io_submit of nothing", context.submit_nothing(0), 0)?;
        equal("head after io_submit", context.header().head, further)?;
        equal("io_getevents of nothing", context.wait(Way::ALL[0], 0, &mut [], NOW, None), 0)?;
        equal("head after io_getevents", context.header().head, head)?;
        context.set_head(further);
        let mut events = [io_event::default(); 6];
        equal("events", context.wait(Way::ALL[0], 0, &mut events, NOW, None), count as isize)?;
        for (number, event) in events[..count as usize].iter().enumerate() {
            equal("data", event.data, number as u64)?;
        }
        head = (head + count) % nr;
        equal("tail", context.header().tail, head)?;
        equal("head", context.header().head, head)?;
    }
    Ok(())
}

/// Slots come back by such a head as by any other, also beside an operation that stays in flight.
fn further_on_by_hand(place: &Place) -> Outcome {
    const AT_ONCE: u32 = 8;
    for in_flight in [false, true] {
        let context = Context::new(AT_ONCE + 1)?;
        let idle = Pipe::new()?;
        let mut poll = [Request::poll(idle.from, POLLIN as u64).data(1 << 32)];
        if in_flight {
            equal("io_submit of a poll", context.start(&mut poll), 1)?;
        }
        let nr = context.header().nr;
        let mut head = 0;
        for round in 0..10_000 / AT_ONCE {
            complete(&context, place, AT_ONCE as usize)?;
            for number in 0..AT_ONCE {
                equal("data", context.event((head + number) % nr).data, u64::from(number))?;
            }
            head = (head + AT_ONCE) % nr;
            equal("tail", context.header().tail, head)?;
            context.set_head(further_on(nr, head, round));
        }
        let mut events = [io_event::default()];
        equal("events left", context.wait(Way::ALL[0], 0, &mut events, NOW, None), 0)?;
        idle.fill()?;
        if in_flight {
            equal("the poll", context.wait(Way::ALL[0], 1, &mut events, None, None), 1)?;
            equal("its data", events[0].data, 1 << 32)?;
        }
    }
    Ok(())
}
