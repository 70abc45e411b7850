//! The same through the library: scopes, submitters and reapers, by the ring and by system call.

use core::mem::MaybeUninit;
use core::time::Duration;

use linux_aio::{
    Completion, Errno, EventFd, Fd, IoContext, IoEvent, IoSlice, IoSliceMut, Iocb, Operation,
    PollEvents, Prepared, RwFlags, SigSet, Slot,
};
use linux_aio_freestanding::kernel::{self, Ended, SIGALRM};
use linux_aio_freestanding::{fill, filled_with};

use crate::place::{Check, Pipe, Place};
use crate::raw::{BLOCK, Block};
use crate::report::{Outcome, Why, equal, that};
use crate::{polling, ring};

/// The checks for every place.
pub const TRANSFERS: &[Check] = &[
    ("scope-transfers-by-ring", |place| transfers(place, true)),
    ("scope-transfers-by-call", |place| transfers(place, false)),
    ("scope-vectored-and-sync", vectored_and_sync),
    ("reaper-all-around-by-ring", |place| all_around(place, true)),
    ("reaper-all-around-by-call", |place| all_around(place, false)),
];

/// The checks that need no place of their own.
pub const CHECKS: &[Check] = &[
    ("context-refuses", context_refuses),
    ("scope-refuses-without-a-slot", no_slot),
    ("scope-refused-operation-fails-alone", refused_operation),
    ("scope-cancel", scope_cancel),
    ("scope-leaving-cancels-polls", scope_leaving),
    ("scope-wait-timeout", scope_timeout),
    ("scope-of-a-forked-child", scope_in_child),
    ("reaper-wait-timeout", reaper_timeout),
    ("reaper-wait-masked", reaper_masked),
    ("submitter-cancel", submitter_cancel),
    ("submitter-partial", submitter_partial),
    ("event-fd", event_fd),
    ("context-of-a-forked-parent", context_in_child),
];

const SOON: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_secs(30);

fn descriptor(file: i32) -> Fd<'static> {
    // SAFETY: The files of the places stay open; those of pipes do for longer than the
    // operations, which a scope ends before it is left.
    unsafe { Fd::borrow_raw(file) }
}

/// A block on its way, to a place of its own.
enum Transfer<'b> {
    Write { file: Fd<'static>, block: &'b mut Block, number: u64 },
    Read { file: Fd<'static>, block: &'b mut Block, number: u64 },
}

impl Operation for Transfer<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        match self {
            Self::Write { file, block, number } => {
                Prepared::write(*file, &block.0, place_of(*number))
            }
            Self::Read { file, block, number } => {
                Prepared::read(*file, &mut block.0, place_of(*number))
            }
        }
    }
}

/// Blocks beyond this number come around to the first ones.
fn place_of(number: u64) -> u64 {
    number % 256 * BLOCK as u64
}

/// Writes and reads back enough blocks to go around the ring twice, several at once.
fn transfers(place: &Place, by_ring: bool) -> Outcome {
    const AT_ONCE: usize = 4;
    let file = descriptor(place.file);
    let blocks_to_do = u64::from(ring::entries()?) + 20;
    let mut context = IoContext::new(AT_ONCE as u32)?;
    context.use_ring(by_ring);
    equal("the ring is used", context.uses_ring(), by_ring)?;
    let mut blocks = [const { Block::new() }; AT_ONCE];
    linux_aio::scope(&mut context, &mut [const { Slot::new() }; AT_ONCE], |io| {
        let mut next = 0;
        for block in &mut blocks {
            fill(&mut block.0, next);
            io.push(Transfer::Write { file, block, number: next }).map_err(|full| full.errno())?;
            next += 1;
        }
        let mut checked = 0;
        while let Some(done) = io.wait()? {
            equal("bytes", done.result?, BLOCK as u32)?;
            let again = match done.op {
                Transfer::Write { file, block, number } => {
                    block.0.fill(0);
                    Transfer::Read { file, block, number }
                }
                Transfer::Read { block, number, .. } => {
                    if !filled_with(&block.0, number) {
                        return Err(Why::new(format_args!("block {number} came back changed")));
                    }
                    checked += 1;
                    if next == blocks_to_do {
                        continue;
                    }
                    fill(&mut block.0, next);
                    next += 1;
                    Transfer::Write { file, block, number: next - 1 }
                }
            };
            io.push(again).map_err(|full| full.errno())?;
        }
        equal("blocks", checked, blocks_to_do)?;
        equal("stray events", io.stats().stray_events, 0)?;
        that("all events by call", by_ring || io.stats().events_by_call == 2 * blocks_to_do)
    })?
}

