//! The system calls of simulated contexts.

use crate::context::{Context, Entry, InFlight, On};
use crate::descriptor::{Found, Target, is_eventfd};
use crate::memory::segments;
use crate::ring::Ring;
use crate::world::{Stop, World, foreign, negative, outcome, stale};
use linux_aio::Errno;
use linux_aio::abi::{
    IOCB_CMD_FDSYNC, IOCB_CMD_FSYNC, IOCB_CMD_POLL, IOCB_CMD_PREAD, IOCB_CMD_PREADV,
    IOCB_CMD_PWRITE, IOCB_CMD_PWRITEV, IOCB_FLAG_RESFD, KIOCB_KEY, RWF_APPEND, RWF_DSYNC,
    RWF_HIPRI, RWF_NOAPPEND, RWF_NOWAIT, RWF_SYNC, io_event, iocb,
};

/// The most operations that a context can be asked for.
const MOST: u32 = 1 << 16;
/// The errors of operations that are refused for nothing. A harness gets all of them.
const REFUSALS: [Errno; 4] = [Errno::ENOMEM, Errno::EINVAL, Errno::EOPNOTSUPP, Errno::EPERM];

/// Says what a wait does next.
pub(crate) enum Wait {
    Over(Result<usize, Errno>),
    /// Nothing can complete before another thread does something.
    ForOthers,
}

impl World {
    pub(crate) fn io_setup(&mut self, nr_events: u32) -> Result<Result<(u64, usize), Errno>, Stop> {
        self.begin_call()?;
        if nr_events == 0 || nr_events > MOST {
            return Ok(Err(Errno::EINVAL));
        }
        if let Some(errno) = self.setup_failure() {
            self.note(|_| format!("io_setup({nr_events}) -> {errno:?}"));
            return Ok(Err(errno));
        }
        let capacity = nr_events + self.random.below(4) as u32;
        let nr = capacity + 1 + self.random.below(4) as u32;
        let readable = !self.faults.missing_rings || !self.random.one_in(4);
        let number = self.next_context;
        self.next_context += 1;
        let ring = Ring::new(nr, readable);
        let address = ring.address();
        self.contexts.insert(number, Context::new(capacity as usize, ring));
        let kind = if readable { "" } else { " without a ring" };
        self.note(|_| format!("io_setup({nr_events}) -> context {number}{kind}"));
        Ok(Ok((number, address)))
    }

    fn setup_failure(&mut self) -> Option<Errno> {
        let filtered = self.monitor.as_ref().and_then(|monitor| monitor.filters.setup);
        if filtered.is_some() {
            return filtered;
        }
        if self.strikes(self.faults.failed_setups, 4, 4) {
            return Some([Errno::EAGAIN, Errno::ENOMEM, Errno::EINTR][self.random.index(3)]);
        }
        let refused = self.monitor.is_none() && self.strikes(self.faults.refusals, 32, 32);
        refused.then_some(Errno::EAGAIN)
    }

    /// Waits for what is in flight, and ends the context, whose ring the caller drops.
    pub(crate) fn io_destroy(&mut self, context: u64) -> Result<Context, Errno> {
        if let Some(errno) = self.monitor.as_ref().and_then(|monitor| monitor.filters.destroy) {
            return Err(errno);
        }
        while self.contexts.get(&context).ok_or(Errno::EINVAL)?.has_of_disk() {
            match self.monitor {
                Some(_) => self.end_one_of(context),
                None => self.end_next(None),
            };
        }
        self.look_at_rings();
        self.note(|_| format!("io_destroy(context {context})"));
        let gone = self.contexts.remove(&context).ok_or(Errno::EINVAL)?;
        if let Some(monitor) = &mut self.monitor {
            monitor.note_gone(&gone);
        }
        Ok(gone)
    }

