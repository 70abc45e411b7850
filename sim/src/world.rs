//! [`World`], the state of a simulation: its clock, its contexts, its disk, and the calls.

use crate::descriptor::{Descriptors, Found, Target, describe, is_eventfd, signal};
use crate::disk::Disk;
use crate::faults::Faults;
use crate::memory::{Segment, segments};
use crate::random::Random;
use crate::ring::Ring;
use linux_aio::Errno;
use linux_aio::abi::{
    IOCB_CMD_FDSYNC, IOCB_CMD_FSYNC, IOCB_CMD_POLL, IOCB_CMD_PREAD, IOCB_CMD_PREADV,
    IOCB_CMD_PWRITE, IOCB_CMD_PWRITEV, IOCB_FLAG_RESFD, KIOCB_KEY, RWF_APPEND, RWF_DSYNC,
    RWF_HIPRI, RWF_NOWAIT, RWF_SYNC, io_event, iocb,
};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::thread;

/// The most operations that a context can be asked for.
const MOST: u32 = 1 << 16;
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
    contexts: BTreeMap<u64, Context>,
    next_context: u64,
    /// Operations so far.
    operations: u64,
    /// The time at which the last operation is due, if operations keep their order.
    last_due: u64,
    /// Calls until the power fails or the process ends.
    fuse: Option<(u64, End)>,
    /// The power has failed, and the threads have not unwound yet.
    pub(crate) is_down: bool,
    /// An executor drops the futures of a process that has ended: their driver may still submit.
    pub(crate) is_ending: bool,
    /// An eventfd has been signalled since a runtime went to sleep.
    pub(crate) has_signalled: bool,
    pub(crate) trace: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Context {
    ring: Ring,
    capacity: usize,
    in_flight: Vec<InFlight>,
    /// A crash or a kill has ended it.
    is_dead: bool,
}

/// An operation that the kernel has.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    pub(crate) iocb: iocb,
    /// The address that it was submitted from.
    address: u64,
    pub(crate) on: On,
    pub(crate) segments: Vec<Segment>,
    /// The time at which it completes. A POLL has no such time.
    due: u64,
    /// Its number among all.
    order: u64,
    /// For a sync: the number of the first change that it does not cover.
    pub(crate) covers: u64,
    is_cancelled: bool,
}

/// Names the object that an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Simulated(Target),
    /// A POLL of a descriptor of the running kernel.
    Polled(i32),
}

/// Says what a wait does next.
pub(crate) enum Wait {
    Over(Result<usize, Errno>),
    /// Nothing can complete before another thread does something.
    ForOthers,
}

pub(crate) fn negative(errno: Errno) -> isize {
    -(errno.as_raw() as isize)
}

