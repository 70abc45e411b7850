//! The calls that wait: counts, times of 32 and 64 bits, signals and signal masks. Nothing here
//! measures time: a time that the kernel read wrong makes a call return what another time would.

use linux_aio::abi::{IOCB_CMD_PREAD, POLLIN, io_event};
use linux_aio_freestanding::kernel::{self, SIGALRM, Signals, errno};

use crate::place::{Check, Pipe, Place};
use crate::raw::{Context, LATE, Mask, NOW, Request, SOON, Time, Way};
use crate::report::{Outcome, equal};

/// The checks of this file.
pub const CHECKS: &[Check] = &[
    ("wait-counts", counts),
    ("wait-refuses", refusals),
    ("wait-time-runs-out", time_runs_out),
    ("wait-seconds", seconds),
    ("wait-seconds-have-64-bits", long_seconds),
    ("wait-without-end", without_end),
    ("wait-gives-what-there-is-when-time-runs-out", partial_by_time),
    ("wait-gives-what-there-is-on-a-signal", partial_by_signal),
    ("wait-mask-blocks", mask_blocks),
    ("wait-mask-unblocks", mask_unblocks),
    ("wait-mask-is-put-back", mask_is_put_back),
    ("wait-mask-size", mask_size),
];

const EINTR: isize = -(errno::EINTR as isize);
const EINVAL: isize = -(errno::EINVAL as isize);
const EFAULT: isize = -(errno::EFAULT as isize);

/// Puts so many completed reads of nothing on the ring.
pub fn complete(context: &Context, place: &Place, number: usize) -> Outcome {
    for data in 0..number {
        let read = Request::bare(IOCB_CMD_PREAD, place.file).data(data as u64);
        equal("io_submit", context.start(&mut [read]), 1)?;
    }
    Ok(())
}

fn counts(place: &Place) -> Outcome {
    for &way in Way::ALL {
        let context = Context::new(8)?;
        complete(&context, place, 5)?;
        let mut events = [io_event::default(); 3];
        equal("at most 3 of 5", context.wait(way, 1, &mut events, NOW, None), 3)?;
        equal("first", events[0].data, 0)?;
        equal("third", events[2].data, 2)?;
        equal("2 left", context.wait(way, 0, &mut events, NOW, None), 2)?;
        equal("fourth", events[0].data, 3)?;
        equal("none left", context.wait(way, 0, &mut events, NOW, None), 0)?;
    }
    Ok(())
}

fn refusals(place: &Place) -> Outcome {
    for &way in Way::ALL {
        let context = Context::new(8)?;
        complete(&context, place, 1)?;
        let mut events = [io_event::default(); 2];
        equal("min above nr", context.wait(way, 3, &mut events, NOW, None), EINVAL)?;
        equal("negative min", context.wait(way, -1, &mut events, NOW, None), EINVAL)?;
        equal("negative nr", context.wait_nowhere(way, -2, -1), EINVAL)?;
        equal("no memory for events", context.wait_nowhere(way, 1, 1), EFAULT)?;
        equal("no room asked", context.wait(way, 0, &mut [], NOW, None), 0)?;
        let nowhere = Context::nowhere();
        equal("no context", nowhere.wait(way, 0, &mut events, NOW, None), EINVAL)?;
    }
    Ok(())
}

fn time_runs_out(_: &Place) -> Outcome {
    for &way in Way::ALL {
        let context = Context::new(8)?;
        let mut events = [io_event::default()];
        for time in [NOW, SOON] {
            equal("events", context.wait(way, 1, &mut events, time, None), 0)?;
        }
    }
    Ok(())
}

/// The seconds count: a signal interrupts a wait of seconds, which a wait of none would have left.
fn seconds(_: &Place) -> Outcome {
    for &way in Way::ALL {
        equal("the wait", interrupted(way, LATE)?, EINTR)?;
    }
    Ok(())
}

/// All their 64 bits count: of 2^33 the low half is zero.
fn long_seconds(_: &Place) -> Outcome {
    for &way in Way::ALL {
        if way.has_long_seconds() {
            equal("the wait", interrupted(way, Some((1 << 33, 0)))?, EINTR)?;
        }
    }
    Ok(())
}