/// Two blocks in one operation, or none.
enum Other<'b> {
    WriteV([IoSlice<'b>; 2]),
    ReadV([IoSliceMut<'b>; 2]),
    Fsync,
    Fdsync,
    Poll,
}

/// One of them, and the file that it is for.
struct On<'b>(Fd<'static>, Other<'b>);

impl Operation for On<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        match &mut self.1 {
            Other::WriteV(blocks) => Prepared::writev(self.0, blocks, 0).rw_flags(RwFlags::DSYNC),
            Other::ReadV(blocks) => Prepared::readv(self.0, blocks, 0),
            Other::Fsync => Prepared::fsync(self.0),
            Other::Fdsync => Prepared::fdsync(self.0),
            Other::Poll => Prepared::poll(self.0, PollEvents::IN),
        }
    }
}

fn vectored_and_sync(place: &Place) -> Outcome {
    let file = descriptor(place.file);
    let mut from = [const { Block::new() }; 2];
    let mut to = [const { Block::new() }; 2];
    for (block, number) in from.iter_mut().zip(40..) {
        fill(&mut block.0, number);
    }
    let mut context = IoContext::new(1)?;
    let [one, other] = &from;
    let [first, second] = &mut to;
    linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
        let steps = [
            (Other::WriteV([IoSlice::new(&one.0), IoSlice::new(&other.0)]), 2 * BLOCK as u32),
            (Other::Fsync, 0),
            (Other::Fdsync, 0),
            (
                Other::ReadV([IoSliceMut::new(&mut first.0), IoSliceMut::new(&mut second.0)]),
                2 * BLOCK as u32,
            ),
            (Other::Poll, PollEvents::IN.bits()),
        ];
        for (step, result) in steps {
            io.push(On(file, step)).map_err(|full| full.errno())?;
            let Some(done) = io.wait()? else {
                return Err(Why::new(format_args!("nothing was under way")));
            };
            equal("result", done.result?, result)?;
        }
        Ok(())
    })??;
    that("the first block", filled_with(&to[0].0, 40))?;
    that("the second block", filled_with(&to[1].0, 41))
}

/// Zeros that stay, for writes that nobody waits for.
static ZEROS: Block = Block::new();

/// More events than the ring holds, twice, through a submitter and a reaper.
fn all_around(place: &Place, by_ring: bool) -> Outcome {
    const AT_ONCE: usize = 8;
    let rounds = 2 * ring::entries()? as usize / AT_ONCE + 2;
    let mut context = IoContext::new(AT_ONCE as u32)?;
    context.use_ring(by_ring);
    let (submitter, mut reaper) = context.split();
    for round in 0..rounds {
        let mut iocbs = [0; AT_ONCE].map(|_: u32| {
            Iocb::pwrite(place.file, ZEROS.0.as_ptr(), BLOCK, 0).user_data(round as u64)
        });
        let list = iocbs.each_mut().map(|iocb| &raw mut *iocb);
        // SAFETY: The iocbs are alive for the call, and writes are not cancelled. The buffer is
        // static and only read.
        equal("submitted", unsafe { submitter.submit(&list) }?, AT_ONCE)?;
        let mut left = AT_ONCE;
        while left > 0 {
            let mut events = [MaybeUninit::<IoEvent>::uninit(); AT_ONCE];
            let events = reaper.wait(left, None, &mut events)?;
            for event in events {
                equal("user_data", event.user_data(), round as u64)?;
                equal("result", event.result()?, BLOCK as u32)?;
                let of_this_round = list.iter().any(|at| at.addr() as u64 == event.iocb_addr());
                that("the event names one of the iocbs", of_this_round)?;
            }
            left -= events.len();
        }
    }
    let mut events = [MaybeUninit::<IoEvent>::uninit(); AT_ONCE];
    equal("events left", reaper.reap(&mut events)?.len(), 0)?;
    equal("outstanding", context.in_flight(), 0)
}

