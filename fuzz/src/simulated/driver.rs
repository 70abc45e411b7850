//! Target `driver_simulated`: futures of a [`Driver`] that are made, polled, dropped and kept, over
//! a simulated kernel, with a reactor that comes round when the input says so.
//!
//! What must hold: each future gives its operation once, whole, as the kernel has done it, and not
//! before; one that could go on has been woken; a dropped one leaves its buffer until the kernel is
//! finished; where events can be had no longer, every future ends, when the kernel is finished;
//! closing ends. Some drivers retry without end where the kernel has no resources, by their helper
//! thread; the others do not.

use super::layer::Pool;
use super::memory::{Buffer, Buffers};
use super::operation::{Ledger, Op, What, descriptor};
use super::queue::Fresh;
use super::{Filters, Kernel, Object, Script, judge, report};
use crate::divergence::{Verdict, ensure};
use crate::input::Source;
use linux_aio::op::Fsync;
use linux_aio::{Driver, Errno, EventFd};
use linux_aio::{OpFuture, Reactor};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Slots of a driver, at most.
const MOST: usize = 12;
/// Futures at a time, at most.
const FUTURES: usize = 40;
/// What a refused `io_getevents` gives, and no operation.
const REFUSED: Errno = Errno::EFAULT;
/// How long the helper thread may take for what it has to do, which is far more than it needs.
const PATIENCE: Duration = Duration::from_secs(20);

/// The reactor: looks at the eventfd when it is told to.
struct Manual {
    eventfd: Arc<EventFd>,
    waker: Mutex<Option<Waker>>,
    /// Whether it takes wakers to be called later.
    wakes_later: bool,
    later: Mutex<Option<Waker>>,
}

impl Manual {
    fn is_readable(&self) -> bool {
        let mut fds = [PollFd::new(&*self.eventfd, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }

    /// Comes round; `false` where there was nothing to do.
    fn turn(&self) -> bool {
        let later = self.later.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(later) = later {
            later.wake();
            return true;
        }
        if !self.is_readable() {
            return false;
        }
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        waker.map(Waker::wake).is_some()
    }
}

struct Watching(Arc<Manual>);

impl Reactor for Watching {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.is_readable() {
            return Poll::Ready(Ok(()));
        }
        let waker = cx.waker().clone();
        *self.0.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
        Poll::Pending
    }

    fn wake_later(&self, waker: &Waker) -> bool {
        if self.0.wakes_later {
            *self.0.later.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
        }
        self.0.wakes_later
    }
}

/// Notes that it was called.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

struct Flight {
    future: OpFuture<Op<Buffer>>,
    number: u32,
    /// A POLL, which need not end.
    polls: bool,
    woken: Arc<Flag>,
    started: bool,
}

struct Drivers<'a> {
    kernel: &'a Kernel,
    ledger: Ledger,
    buffers: Buffers,
    reactor: Arc<Manual>,
    /// Slots of the driver.
    capacity: usize,
    flights: Vec<Flight>,
}

/// Runs the steps of an input over a kernel with a script. Gives how many operations that were.
pub fn run(steps: &[u8], script: Script) -> Verdict<u64> {
    let mut source = Source::new(steps);
    let kernel = super::kernel(script);
    let _entered = kernel.enter();
    let mut ledger = Ledger::new(kernel.clone());
    ledger.refusals = vec![Errno::ENOSYS];
    let mut reactor = None;
    let capacity = 1 + source.below(MOST);
    let made = Driver::new(capacity as u32, |eventfd| {
        let manual = Arc::new(Manual {
            eventfd,
            waker: Mutex::default(),
            wakes_later: capacity % 2 == 0,
            later: Mutex::default(),
        });
        reactor = Some(Arc::clone(&manual));
        Ok(Watching(manual))
    });
    let (Ok(driver), Some(reactor)) = (made, reactor) else { return Ok(0) };
    if capacity % 3 == 0 {
        driver.retry_submits_for(Duration::ZERO);
        ledger.refusals.push(Errno::EXHAUSTED);
    } else {
        driver.retry_submits_for(Duration::MAX);
    }
    let (buffers, flights) = (Buffers::default(), Vec::new());
    let mut drivers = Drivers { kernel: &kernel, ledger, buffers, reactor, capacity, flights };
    while !source.is_empty() {
        drivers.step(&mut source, &driver)?;
        judge(kernel.check())?;
    }
    drivers.finish(&mut source, driver)?;
    judge(kernel.end())?;
    Ok(drivers.ledger.operations)
}