fn without_end(_: &Place) -> Outcome {
    for &way in Way::ALL {
        equal("the wait", interrupted(way, None)?, EINTR)?;
    }
    Ok(())
}

/// What a wait for one event gives, where there is none and a handler runs again and again.
fn interrupted(way: Way, time: Option<Time>) -> Result<isize, crate::report::Why> {
    let context = Context::new(8)?;
    let mut events = [io_event::default()];
    kernel::interrupt_on(SIGALRM)?;
    kernel::alarm_every(20)?;
    let word = context.wait(way, 1, &mut events, time, None);
    kernel::alarm_every(0)?;
    Ok(word)
}

fn partial_by_time(place: &Place) -> Outcome {
    for &way in Way::ALL {
        let context = Context::new(8)?;
        complete(&context, place, 1)?;
        let mut events = [io_event::default(); 2];
        equal("events", context.wait(way, 2, &mut events, SOON, None), 1)?;
    }
    Ok(())
}

fn partial_by_signal(place: &Place) -> Outcome {
    for &way in Way::ALL {
        let context = Context::new(8)?;
        complete(&context, place, 1)?;
        let mut events = [io_event::default(); 2];
        kernel::interrupt_on(SIGALRM)?;
        kernel::alarm_every(20)?;
        let word = context.wait(way, 2, &mut events, None, None);
        kernel::alarm_every(0)?;
        equal("events", word, 1)?;
    }
    Ok(())
}

/// Runs `body` with SIGALRM blocked and pending, and puts everything back.
fn with_pending_alarm(body: impl FnOnce() -> Outcome) -> Outcome {
    kernel::interrupt_on(SIGALRM)?;
    let before = kernel::set_blocked(kernel::only(SIGALRM))?;
    kernel::raise(SIGALRM)?;
    let outcome = body();
    kernel::set_blocked(before)?;
    outcome
}

const fn mask(signals: Signals) -> Option<Mask> {
    Some(Mask { signals, size: 8 })
}

/// The waits below have a pipe to wait for, which never becomes readable.
fn wait_for_nothing(way: Way, time: Option<Time>, mask: Option<Mask>) -> Result<isize, i32> {
    let pipe = Pipe::new()?;
    let Ok(context) = Context::new(8) else { return Err(errno::EAGAIN) };
    let mut poll = [Request::poll(pipe.from, POLLIN as u64)];
    if context.start(&mut poll) != 1 {
        return Err(errno::EINVAL);
    }
    Ok(context.wait(way, 1, &mut [io_event::default()], time, mask))
}

fn mask_blocks(_: &Place) -> Outcome {
    for &way in Way::ALL.iter().filter(|way| way.takes_mask()) {
        with_pending_alarm(|| {
            let mask = mask(kernel::only(SIGALRM));
            equal("with the signal in the mask", wait_for_nothing(way, SOON, mask)?, 0)?;
            equal("without a mask", wait_for_nothing(way, SOON, None)?, 0)
        })?;
    }
    Ok(())
}

fn mask_unblocks(_: &Place) -> Outcome {
    for &way in Way::ALL.iter().filter(|way| way.takes_mask()) {
        for signals in [0, !kernel::only(SIGALRM)] {
            with_pending_alarm(|| {
                equal("with a free signal", wait_for_nothing(way, LATE, mask(signals))?, EINTR)
            })?;
        }
    }
    Ok(())
}

fn mask_is_put_back(_: &Place) -> Outcome {
    for &way in Way::ALL.iter().filter(|way| way.takes_mask()) {
        with_pending_alarm(|| {
            equal("interrupted", wait_for_nothing(way, LATE, mask(0))?, EINTR)?;
            let left = kernel::set_blocked(kernel::only(SIGALRM))?;
            equal("the mask afterwards", left, kernel::only(SIGALRM))
        })?;
    }
    Ok(())
}

fn mask_size(_: &Place) -> Outcome {
    for &way in Way::ALL.iter().filter(|way| way.takes_mask()) {
        for size in [4, 16] {
            let mask = Some(Mask { signals: 0, size });
            equal("another size", wait_for_nothing(way, NOW, mask)?, EINVAL)?;
        }
        equal("the size", wait_for_nothing(way, NOW, mask(0))?, 0)?;
    }
    Ok(())
}