fn context_refuses(_: &Place) -> Outcome {
    let refused = IoContext::new(0).err().map(|error| error.errno());
    equal("no operations", refused, Some(Errno::EINVAL))?;
    let refused = IoContext::new(u32::MAX).err().map(|error| error.errno());
    equal("too many", refused, Some(Errno::EINVAL))
}

fn poll(file: i32) -> On<'static> {
    On(descriptor(file), Other::Poll)
}

/// Whether there is a completion of a POLL, and it says that there is something to read.
fn readable(done: Option<Completion<On<'_>>>) -> Outcome {
    match done {
        Some(done) => polling::readable(i64::from(done.result?)),
        None => Err(Why::new(format_args!("nothing was under way"))),
    }
}

fn no_slot(_: &Place) -> Outcome {
    let pipe = Pipe::new()?;
    let mut context = IoContext::new(2)?;
    linux_aio::scope(&mut context, &mut [const { Slot::new() }; 2], |io| {
        for _ in 0..2 {
            io.push(poll(pipe.from)).map_err(|full| full.errno())?;
        }
        let refused = io.push(poll(pipe.from)).err().map(|full| (full.errno(), full.op.0.as_raw()));
        equal("a third", refused, Some((Errno::EAGAIN, pipe.from)))?;
        pipe.fill()?;
        for _ in 0..2 {
            readable(io.wait()?)?;
        }
        that("nothing more", io.wait()?.is_none())
    })?
}

fn refused_operation(place: &Place) -> Outcome {
    let mut context = IoContext::new(3)?;
    linux_aio::scope(&mut context, &mut [const { Slot::new() }; 3], |io| {
        for file in [place.file, kernel::NO_FILE, place.file] {
            io.push(On(descriptor(file), Other::Fsync)).map_err(|full| full.errno())?;
        }
        let (mut right, mut wrong) = (0, 0);
        while let Some(done) = io.wait()? {
            match (done.op.0.as_raw(), done.result) {
                (kernel::NO_FILE, Err(Errno::EBADF)) => wrong += 1,
                (_, Ok(0)) => right += 1,
                (file, result) => {
                    return Err(Why::new(format_args!("fsync of {file}: {result:?}")));
                }
            }
        }
        equal("right and wrong", (right, wrong), (2, 1))
    })?
}

fn scope_cancel(_: &Place) -> Outcome {
    let pipe = Pipe::new()?;
    let mut context = IoContext::new(2)?;
    linux_aio::scope(&mut context, &mut [const { Slot::new() }; 2], |io| {
        let token = io.push(poll(pipe.from)).map_err(|full| full.errno())?;
        io.submit()?;
        equal("in flight", io.in_flight(), 1)?;
        io.cancel(token)?;
        let Some(done) = io.wait()? else {
            return Err(Why::new(format_args!("the cancelled POLL gave no completion")));
        };
        that("the completion is of the POLL", done.token == token)?;
        equal("events", done.result, Ok(0))?;
        equal("cancelling again", io.cancel(token), Err(Errno::ENOENT))
    })?
}

/// A scope is left while polls are pending: it ends, and the context is as good as new.
fn scope_leaving(_: &Place) -> Outcome {
    let pipe = Pipe::new()?;
    let mut context = IoContext::new(4)?;
    for _ in 0..3 {
        linux_aio::scope(&mut context, &mut [const { Slot::new() }; 4], |io| {
            for _ in 0..4 {
                io.push(poll(pipe.from)).map_err(|full| full.errno())?;
            }
            equal("submitted", io.submit()?, 4)
        })??;
    }
    Ok(())
}

