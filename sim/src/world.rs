//! [`World`], the state of a simulation: its clock, its contexts, its disk, and the calls.

use crate::context::{Context, InFlight, On};
use crate::descriptor::{Descriptors, Target, describe, name_of_simulated, signal};
use crate::disk::Disk;
use crate::faults::Faults;
use crate::monitor::Monitor;
use crate::random::Random;
use linux_aio::Errno;
use linux_aio::abi::{
    IOCB_CMD_FDSYNC, IOCB_CMD_FSYNC, IOCB_CMD_PREAD, IOCB_CMD_PREADV, IOCB_CMD_PWRITE,
    IOCB_CMD_PWRITEV, IOCB_FLAG_RESFD, io_event,
};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::thread;

/// The most events of no operation that come at once, so that operations find room.
const MOST_STRAYS: usize = 8;
/// Nanoseconds that a system call takes.
const CALL: u64 = 300;

/// Says why a call does not return.
pub(crate) enum Stop {
    /// The power fails: the thread unwinds.
    PowerFails,
    /// The program does something that the simulation cannot do. The text says what to do.
    Misuse(String),
}

/// Says how a machine or a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Crash,
    Kill,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) faults: Faults,
    pub(crate) random: Random,
    /// Nanoseconds since the start.
    pub(crate) now: u64,
    pub(crate) disk: Disk,
    pub(crate) descriptors: Descriptors,
    /// By number, in the order in which they were made.
    pub(crate) contexts: BTreeMap<u64, Context>,
    pub(crate) next_context: u64,
    /// Operations so far.
    pub(crate) operations: u64,
    /// Events of no operation so far.
    strays: u64,
    /// The time at which the last operation is due, if operations keep their order.
    last_due: u64,
    /// The disk answers nothing before this time.
    stalled_until: u64,
    /// Calls until the power fails or the process ends.
    fuse: Option<(u64, End)>,
    /// The power has failed, and the threads have not unwound yet.
    pub(crate) is_down: bool,
    /// An executor drops the futures of a process that has ended: their driver may still submit.
    pub(crate) is_ending: bool,
    /// Lists what a harness wants to know. There is no clock then: choices say what ends when.
    pub(crate) monitor: Option<Box<Monitor>>,
    /// An eventfd has been signalled since a runtime went to sleep.
    pub(crate) has_signalled: bool,
    pub(crate) trace: Option<String>,
}

pub(crate) fn negative(errno: Errno) -> isize {
    -(errno.as_raw() as isize)
}

impl World {
    pub(crate) fn new(random: Random, faults: Faults, traced: bool) -> Self {
        faults.check_sector();
        Self {
            faults,
            random,
            now: 0,
            disk: Disk::default(),
            descriptors: Descriptors::default(),
            contexts: BTreeMap::new(),
            next_context: 1,
            operations: 0,
            strays: 0,
            last_due: 0,
            stalled_until: 0,
            fuse: None,
            is_down: false,
            is_ending: false,
            monitor: None,
            has_signalled: false,
            trace: traced.then(String::new),
        }
    }

