//! Turns of tasks that read from the page cache, which would not wait otherwise.

use super::FileDriver;
use crate::clock;
use crate::driver::BlockingThreads;
use crate::driver::alarm_clock::{Alarm, Rings};
use crate::driver::users_code::catch_and_forget;
use alloc::boxed::Box;
use core::cell::Cell;
use core::task::{Context, Poll};
use core::time::Duration;
use std::thread_local;

/// The number of bytes that a thread copies before its tasks take turns: two reads of a page.
///
/// A change of tasks takes about as long as one of these copies. Measured with 32 tasks that read 4
/// KiB at a time: with turns of 8 KiB, one read in a hundred waits for 95 µs or more. With turns of
/// 32 KiB it is 181 µs, and a sixth more is read.
const TURN: usize = 8 << 10;

/// The number of turns after which a thread compares its rounds with those of another.
///
/// A task that is offered to another thread costs some microseconds, a turn about three. So a
/// thread that offers one each time loses one in a hundred, and gets rid of eight in ten
/// milliseconds.
const COMPARED_AFTER: u32 = 256;

/// The time after which the clock wakes a task that no thread has taken.
const PATIENCE: Duration = Duration::from_millis(1);

thread_local! {
    /// The bytes that this thread has copied since its tasks took turns.
    static COPIED: Cell<usize> = const { Cell::new(0) };
    /// The turns that tasks have taken on this thread.
    static TURNS: Cell<u32> = const { Cell::new(0) };
    /// The turns from one turn of a task to its next on this thread.
    static ROUND: Cell<u32> = const { Cell::new(0) };
}

/// Notes that this thread has copied so many bytes.
pub(super) fn copied(count: usize) {
    COPIED.with(|copied| copied.set(copied.get().saturating_add(count)));
}

/// Returns whether this thread has copied so much that other tasks should run.
///
/// It is always so in a simulation, since what the thread has copied before would be part of the
/// trace.
fn is_due() -> bool {
    #[cfg(feature = "sim")]
    if crate::sys::sim::now().is_some() {
        return true;
    }
    COPIED.with(Cell::get) >= TURN
}

/// The one turn that a request lets other tasks have, if they should run.
#[derive(Default)]
pub(super) struct Turn {
    has_begun: bool,
    /// The turns that its thread had seen when it began.
    at: u32,
    offered: Option<Box<Offered>>,
}

impl Turn {
    /// Returns `Pending` once, and has the task polled again, if other tasks should run.
    #[inline(always)]
    pub(super) fn poll<D: FileDriver>(&mut self, driver: &D, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_begun {
            self.end();
        } else if !D::IN_PLACE && is_due() {
            self.begin(driver, cx);
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    #[cold]
    fn begin<D: FileDriver>(&mut self, driver: &D, cx: &mut Context<'_>) {
        COPIED.with(|copied| copied.set(0));
        let turns = TURNS.with(Cell::get).wrapping_add(1);
        TURNS.with(|all| all.set(turns));
        (self.has_begun, self.at) = (true, turns);
        let (threads, round) = (driver.threads(), ROUND.with(Cell::get));
        threads.rounds().accept(round);
        if turns % COMPARED_AFTER == 0 {
            self.offered = Offered::new(threads, round, cx).map(Box::new);
        }
        if self.offered.is_none() {
            // As anywhere else, the panic of a waker's call costs no request.
            catch_and_forget(|| cx.waker().wake_by_ref());
        }
    }

    #[cold]
    fn end(&mut self) {
        if self.offered.take().is_none() {
            ROUND.with(|round| round.set(TURNS.with(Cell::get).wrapping_sub(self.at)));
        }
    }
}

/// A task that does not wake itself. It is not offered to other threads any more once this is
/// dropped.
struct Offered {
    threads: BlockingThreads,
    ticket: u64,
    _alarm: Alarm,
}

impl Offered {
    /// Offers the task that is polled, if the rounds of its thread are longer than another's.
    /// Returns `None` if the task has to wake itself.
    fn new(threads: &BlockingThreads, round: u32, cx: &Context<'_>) -> Option<Self> {
        if !threads.rounds().is_longer(round) {
            return None;
        }
        // Without a clock nobody might wake it.
        let mut alarm = threads.alarm(clock::now() + PATIENCE).ok()?;
        alarm.set(cx.waker()).ok()?;
        let ticket = threads.rounds().offer(round, cx.waker().clone())?;
        Some(Self { threads: threads.clone(), ticket, _alarm: alarm })
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.threads.rounds().withdraw(self.ticket);
    }
}