impl Drivers<'_> {
    fn step(&mut self, source: &mut Source<'_>, driver: &Driver) -> Verdict {
        match source.below(16) {
            0..=4 if self.flights.len() < FUTURES => {
                let number = self.ledger.number();
                let mut pool = Fresh(&self.buffers);
                let op = Op::generate(source, number, |source| pool.take(source));
                let polls = matches!(op.what, What::Poll(_));
                let (future, woken) = (driver.perform(op), Arc::default());
                self.ledger.gave(number, None);
                self.flights.push(Flight { future, number, polls, woken, started: false });
                if !source.once_in(8) {
                    self.poll(self.flights.len() - 1)?;
                }
            }
            5..=7 if !self.flights.is_empty() => self.poll(source.below(self.flights.len()))?,
            8 if !self.flights.is_empty() => {
                let flight = self.flights.swap_remove(source.below(self.flights.len()));
                self.ledger.lost(flight.number);
            }
            9..=11 => self.kernel.run(8),
            12 => self.kernel.set_readable(source.once_in(2)),
            13 => {
                let submit = source.once_in(4).then_some(Errno::ENOSYS);
                self.kernel.filter(Filters { submit, ..Filters::default() });
            }
            14 if source.once_in(8) => self.kernel.spoil_rings(),
            15 if source.once_in(16) => self.refuse_events(),
            _ => {
                self.reactor.turn();
            }
        }
        Ok(())
    }

    /// Events can be had off the ring alone from now on.
    fn refuse_events(&mut self) {
        self.kernel.filter(Filters { getevents: Some(REFUSED), ..Filters::default() });
        self.ledger.unknown = Some(REFUSED);
    }

    /// Where the driver has missed events, it ends everything on its thread, which wakes the
    /// futures last.
    fn wait_where_it_has_failed(&mut self, driver: &Driver) -> bool {
        let mut late = driver.perform(Fsync::new(descriptor(Object::File)));
        let polled = Pin::new(&mut late).poll(&mut Context::from_waker(Waker::noop()));
        let failed = matches!(polled, Poll::Ready((Err(REFUSED), _)));
        let woken = |flight: &Flight| flight.woken.0.load(Ordering::Acquire);
        while failed && !(driver.outstanding() == 0 && self.flights.iter().all(woken)) {
            thread::yield_now();
        }
        failed
    }

    fn poll(&mut self, i: usize) -> Verdict {
        let flight = &mut self.flights[i];
        (flight.started, flight.woken) = (true, Arc::default());
        let waker = Waker::from(Arc::clone(&flight.woken));
        let polled = Pin::new(&mut flight.future).poll(&mut Context::from_waker(&waker));
        if let Poll::Ready((result, op)) = polled {
            self.flights.swap_remove(i);
            self.ledger.complete(None, result, &op)?;
        }
        Ok(())
    }

    /// The kernel, the reactor and the futures go on as long as one of them can.
    fn turn_until_nothing_happens(&mut self) -> Verdict {
        loop {
            self.kernel.run_to_the_end();
            let turned = self.reactor.turn();
            let woken = |flight: &Flight| flight.woken.0.load(Ordering::Acquire);
            match self.flights.iter().position(woken) {
                Some(i) => self.poll(i)?,
                None if turned => {}
                None => return Ok(()),
            }
        }
    }

    /// As [`turn_until_nothing_happens`](Self::turn_until_nothing_happens), until this is so: the
    /// helper thread may be at it, too.
    fn turn_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Verdict {
        let start = Instant::now();
        self.turn_until_nothing_happens()?;
        while !is_so(self) {
            ensure(start.elapsed() < PATIENCE, || {
                format!("{} futures are left, and never were {what}", self.flights.len())
            })?;
            thread::yield_now();
            self.turn_until_nothing_happens()?;
        }
        Ok(())
    }

    /// Everything ends, by wakers alone.
    fn finish(&mut self, source: &mut Source<'_>, driver: Driver) -> Verdict {
        let not_started: Vec<usize> =
            (0..self.flights.len()).filter(|&i| !self.flights[i].started).collect();
        for i in not_started.into_iter().rev() {
            self.poll(i)?;
        }
        self.kernel.calm();
        self.kernel.set_readable(false);
        let failed = self.ledger.unknown.is_some() && self.wait_where_it_has_failed(&driver);
        // Only a slot is waited for without end: that of a POLL.
        self.turn_until("given the slots that are free", |this| {
            let only_polls = this.flights.iter().all(|flight| flight.polls);
            only_polls || this.kernel.in_flight() == this.capacity
        })?;
        self.kernel.set_readable(true);
        self.turn_until("woken", |this| this.flights.is_empty() && driver.outstanding() == 0)?;
        let fails = source.once_in(4);
        let destroy = fails.then_some(Errno::EPERM);
        self.kernel.filter(Filters { destroy, ..Filters::default() });
        let handle = driver.clone();
        block_on(driver.close());
        drop(handle);
        let (count, contexts) = (self.buffers.count(), self.kernel.contexts());
        match (count, contexts == usize::from(fails && !failed)) {
            (0, true) => judge(self.kernel.check()),
            _ => Err(report(format!("{count} buffers and {contexts} contexts are left"))),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// What the future gives; this thread sleeps until then.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