    /// Adds a line to the trace. The text names files and contexts by what they are in every run,
    /// never by a descriptor or an address.
    pub(crate) fn note(&mut self, text: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let (micros, nanos) = (self.now / 1000, self.now % 1000);
            let text = text(self);
            let trace = self.trace.get_or_insert_default();
            let _ = writeln!(trace, "{micros:>9}.{nanos:03} µs  {text}");
        }
    }

    /// Begins a system call: time passes, and the power may fail.
    pub(crate) fn begin_call(&mut self) -> Result<(), Stop> {
        if thread::panicking() {
            return Ok(());
        }
        if self.is_down {
            return Err(Stop::PowerFails);
        }
        match &mut self.fuse {
            Some((0, end)) => {
                let end = *end;
                self.end_machine(end);
                self.is_down = true;
                return Err(Stop::PowerFails);
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
        self.pass(CALL);
        Ok(())
    }

    /// Has the power fail, or the process end, at the start of a call after `calls` ones.
    pub(crate) fn light_fuse(&mut self, calls: u64, end: End) {
        self.fuse = Some((calls, end));
    }

    /// Returns whether the end has come.
    pub(crate) fn put_fuse_out(&mut self) -> bool {
        self.fuse = None;
        std::mem::take(&mut self.is_down)
    }

    // ---- time ----

    /// Lets time pass, and completes the operations that are due.
    pub(crate) fn pass(&mut self, nanoseconds: u64) {
        if self.monitor.is_some() {
            return;
        }
        let until = self.now.saturating_add(nanoseconds);
        while self.end_next(Some(until)) {}
        self.now = until;
    }

    /// Moves the clock to the next completion, if it is not after `until`.
    pub(crate) fn end_next(&mut self, until: Option<u64>) -> bool {
        self.look_at_rings();
        self.end_ready_polls();
        let all = self.contexts.iter().flat_map(|(&context, it)| {
            let operations = it.in_flight.iter().enumerate();
            operations.map(move |(index, it)| (it.due, it.order, context, index, it.on))
        });
        let timed = all.filter(|it| matches!(it.4, On::Simulated(_)));
        let Some((due, _, context, index, _)) = timed.min_by_key(|it| (it.0, it.1)) else {
            return false;
        };
        if until.is_some_and(|until| due > until) {
            return false;
        }
        self.now = self.now.max(due);
        self.end(context, index);
        true
    }

    /// Ends an operation: does its I/O, and gives its event.
    pub(crate) fn end(&mut self, context: u64, index: usize) {
        let Some(it) = self.contexts.get_mut(&context) else { return };
        let operation = it.in_flight.remove(index);
        let result = self.carry_out(&operation);
        self.note(|world| format!("event: {} -> {}", world.text(&operation), outcome(result)));
        self.publish(context, &operation, result);
        if self.monitor.is_none() {
            self.give_strays(context);
        }
    }

    fn publish(&mut self, context: u64, operation: &InFlight, result: i64) {
        let Some(it) = self.contexts.get_mut(&context) else { return };
        let event = io_event {
            data: operation.iocb.aio_data,
            obj: operation.address,
            res: result,
            ..io_event::default()
        };
        it.publish(event, false);
        if let Some(monitor) = &mut self.monitor {
            monitor.past.push(event);
        }
        if operation.iocb.aio_flags & IOCB_FLAG_RESFD != 0 {
            signal(operation.iocb.aio_resfd);
            self.has_signalled = true;
        }
    }

    /// Gives events that belong to no operation, as far as there is room.
    pub(crate) fn give_strays(&mut self, context: u64) {
        for _ in 0..MOST_STRAYS {
            let room = self.contexts.get(&context).map_or(0, Context::room);
            let past = self.monitor.as_ref().map_or(0, |monitor| monitor.past.len());
            let event = if room == 0 {
                return;
            } else if past > 0 && self.strikes(self.faults.duplicate_events, 16, 16) {
                let back = self.random.index(past.min(256));
                self.monitor.as_ref().map_or_else(io_event::default, |it| it.past[past - 1 - back])
            } else if self.strikes(self.faults.stray_events, 16, 16) {
                self.strays += 1;
                // No slot has such an index.
                let index = 0xffff_0000 | self.random.below(256);
                io_event { data: self.strays << 32 | index, res: 1, ..io_event::default() }
            } else {
                return;
            };
            self.note(|_| format!("event: one of no operation, context {context}"));
            if let Some(it) = self.contexts.get_mut(&context) {
                it.publish(event, true);
            }
        }
    }

    /// Returns whether a fault happens now: once in `usual` times if it is switched on, and once in
    /// `often` under a harness, whose inputs are short.
    pub(crate) fn strikes(&mut self, is_on: bool, usual: u64, often: u64) -> bool {
        is_on && self.random.one_in(if self.monitor.is_some() { often } else { usual })
    }

    /// Takes note of the events that user space has taken off the rings.
    pub(crate) fn look_at_rings(&mut self) {
        let errors = self.contexts.values_mut().filter_map(|it| it.look_at_head().err());
        match &mut self.monitor {
            Some(monitor) => monitor.violations.extend(errors),
            None => errors.for_each(drop),
        }
    }

    /// Completes POLLs that have been cancelled or whose descriptor is ready.
    fn end_ready_polls(&mut self) {
        let mut ready = Vec::new();
        for (&context, it) in &self.contexts {
            for (index, operation) in it.in_flight.iter().enumerate() {
                if let On::Polled(fd) = operation.on {
                    let events = poll(fd, operation.iocb.aio_buf as u16);
                    if operation.is_cancelled || events != 0 {
                        ready.push((context, index, events));
                    }
                }
            }
        }
        // From the back, so that the indices stay right.
        for (context, index, events) in ready.into_iter().rev() {
            let Some(it) = self.contexts.get_mut(&context) else { continue };
            let operation = it.in_flight.remove(index);
            self.note(|_| format!("event: poll -> {events:#x}"));
            self.publish(context, &operation, events.into());
        }
    }

    /// Returns the number of operations of the disk that are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        let all = self.contexts.values().flat_map(|it| &it.in_flight);
        all.filter(|operation| operation.is_of_disk()).count()
    }

    pub(crate) fn has_polls(&self) -> bool {
        let mut all = self.contexts.values().flat_map(|it| &it.in_flight);
        all.any(|operation| matches!(operation.on, On::Polled(_)))
    }

    /// Chooses when an operation that is submitted now completes.
    pub(crate) fn due(&mut self, opcode: u16) -> u64 {
        let is_sync = matches!(opcode, IOCB_CMD_FSYNC | IOCB_CMD_FDSYNC);
        let usual = if is_sync { 500_000 } else { 50_000 };
        let begin = self.now.max(self.stalled_until);
        if !self.faults.reordering {
            self.last_due = begin.saturating_add(usual).max(self.last_due.saturating_add(1));
            return self.last_due;
        }
        let mut takes = usual / 4 + self.random.below(usual * 2);
        if self.random.one_in(16) {
            takes += self.random.below(10_000_000);
        }
        if self.faults.stalls && self.random.one_in(256) {
            takes += 1_000_000_000 + self.random.below(29_000_000_000);
        }
        begin.saturating_add(takes)
    }

    /// Has the disk answer nothing for a time, neither what it has nor what comes.
    pub(crate) fn stall(&mut self, nanoseconds: u64) {
        let begin = self.now.max(self.stalled_until);
        let until = begin.max(self.now.saturating_add(nanoseconds));
        let longer = until - begin;
        for operation in self.contexts.values_mut().flat_map(|it| &mut it.in_flight) {
            operation.due = operation.due.saturating_add(longer);
        }
        self.last_due = self.last_due.saturating_add(longer);
        self.stalled_until = until;
        self.note(|_| format!("--- the disk stalls until {} µs", until / 1000));
    }

    /// Changes what may go wrong from now on.
    pub(crate) fn set_faults(&mut self, faults: Faults) {
        faults.check_sector();
        assert!(
            faults.sector == self.faults.sector,
            "linux-aio-sim: Faults::sector is {}, and the disk was made with {}; make another Sim \
             for another disk",
            faults.sector,
            self.faults.sector
        );
        self.faults = faults;
        self.note(|_| "--- other faults".into());
    }

    // ---- the end ----

    /// Ends the process, and with a crash the machine.
    pub(crate) fn end_machine(&mut self, end: End) {
        self.fuse = None;
        self.look_at_rings();
        self.note(|_| format!("--- {end:?}"));
        let numbers: Vec<u64> = self.contexts.keys().copied().collect();
        let mut left = Vec::new();
        for number in numbers {
            let Some(context) = self.contexts.get_mut(&number) else { continue };
            context.is_dead = true;
            left.extend(context.in_flight.drain(..).map(|operation| (number, operation)));
        }
        left.sort_by_key(|(_, operation)| (operation.due, operation.order));
        for (context, operation) in left {
            let of_disk = operation.is_of_disk();
            // A process that ends waits for its operations. Those of a crash have come anywhere.
            if of_disk && (end == End::Kill || self.random.one_in(2)) && !operation.is_sync() {
                self.execute(&operation);
                self.note(|world| format!("still done: {}", world.text(&operation)));
            }
            // The buffers go back to their owners, which a thread that unwinds waits for.
            self.publish(context, &operation, -i64::from(Errno::EIO.as_raw()));
        }
        match end {
            End::Kill => self.disk.drop_lost(&self.faults, &mut self.random),
            End::Crash => {
                (self.stalled_until, self.last_due) = (0, 0);
                let lines = self.disk.crash(&self.faults, &mut self.random);
                lines.into_iter().for_each(|line| self.note(|_| line));
            }
        }
        self.descriptors.end_era();
    }

    /// Makes the lengths that `fstat` tells those of the files.
    pub(crate) fn show_lengths(&self) {
        for (file, length) in self.disk.lengths() {
            self.descriptors.set_len(file, length);
        }
    }

    /// An operation, for the trace.
    pub(crate) fn text(&self, operation: &InFlight) -> String {
        let iocb = &operation.iocb;
        let name = match operation.on {
            On::Simulated(Target::File { file, .. }) => self.disk.label(file),
            On::Simulated(Target::Directory) => "the directory",
            On::Polled(_) => "a descriptor",
        };
        let verb = match iocb.aio_lio_opcode {
            IOCB_CMD_PREAD | IOCB_CMD_PREADV => "read",
            IOCB_CMD_PWRITE | IOCB_CMD_PWRITEV => "write",
            IOCB_CMD_FSYNC => return format!("fsync {name}"),
            IOCB_CMD_FDSYNC => return format!("fdatasync {name}"),
            _ => return format!("poll {name}"),
        };
        let bytes: usize = operation.segments.iter().map(|segment| segment.len).sum();
        format!("{verb} {name} {}+{bytes}", iocb.aio_offset)
    }
}