fn scope_timeout(_: &Place) -> Outcome {
    let pipe = Pipe::new()?;
    let mut context = IoContext::new(2)?;
    linux_aio::scope(&mut context, &mut [const { Slot::new() }; 2], |io| {
        io.push(poll(pipe.from)).map_err(|full| full.errno())?;
        let early = io.wait_timeout(SOON).map(|done| done.is_some()).map_err(Errno::from);
        equal("while nothing happens", early, Err(Errno::ETIMEDOUT))?;
        pipe.fill()?;
        readable(io.wait_timeout(LATE)?)
    })?
}

/// The child leaves a scope that is not its own, while the parent's goes on.
fn scope_in_child(_: &Place) -> Outcome {
    let pipe = Pipe::new()?;
    let mut context = IoContext::new(2)?;
    let mut child = 0;
    linux_aio::scope(&mut context, &mut [const { Slot::new() }; 2], |io| {
        io.push(poll(pipe.from)).map_err(|full| full.errno())?;
        io.submit()?;
        child = kernel::fork()?;
        if child == 0 {
            let submitted = io.push(poll(pipe.from)).is_ok() && io.submit().is_ok();
            return that("the child cannot submit", !submitted);
        }
        equal("the child", kernel::wait_for(child)?, Ended::Exited(0))?;
        pipe.fill()?;
        readable(io.wait()?)
    })
    .map_err(Why::from)
    .and_then(|outcome| {
        if child == 0 {
            kernel::exit(i32::from(outcome.is_err()));
        }
        outcome
    })
}

fn reaper_timeout(_: &Place) -> Outcome {
    for by_ring in [true, false] {
        let mut context = IoContext::new(2)?;
        context.use_ring(by_ring);
        let (_, mut reaper) = context.split();
        let mut events = [MaybeUninit::<IoEvent>::uninit(); 2];
        equal("at once", reaper.wait(1, Some(Duration::ZERO), &mut events)?.len(), 0)?;
        equal("soon", reaper.wait(1, Some(SOON), &mut events)?.len(), 0)?;
        let refused = reaper.wait(3, Some(SOON), &mut events).map(<[_]>::len);
        equal("more than there is room for", refused, Err(Errno::EINVAL))?;
        // Each of these times is too long for a signal that keeps coming; the second is more than
        // a time of 32 bits can hold, and its low half is zero.
        for time in [Some(LATE), Some(Duration::from_secs(1 << 33)), None] {
            kernel::interrupt_on(SIGALRM)?;
            kernel::alarm_every(20)?;
            let interrupted = reaper.wait(1, time, &mut events).map(<[_]>::len);
            kernel::alarm_every(0)?;
            equal("a signal", interrupted, Err(Errno::EINTR))?;
        }
    }
    Ok(())
}

fn reaper_masked(_: &Place) -> Outcome {
    let mut context = IoContext::new(2)?;
    let (_, mut reaper) = context.split();
    let mut events = [MaybeUninit::<IoEvent>::uninit(); 2];
    kernel::interrupt_on(SIGALRM)?;
    let before = kernel::set_blocked(kernel::only(SIGALRM))?;
    kernel::raise(SIGALRM)?;
    let alarm = SigSet::empty().with(SIGALRM as u32);
    let blocked = reaper.wait_masked(1, Some(SOON), &alarm, &mut events).map(<[_]>::len);
    let others = SigSet::full().without(SIGALRM as u32);
    let free = reaper.wait_masked(1, Some(LATE), &others, &mut events).map(<[_]>::len);
    kernel::set_blocked(before)?;
    equal("with the signal blocked", blocked, Ok(0))?;
    equal("with the others blocked", free, Err(Errno::EINTR))
}