    /// # Safety
    /// As `sys::io_submit`.
    pub(crate) unsafe fn io_submit(
        &mut self,
        context: u64,
        iocbs: &[*mut iocb],
    ) -> Result<isize, Stop> {
        self.begin_call()?;
        if let Some(monitor) = &mut self.monitor {
            monitor.counts.submits += 1;
            if let Some(errno) = monitor.filters.submit {
                return Ok(negative(errno));
            }
        }
        self.look_at_rings();
        let Some(it) = self.contexts.get(&context) else { return Ok(negative(Errno::EINVAL)) };
        if it.is_dead {
            if iocbs.is_empty() {
                return Ok(negative(Errno::EINVAL));
            }
            if self.is_ending {
                return Ok(negative(Errno::EIO));
            }
            return Err(Stop::Misuse(
                "io_submit to a context from before the last crash or kill; drop the queue or \
                 driver with the process that it belonged to, and make another one afterwards"
                    .into(),
            ));
        }
        if iocbs.is_empty() {
            return Ok(0);
        }
        let may_be_busy = self.monitor.is_some() || !it.in_flight.is_empty();
        let refusal = if self.strikes(self.faults.interrupted_submits, 16, 8) {
            Some(negative(Errno::EINTR))
        } else if may_be_busy && self.strikes(self.faults.busy, 16, 8) {
            Some(negative(Errno::EAGAIN))
        } else if self.strikes(self.faults.empty_submits, 16, 16) {
            Some(0)
        } else {
            None
        };
        if let Some(answer) = refusal {
            self.note(|_| format!("io_submit(context {context}) -> {}", outcome(answer as i64)));
            return Ok(answer);
        }
        let mut count = 0;
        let mut failure = None;
        for &pointer in iocbs {
            if count > 0 && self.strikes(self.faults.partial_submits, 8, 6) {
                break;
            }
            // SAFETY: The caller's promise.
            match unsafe { self.submit_one(context, pointer, count == 0) } {
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
        if count > 0 && self.strikes(self.faults.early_ends, 4, 4) {
            self.run(count as usize);
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
        is_first: bool,
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
        place.aio_key = KIOCB_KEY;
        let on = match self.look_at(&operation)? {
            Ok(on) => on,
            Err(errno) => {
                if let (Some(monitor), true) = (&mut self.monitor, is_first) {
                    monitor.note_refused(&operation, errno);
                }
                return Ok(Err(errno));
            }
        };
        // SAFETY: The caller's promise.
        let segments = unsafe { segments(&operation) };
        let number = operation.aio_rw_flags as u32;
        let operation = match &mut self.monitor {
            Some(monitor) => monitor.note_accepted(&operation, &segments),
            None => operation,
        };
        let covers = self.covered(on);
        let (due, order) = (self.due(opcode), self.operations);
        self.operations += 1;
        let address = pointer.expose_provenance() as u64;
        let is_cancelled = false;
        let operation = InFlight {
            iocb: operation,
            address,
            on,
            segments,
            due,
            order,
            covers,
            is_cancelled,
            number,
        };
        self.note(|world| format!("submit: {}", world.text(&operation)));
        if let Some(it) = self.contexts.get_mut(&context) {
            it.in_flight.push(operation);
        }
        Ok(Ok(()))
    }

    /// Makes the kernel's checks of an operation, and finds what it works on.
    fn look_at(&mut self, operation: &iocb) -> Result<Result<On, Errno>, Stop> {
        let eventfd = operation.aio_flags & IOCB_FLAG_RESFD != 0;
        let (found, errnos) = match &self.monitor {
            Some(monitor) => (monitor.find(operation), &REFUSALS[..]),
            None => {
                let on = match self.find(operation.aio_fildes as i32, operation.aio_lio_opcode)? {
                    _ if eventfd && !is_eventfd(operation.aio_resfd as i32) => Err(Errno::EINVAL),
                    Ok(on) => check(operation, on).map(|()| on),
                    Err(errno) => Err(errno),
                };
                (on, &REFUSALS[..1])
            }
        };
        if found.is_ok() && self.strikes(self.faults.refusals, 64, 16) {
            return Ok(Err(errnos[self.random.index(errnos.len())]));
        }
        Ok(found)
    }

    /// Finds what an operation works on.
    fn find(&self, number: i32, opcode: u16) -> Result<Result<On, Errno>, Stop> {
        let is_poll = opcode == IOCB_CMD_POLL;
        // What is polled is no file of a disk, and Miri cannot look at it.
        let found = match cfg!(miri) && is_poll {
            true => Found::Foreign,
            false => self.descriptors.find(number),
        };
        match found {
            // A file of a disk cannot be polled.
            Found::Target(_) if is_poll => Ok(Err(Errno::EINVAL)),
            Found::Target(target) => Ok(Ok(On::Simulated(target))),
            Found::Closed => Ok(Err(Errno::EBADF)),
            Found::Foreign if is_poll => Ok(Ok(On::Polled(number))),
            Found::Foreign => Err(foreign(
                number,
                "the context is simulated; open the file by Sim::file, or make its queue in a \
                 thread that has not entered the simulation",
            )),
            Found::Stale => Err(stale(number)),
        }
    }

    /// Returns the number of the first change that a sync, if it were submitted now, does not
    /// cover.
    pub(crate) fn covered(&self, on: On) -> u64 {
        match on {
            On::Simulated(Target::File { file, .. }) => self.disk.inode(file).next_number(),
            _ => self.disk.name_changes(),
        }
    }

    pub(crate) fn io_cancel(&mut self, context: u64, address: u64) -> Result<isize, Stop> {
        self.begin_call()?;
        if let Some(errno) = self.monitor.as_ref().and_then(|monitor| monitor.filters.cancel) {
            return Ok(negative(errno));
        }
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

    /// Begins a wait: loads the words of the ring. The inner error is that of a filter, or of a
    /// context that is not there.
    pub(crate) fn begin_wait(&mut self, context: u64) -> Result<Result<Entry, Errno>, Stop> {
        self.begin_call()?;
        if let Some(monitor) = &mut self.monitor {
            monitor.counts.waits += 1;
            if let Some(errno) = monitor.filters.getevents {
                return Ok(Err(errno));
            }
            self.run(1);
        }
        Ok(self.contexts.get(&context).map(Context::enter_getevents).ok_or(Errno::EINVAL))
    }

    /// Takes events, and lets time pass until there are `min`, or it is `deadline`.
    pub(crate) fn go_on_waiting(
        &mut self,
        context: u64,
        mut entry: Option<Entry>,
        (min, most): (usize, usize),
        deadline: Option<u64>,
        events: &mut Vec<io_event>,
    ) -> Wait {
        loop {
            let Some(it) = self.contexts.get_mut(&context) else {
                return Wait::Over(Err(Errno::EINVAL));
            };
            let entry = entry.take().unwrap_or_else(|| it.enter_getevents());
            let taken = it.take(entry, most - events.len(), events);
            let (count, is_dead) = (events.len(), it.is_dead);
            if let (Err(text), Some(monitor)) = (taken, &mut self.monitor) {
                monitor.violations.push(text);
            }
            let sleeps = deadline.is_none_or(|deadline| deadline > self.now);
            if count >= min || !sleeps || (is_dead && deadline.is_some()) {
                return Wait::Over(Ok(count));
            }
            if self.strikes(self.faults.interrupts, 32, 4) {
                self.note(|_| format!("io_getevents(context {context}) -> EINTR, or {count}"));
                return Wait::Over(if count == 0 { Err(Errno::EINTR) } else { Ok(count) });
            }
            let has_ended = match self.monitor {
                Some(_) => self.end_one_of(context),
                None => self.end_next(deadline),
            };
            match (has_ended, deadline) {
                (true, _) => {}
                (false, Some(deadline)) => {
                    self.now = self.now.max(deadline);
                    return Wait::Over(Ok(count));
                }
                (false, None) => return self.wait_for_others(count),
            }
        }
    }

    /// Nothing of this context will end.
    fn wait_for_others(&mut self, count: usize) -> Wait {
        match &mut self.monitor {
            // If something is wrong, the event may never come.
            Some(it) if !it.is_patient || count > 0 || !it.violations.is_empty() => {
                if count > 0 {
                    return Wait::Over(Ok(count));
                }
                it.violations.push("a wait without end".into());
                Wait::Over(Err(Errno::EPERM))
            }
            _ => Wait::ForOthers,
        }
    }

    pub(crate) fn is_dead(&self, context: u64) -> bool {
        self.contexts.get(&context).is_none_or(|it| it.is_dead)
    }
}

/// The kernel's checks of an operation when it is submitted.
pub(crate) fn check(operation: &iocb, on: On) -> Result<(), Errno> {
    const FLAGS: i32 = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | RWF_NOAPPEND;
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
            let reads = matches!(operation.aio_lio_opcode, IOCB_CMD_PREAD | IOCB_CMD_PREADV);
            let allowed = match on {
                On::Simulated(Target::Directory) | On::Polled(_) => false,
                On::Simulated(file) if reads => file.is_readable(),
                On::Simulated(file) => file.is_writable(),
            };
            if !allowed {
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