/// The complaint of a descriptor that has not survived.
pub(crate) fn stale(number: i32) -> Stop {
    Stop::Misuse(format!(
        "descriptor {} was opened before the last crash or kill; open the file again",
        describe(number),
    ))
}

/// The complaint of a descriptor that is none of this simulation. `why` says what to do.
pub(crate) fn foreign(number: i32, why: &str) -> Stop {
    let which = describe(number);
    Stop::Misuse(match name_of_simulated(number) {
        Some(_) => format!(
            "descriptor {which} is of another simulation; a machine has files, contexts and \
             drivers of its own, so open the file by Sim::file or Sim::path of this one"
        ),
        None => format!("descriptor {which} is no file of this simulation, but {why}"),
    })
}

/// A result, for the trace.
pub(crate) fn outcome(result: i64) -> String {
    match i32::try_from(-result) {
        Ok(number @ 1..) => {
            Errno::from_raw(number).map_or(result.to_string(), |errno| format!("{errno:?}"))
        }
        _ => result.to_string(),
    }
}

/// Returns which of the events a descriptor of the running kernel is ready for.
#[allow(clippy::unnecessary_cast, reason = "rustix takes the C library's type where it has that")]
fn poll(number: i32, events: u16) -> u16 {
    use rustix::event::{PollFd, PollFlags, Timespec};
    if number < 0 || cfg!(miri) {
        return 0;
    }
    // SAFETY: The number is not -1. The program has named the descriptor in an operation, which
    // lends it to the kernel until the event.
    let fd = unsafe { rustix::fd::BorrowedFd::borrow_raw(number) };
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::from_bits_retain(events as _))];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut fds, Some(&now)) {
        Ok(1..) => fds[0].revents().bits() as u16,
        _ => 0,
    }
}