fn submitter_cancel(_: &Place) -> Outcome {
    let pipe = Pipe::new()?;
    let mut context = IoContext::new(2)?;
    let (submitter, mut reaper) = context.split();
    let mut iocb = Iocb::poll(pipe.from, PollEvents::IN).user_data(3);
    let iocb = &raw mut iocb;
    // SAFETY: The iocb is alive and stays where it is until its event, which is waited for below;
    // on an early return the context ends before it. POLL has no buffer.
    equal("submitted", unsafe { submitter.submit(&[iocb]) }?, 1)?;
    submitter.cancel(iocb)?;
    let mut events = [MaybeUninit::<IoEvent>::uninit(); 2];
    let events = reaper.wait(1, None, &mut events)?;
    equal("events", events.len(), 1)?;
    equal("user_data", events[0].user_data(), 3)?;
    equal("result", events[0].result(), Ok(0))?;
    equal("cancelling again", submitter.cancel(iocb), Err(Errno::EINVAL))
}

fn submitter_partial(place: &Place) -> Outcome {
    let mut context = IoContext::new(3)?;
    let (submitter, mut reaper) = context.split();
    let mut iocbs = [place.file, kernel::NO_FILE, place.file].map(Iocb::fsync);
    let list = iocbs.each_mut().map(|iocb| &raw mut *iocb);
    // SAFETY: The iocbs are alive for the calls, and have no buffers.
    equal("good, bad, good", unsafe { submitter.submit(&list) }, Ok(1))?;
    // SAFETY: As above.
    equal("bad, good", unsafe { submitter.submit(&list[1..]) }, Err(Errno::EBADF))?;
    // SAFETY: As above.
    equal("good", unsafe { submitter.submit(&list[2..]) }, Ok(1))?;
    let mut events = [MaybeUninit::<IoEvent>::uninit(); 3];
    equal("events", reaper.wait(2, None, &mut events)?.len(), 2)
}

fn event_fd(place: &Place) -> Outcome {
    let counter = EventFd::new()?;
    let mut context = IoContext::new(3)?;
    let (submitter, mut reaper) = context.split();
    let mut iocbs = [place.file; 3].map(|file| Iocb::fsync(file).eventfd(counter.fd().as_raw()));
    let list = iocbs.each_mut().map(|iocb| &raw mut *iocb);
    equal("the count before", counter.take()?, None)?;
    // SAFETY: The iocbs are alive for the call, and have no buffers.
    equal("submitted", unsafe { submitter.submit(&list) }?, 3)?;
    let mut events = [MaybeUninit::<IoEvent>::uninit(); 3];
    equal("events", reaper.wait(3, None, &mut events)?.len(), 3)?;
    // An event is on the ring before the counter says so.
    let mut count = 0;
    while count < 3 {
        count += counter.take()?.unwrap_or(0);
    }
    equal("the count", count, 3)
}

/// The child gets errors, and what it drops is not the parent's; the parent takes every event.
fn context_in_child(place: &Place) -> Outcome {
    let mut context = IoContext::new(3)?;
    let mut iocbs = [place.file; 3].map(Iocb::fsync);
    let list = iocbs.each_mut().map(|iocb| &raw mut *iocb);
    let (submitter, _) = context.split();
    // SAFETY: The iocbs are alive for the call, and have no buffers.
    equal("submitted", unsafe { submitter.submit(&list) }?, 3)?;
    let child = kernel::fork()?;
    if child == 0 {
        let (submitter, mut reaper) = context.split();
        let mut events = [MaybeUninit::<IoEvent>::uninit(); 3];
        let reaped = reaper.reap(&mut events).map(<[_]>::len);
        // SAFETY: As above.
        let submitted = unsafe { submitter.submit(&list) };
        // Perhaps at the same address, where a system call for the parent's would end it.
        let own = IoContext::new(3);
        drop(context);
        // SAFETY: As above.
        let works = own.is_ok_and(|mut own| unsafe { own.split().0.submit(&list) } == Ok(3));
        let right = reaped == Err(Errno::FORKED) && submitted == Err(Errno::FORKED) && works;
        kernel::exit(i32::from(!right));
    }
    equal("the child", kernel::wait_for(child)?, Ended::Exited(0))?;
    let (_, mut reaper) = context.split();
    let mut events = [MaybeUninit::<IoEvent>::uninit(); 3];
    equal("events of the parent", reaper.wait(3, None, &mut events)?.len(), 3)
}