impl World {
    pub(crate) fn new(seed: u64, faults: Faults, traced: bool) -> Self {
        assert!(matches!(faults.sector, 512 | 4096), "sectors have 512 or 4096 bytes");
        Self {
            faults,
            random: Random::new(seed),
            now: 0,
            disk: Disk::default(),
            descriptors: Descriptors::default(),
            contexts: BTreeMap::new(),
            next_context: 1,
            operations: 0,
            last_due: 0,
            fuse: None,
            is_down: false,
            is_ending: false,
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
    fn begin_call(&mut self) -> Result<(), Stop> {
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
        let until = self.now.saturating_add(nanoseconds);
        while self.end_next(Some(until)) {}
        self.now = until;
    }

    /// Moves the clock to the next completion, if it is not after `until`.
    pub(crate) fn end_next(&mut self, until: Option<u64>) -> bool {
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
    fn end(&mut self, context: u64, index: usize) {
        let Some(it) = self.contexts.get_mut(&context) else { return };
        let operation = it.in_flight.remove(index);
        let result = self.execute(&operation);
        self.note(|world| format!("event: {} -> {}", world.text(&operation), outcome(result)));
        self.publish(context, &operation, result);
        self.give_stray(context);
    }

    fn publish(&mut self, context: u64, operation: &InFlight, result: i64) {
        let Some(it) = self.contexts.get_mut(&context) else { return };
        it.ring.publish(io_event {
            data: operation.iocb.aio_data,
            obj: operation.address,
            res: result,
            ..io_event::default()
        });
        if operation.iocb.aio_flags & IOCB_FLAG_RESFD != 0 {
            signal(operation.iocb.aio_resfd);
            self.has_signalled = true;
        }
    }

    /// Gives an event that belongs to no operation of a queue or scope, if there is room.
    fn give_stray(&mut self, context: u64) {
        if !self.faults.stray_events || !self.random.one_in(16) {
            return;
        }
        let Some(it) = self.contexts.get_mut(&context) else { return };
        if it.room() > 0 {
            // No slot has such an index.
            it.ring.publish(io_event { data: u64::MAX, res: 1, ..io_event::default() });
            self.note(|_| format!("event: one of no operation, context {context}"));
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

    pub(crate) fn has_polls(&self) -> bool {
        let mut all = self.contexts.values().flat_map(|it| &it.in_flight);
        all.any(|operation| matches!(operation.on, On::Polled(_)))
    }

    /// Chooses when an operation that is submitted now completes.
    fn due(&mut self, opcode: u16) -> u64 {
        let is_sync = matches!(opcode, IOCB_CMD_FSYNC | IOCB_CMD_FDSYNC);
        let usual = if is_sync { 500_000 } else { 50_000 };
        if !self.faults.reordering {
            self.last_due = (self.now + usual).max(self.last_due + 1);
            return self.last_due;
        }
        let mut takes = usual / 4 + self.random.below(usual * 2);
        if self.random.one_in(16) {
            takes += self.random.below(10_000_000);
        }
        if self.faults.stalls && self.random.one_in(256) {
            takes += 1_000_000_000 + self.random.below(29_000_000_000);
        }
        self.now + takes
    }

    // ---- the calls ----

    pub(crate) fn io_setup(&mut self, nr_events: u32) -> Result<Result<(u64, usize), Errno>, Stop> {
        self.begin_call()?;
        if nr_events == 0 || nr_events > MOST {
            return Ok(Err(Errno::EINVAL));
        }
        if self.faults.refusals && self.random.one_in(32) {
            self.note(|_| format!("io_setup({nr_events}) -> EAGAIN"));
            return Ok(Err(Errno::EAGAIN));
        }
        let capacity = nr_events + self.random.below(4) as u32;
        let readable = !self.faults.missing_rings || !self.random.one_in(4);
        let number = self.next_context;
        self.next_context += 1;
        let ring = Ring::new(capacity, readable);
        let address = ring.address();
        let (in_flight, is_dead, capacity) = (Vec::new(), false, capacity as usize);
        self.contexts.insert(number, Context { ring, capacity, in_flight, is_dead });
        let kind = if readable { "" } else { " without a ring" };
        self.note(|_| format!("io_setup({nr_events}) -> context {number}{kind}"));
        Ok(Ok((number, address)))
    }

    /// Waits for what is in flight, and ends the context, whose ring the caller drops.
    pub(crate) fn io_destroy(&mut self, context: u64) -> Option<Context> {
        let of_disk = |it: &InFlight| matches!(it.on, On::Simulated(_));
        while self.contexts.get(&context)?.in_flight.iter().any(of_disk) {
            self.end_next(None);
        }
        self.note(|_| format!("io_destroy(context {context})"));
        self.contexts.remove(&context)
    }

    /// # Safety
    /// As `sys::io_submit`.
    pub(crate) unsafe fn io_submit(
        &mut self,
        context: u64,
        iocbs: &[*mut iocb],
    ) -> Result<isize, Stop> {
        self.begin_call()?;
        let Some(it) = self.contexts.get(&context) else { return Ok(negative(Errno::EINVAL)) };
        if it.is_dead {
            if iocbs.is_empty() {
                return Ok(negative(Errno::EINVAL));
            }
            if self.is_ending {
                return Ok(negative(Errno::EIO));
            }
            return Err(Stop::Misuse(
                "io_submit to a context from before the last crash or kill; drop the queue with \
                 the process that it belonged to, and make another one afterwards"
                    .into(),
            ));
        }
        let busy = !it.in_flight.is_empty();
        if busy && self.faults.busy && self.random.one_in(16) {
            self.note(|_| format!("io_submit(context {context}) -> EAGAIN"));
            return Ok(negative(Errno::EAGAIN));
        }
        let mut most = iocbs.len();
        if self.faults.partial_submits && most > 1 && self.random.one_in(4) {
            most = 1 + self.random.index(most - 1);
        }
        let mut count = 0;
        let mut failure = None;
        for &pointer in &iocbs[..most] {
            // SAFETY: The caller's promise.
            match unsafe { self.submit_one(context, pointer) } {
                Ok(Ok(())) => count += 1,
                Ok(Err(errno)) => {
                    failure = Some(errno);
                    break;
                }
                Err(stop) if count == 0 => return Err(stop),
                // The caller must hear of those that are in flight. The next call stops.
                Err(_) => break,
            }
        }
        match failure {
            Some(errno) if count == 0 => {
                self.note(|_| format!("io_submit(context {context}) -> {errno:?}"));
                Ok(negative(errno))
            }
            _ => {
                let asked = iocbs.len();
                self.note(|_| format!("io_submit(context {context}, {asked}) -> {count}"));
                Ok(count)
            }
        }
    }

    /// # Safety
    /// `pointer` is null or valid for reads and writes, and the operation may be given to
    /// `io_submit`.
    unsafe fn submit_one(
        &mut self,
        context: u64,
        pointer: *mut iocb,
    ) -> Result<Result<(), Errno>, Stop> {
        // SAFETY: The caller's promise.
        let Some(place) = (unsafe { pointer.as_mut() }) else { return Ok(Err(Errno::EFAULT)) };
        let operation = *place;
        let opcode = operation.aio_lio_opcode;
        if operation.aio_reserved2 != 0 || isize::try_from(operation.aio_nbytes).is_err() {
            return Ok(Err(Errno::EINVAL));
        }
        let Some(it) = self.contexts.get(&context) else { return Ok(Err(Errno::EINVAL)) };
        if it.room() == 0 {
            return Ok(Err(Errno::EAGAIN));
        }
        let on = match self.find(operation.aio_fildes as i32, opcode)? {
            Ok(on) => on,
            Err(errno) => return Ok(Err(errno)),
        };
        if operation.aio_flags & IOCB_FLAG_RESFD != 0 && !is_eventfd(operation.aio_resfd as i32) {
            return Ok(Err(Errno::EINVAL));
        }
        place.aio_key = KIOCB_KEY;
        if let Err(errno) = check(&operation, on) {
            return Ok(Err(errno));
        }
        if self.faults.refusals && self.random.one_in(64) {
            return Ok(Err(Errno::ENOMEM));
        }
        // SAFETY: The caller's promise.
        let segments = unsafe { segments(&operation) };
        let covers = match on {
            On::Simulated(Target::File { file, .. }) => self.disk.inode(file).next_number(),
            _ => self.disk.name_changes(),
        };
        let (due, order) = (self.due(opcode), self.operations);
        self.operations += 1;
        let address = pointer.expose_provenance() as u64;
        let is_cancelled = false;
        let operation =
            InFlight { iocb: operation, address, on, segments, due, order, covers, is_cancelled };
        self.note(|world| format!("submit: {}", world.text(&operation)));
        if let Some(it) = self.contexts.get_mut(&context) {
            it.in_flight.push(operation);
        }
        Ok(Ok(()))
    }

    /// Finds what an operation works on.
    fn find(&self, number: i32, opcode: u16) -> Result<Result<On, Errno>, Stop> {
        let is_poll = opcode == IOCB_CMD_POLL;
        match self.descriptors.find(number) {
            // A file of a disk cannot be polled.
            Found::Target(_) if is_poll => Ok(Err(Errno::EINVAL)),
            Found::Target(target) => Ok(Ok(On::Simulated(target))),
            Found::Closed => Ok(Err(Errno::EBADF)),
            Found::Foreign if is_poll => Ok(Ok(On::Polled(number))),
            Found::Foreign => Err(Stop::Misuse(format!(
                "descriptor {} is no file of this simulation, but the context is simulated; open \
                 the file by Sim::file, or make its queue in a thread that has not entered the \
                 simulation",
                describe(number),
            ))),
            Found::Stale => Err(Stop::Misuse(format!(
                "descriptor {} was opened before the last crash or kill; open the file again",
                describe(number),
            ))),
        }
    }

    pub(crate) fn io_cancel(&mut self, context: u64, address: u64) -> Result<isize, Stop> {
        self.begin_call()?;
        let Some(it) = self.contexts.get_mut(&context) else { return Ok(negative(Errno::EINVAL)) };
        let mut polls = it.in_flight.iter_mut().filter(|it| matches!(it.on, On::Polled(_)));
        match polls.find(|it| it.address == address && !it.is_cancelled) {
            Some(operation) => {
                operation.is_cancelled = true;
                Ok(negative(Errno::EINPROGRESS))
            }
            None => Ok(negative(Errno::EINVAL)),
        }
    }

    /// Begins a wait.
    pub(crate) fn begin_wait(&mut self) -> Result<(), Stop> {
        self.begin_call()
    }

    /// Takes events, and lets time pass until there are `min`, or it is `deadline`.
    pub(crate) fn go_on_waiting(
        &mut self,
        context: u64,
        (min, most): (usize, usize),
        deadline: Option<u64>,
        events: &mut Vec<io_event>,
    ) -> Wait {
        loop {
            let Some(it) = self.contexts.get_mut(&context) else {
                return Wait::Over(Err(Errno::EINVAL));
            };
            while events.len() < most {
                let Some(event) = it.ring.take() else { break };
                events.push(event);
            }
            let count = events.len();
            if count >= min || (it.is_dead && deadline.is_some()) {
                return Wait::Over(Ok(count));
            }
            let sleeps = deadline.is_none_or(|deadline| deadline > self.now);
            if sleeps && self.faults.interrupts && self.random.one_in(32) {
                self.note(|_| format!("io_getevents(context {context}) -> EINTR, or {count}"));
                return Wait::Over(if count == 0 { Err(Errno::EINTR) } else { Ok(count) });
            }
            if !self.end_next(deadline) {
                let Some(deadline) = deadline else { return Wait::ForOthers };
                self.now = self.now.max(deadline);
                return Wait::Over(Ok(count));
            }
        }
    }

    pub(crate) fn is_dead(&self, context: u64) -> bool {
        self.contexts.get(&context).is_none_or(|it| it.is_dead)
    }

    // ---- the end ----

    /// Ends the process, and with a crash the machine.
    pub(crate) fn end_machine(&mut self, end: End) {
        self.fuse = None;
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
            let of_disk = matches!(operation.on, On::Simulated(_));
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
    fn text(&self, operation: &InFlight) -> String {
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

impl Context {
    /// Returns how many more operations find room.
    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.in_flight.len() + self.ring.len())
    }
}

impl InFlight {
    fn is_sync(&self) -> bool {
        matches!(self.iocb.aio_lio_opcode, IOCB_CMD_FSYNC | IOCB_CMD_FDSYNC)
    }
}

/// The kernel's checks of an operation when it is submitted.
fn check(operation: &iocb, on: On) -> Result<(), Errno> {
    const FLAGS: i32 = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND;
    let rest = (operation.aio_buf, operation.aio_nbytes, operation.aio_offset);
    match operation.aio_lio_opcode {
        IOCB_CMD_FSYNC | IOCB_CMD_FDSYNC => {
            let plain = rest == (0, 0, 0) && operation.aio_rw_flags == 0;
            if plain { Ok(()) } else { Err(Errno::EINVAL) }
        }
        IOCB_CMD_POLL => {
            let plain = (rest.1, rest.2) == (0, 0) && operation.aio_rw_flags == 0;
            if plain { Ok(()) } else { Err(Errno::EINVAL) }
        }
        IOCB_CMD_PREAD | IOCB_CMD_PREADV | IOCB_CMD_PWRITE | IOCB_CMD_PWRITEV => {
            if on == On::Simulated(Target::Directory) {
                return Err(Errno::EBADF);
            }
            if operation.aio_rw_flags & !FLAGS != 0 {
                return Err(Errno::EOPNOTSUPP);
            }
            if operation.aio_offset < 0 {
                return Err(Errno::EINVAL);
            }
            Ok(())
        }
        _ => Err(Errno::EINVAL),
    }
}

/// A result, for the trace.
fn outcome(result: i64) -> String {
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
