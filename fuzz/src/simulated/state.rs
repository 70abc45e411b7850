//! [`State`], what a simulated kernel knows, and its answers.

use super::context::{Context, InFlight};
use super::memory::Segment;
use super::script::{Fault, Script};
use linux_aio::Errno;
use linux_aio::abi::{
    IOCB_CMD_FDSYNC, IOCB_CMD_FSYNC, IOCB_CMD_POLL, IOCB_CMD_PREAD, IOCB_CMD_PREADV,
    IOCB_CMD_PWRITE, IOCB_CMD_PWRITEV, IOCB_FLAG_RESFD, KIOCB_KEY, POLLIN, aio_context_t, io_event,
    iocb, iovec,
};
use std::collections::HashMap;
use std::ptr;

/// Bytes of the file.
pub(super) const SIZE: usize = 8192;
/// The most operations that a context can be asked for.
const MOST: u32 = 1 << 16;
/// Strays that are ever on a ring at once, so that operations find room.
const MOST_EVENTS_AT_ONCE: usize = 8;

/// What a descriptor names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// A file, open for reading and writing.
    File,
    /// The same file, open for reading.
    Readonly,
    /// Something that can be polled.
    Polled,
}

/// Which calls fail, as under a filter that was installed meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filters {
    /// `io_submit`.
    pub submit: Option<Errno>,
    /// `io_getevents`.
    pub getevents: Option<Errno>,
    /// `io_cancel`.
    pub cancel: Option<Errno>,
    /// `io_destroy`.
    pub destroy: Option<Errno>,
    /// `io_setup`.
    pub setup: Option<Errno>,
}

/// What the kernel was asked, and what it gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of `io_submit`.
    pub submits: u64,
    /// Calls of `io_getevents`.
    pub waits: u64,
    /// Submits that took nothing although there was room.
    pub spurious: u64,
    /// Operations that were accepted.
    pub accepted: u64,
    /// Events that were taken off the rings.
    pub taken: u64,
    /// Strays among them.
    pub strays_taken: u64,
}

/// What the kernel made of an operation.
#[derive(Clone, Debug)]
pub struct Record {
    /// As it was submitted.
    pub iocb: iocb,
    /// The result of its event, or of its refusal; `None` while the kernel has it.
    pub res: Option<i64>,
    /// What was read or written.
    pub bytes: Vec<u8>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct State {
    pub(super) script: Script,
    pub(super) objects: HashMap<i32, Object>,
    content: Vec<u8>,
    pub(super) readable: bool,
    pub(super) filters: Filters,
    pub(super) patient: bool,
    /// Whether waits are held between their first look at the ring and their store, and how many
    /// are.
    pub(super) holds_waits: bool,
    pub(super) held_waits: usize,
    pub(super) contexts: HashMap<aio_context_t, Context>,
    pub(super) records: HashMap<u32, Record>,
    pub(super) last_failure: Option<Errno>,
    pub(super) violations: Vec<String>,
    pub(super) counts: Counts,
    strays: u32,
}

pub(super) fn negative(errno: Errno) -> isize {
    -(errno.as_raw() as isize)
}

impl State {
    pub(super) fn new(script: Script) -> Self {
        Self {
            script,
            objects: HashMap::new(),
            content: (0..SIZE).map(|at| (at / 7) as u8).collect(),
            readable: false,
            filters: Filters::default(),
            patient: false,
            holds_waits: false,
            held_waits: 0,
            contexts: HashMap::new(),
            records: HashMap::new(),
            last_failure: None,
            violations: Vec::new(),
            counts: Counts::default(),
            strays: 0,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.contexts.values().map(|context| context.in_flight.len()).sum()
    }

    pub(super) fn counts(&mut self) -> Counts {
        self.look_at_rings();
        let mut counts = self.counts;
        for context in self.contexts.values() {
            counts.taken += context.taken;
            counts.strays_taken += context.strays_taken;
        }
        counts
    }

    pub(super) fn look_at_rings(&mut self) {
        for context in self.contexts.values_mut() {
            self.violations.extend(context.look_at_head().err());
        }
    }

    pub(super) fn spoil_rings(&mut self) {
        self.look_at_rings();
        for context in self.contexts.values_mut() {
            let times = 1 + self.script.below(9) as u32;
            match self.script.below(2) {
                0 => context.ring.spoil_head(times),
                _ => context.ring.spoil_tail(times),
            }
        }
    }

    // ---- the calls ----

    #[allow(clippy::unnecessary_cast, reason = "the word is not everywhere one of 64 bits")]
    pub(super) fn setup(&mut self, arguments: &[aio_context_t]) -> Result<aio_context_t, Errno> {
        let asked = arguments[0] as u32;
        let place = ptr::with_exposed_provenance_mut::<aio_context_t>(arguments[1] as usize);
        // SAFETY: The library's contract with the kernel: it is valid for reads and writes.
        let place = unsafe { &mut *place };
        if let Some(errno) = self.filters.setup {
            return Err(errno);
        }
        if self.script.once_in(4, Fault::Setup) {
            return Err([Errno::EAGAIN, Errno::ENOMEM, Errno::EINTR][self.script.below(3)]);
        }
        if asked == 0 || asked > MOST || *place != 0 {
            return Err(Errno::EINVAL);
        }
        let capacity = asked as usize + self.script.below(4);
        let nr = capacity as u32 + 1 + self.script.below(4) as u32;
        let context = Context::new(capacity, nr);
        let id = context.ring.address() as aio_context_t;
        *place = id;
        self.contexts.insert(id, context);
        Ok(id)
    }

    /// Ends every operation of a context, and the context.
    pub(super) fn end_context(&mut self, id: aio_context_t) {
        self.look_at_rings();
        let Some(mut context) = self.contexts.remove(&id) else { return };
        for operation in std::mem::take(&mut context.in_flight) {
            self.execute(&operation);
        }
        self.counts.taken += context.taken;
        self.counts.strays_taken += context.strays_taken;
    }

    #[allow(clippy::unnecessary_cast, reason = "the word is not everywhere one of 64 bits")]
    pub(super) fn submit(&mut self, arguments: &[aio_context_t]) -> isize {
        let (id, nr) = (arguments[0], arguments[1] as isize);
        let array = ptr::with_exposed_provenance::<*mut iocb>(arguments[2] as usize);
        self.counts.submits += 1;
        let outcome = self.submit_all(id, nr, array);
        match outcome {
            Ok(count) => count as isize,
            Err(errno) => {
                if errno != Errno::EINTR {
                    self.last_failure = Some(errno);
                }
                negative(errno)
            }
        }
    }

    fn submit_all(
        &mut self,
        id: aio_context_t,
        nr: isize,
        array: *const *mut iocb,
    ) -> Result<usize, Errno> {
        if let Some(errno) = self.filters.submit {
            return Err(errno);
        }
        if nr == 0 {
            // Nothing is taken, so nothing goes wrong.
            return self.contexts.get(&id).map(|_| 0).ok_or(Errno::EINVAL);
        }
        let whole = [(Fault::InterruptedSubmit, Errno::EINTR), (Fault::Busy, Errno::EAGAIN)];
        for (fault, errno) in whole {
            if self.script.once_in(8, fault) {
                self.counts.spurious += u64::from(fault == Fault::Busy);
                return Err(errno);
            }
        }
        if self.script.once_in(16, Fault::NothingTaken) {
            self.counts.spurious += 1;
            return Ok(0);
        }
        let nr = usize::try_from(nr).map_err(|_| Errno::EINVAL)?;
        for i in 0..nr {
            // SAFETY: The library's contract with the kernel: the array has `nr` pointers.
            let place = unsafe { array.add(i) };
            // SAFETY: As above.
            let place = unsafe { place.read() };
            let outcome = match i > 0 && self.script.once_in(6, Fault::PartialSubmit) {
                true => Err(Errno::EAGAIN),
                false => self.submit_one(id, place, i == 0),
            };
            match outcome {
                Ok(()) => {}
                Err(errno) if i == 0 => return Err(errno),
                Err(_) => return Ok(i),
            }
        }
        if self.script.once_in(4, Fault::AtOnce) {
            self.run(nr);
        }
        Ok(nr)
    }

    fn submit_one(
        &mut self,
        id: aio_context_t,
        place: *mut iocb,
        is_first: bool,
    ) -> Result<(), Errno> {
        self.look_at_rings();
        let context = self.contexts.get(&id).ok_or(Errno::EINVAL)?;
        if context.room() == 0 {
            return Err(Errno::EAGAIN);
        }
        // SAFETY: The library's contract with the kernel: the iocb is there.
        let iocb = unsafe { place.read() };
        // SAFETY: As above, and writable.
        unsafe { (*place).aio_key = KIOCB_KEY };
        let number = iocb.aio_rw_flags as u32;
        match self.prepare(&iocb, place) {
            Ok(operation) => {
                let record = Record { iocb, res: None, bytes: Vec::new() };
                let old = self.records.insert(number, record);
                if number != 0 && old.is_some_and(|old| old.res.is_none()) {
                    self.violations.push(format!("operation {number} was submitted twice"));
                }
                self.counts.accepted += 1;
                if let Some(context) = self.contexts.get_mut(&id) {
                    context.in_flight.push(operation);
                }
                Ok(())
            }
            Err(errno) => {
                // Another's error is not returned: it is tried again.
                if is_first {
                    let res = Some(-i64::from(errno.as_raw()));
                    self.records.insert(number, Record { iocb, res, bytes: Vec::new() });
                }
                Err(errno)
            }
        }
    }

    /// Looks at an operation as the kernel does before it takes one.
    fn prepare(&mut self, iocb: &iocb, place: *mut iocb) -> Result<InFlight, Errno> {
        let object = *self.objects.get(&(iocb.aio_fildes as i32)).ok_or(Errno::EBADF)?;
        let opcode = iocb.aio_lio_opcode;
        let writes = [IOCB_CMD_PWRITE, IOCB_CMD_PWRITEV].contains(&opcode);
        if writes && object != Object::File {
            return Err(Errno::EBADF);
        }
        if (opcode == IOCB_CMD_POLL) != (object == Object::Polled) {
            return Err(Errno::EINVAL);
        }
        if self.script.once_in(16, Fault::Refusal) {
            let errnos = [Errno::EINVAL, Errno::EOPNOTSUPP, Errno::ENOMEM, Errno::EPERM];
            return Err(errnos[self.script.below(errnos.len())]);
        }
        let segments = segments(iocb);
        // From now on the kernel may write there, if only nonsense.
        let scribbled = [IOCB_CMD_PREAD, IOCB_CMD_PREADV].contains(&opcode);
        for segment in &segments {
            let touched = !scribbled || segment.write(&vec![0x5a; segment.len]);
            if !touched || !segment.is_watched() {
                self.violations.push(format!("{iocb:?} names memory that is no buffer"));
            }
        }
        let address = place.expose_provenance() as u64;
        Ok(InFlight { iocb: *iocb, address, segments, cancelled: false })
    }

    #[allow(clippy::unnecessary_cast, reason = "the word is not everywhere one of 64 bits")]
    pub(super) fn cancel(&mut self, arguments: &[aio_context_t]) -> isize {
        let (id, address) = (arguments[0], arguments[1] as u64);
        if let Some(errno) = self.filters.cancel {
            return negative(errno);
        }
        let Some(context) = self.contexts.get_mut(&id) else { return negative(Errno::EINVAL) };
        let mut polls = context.in_flight.iter_mut().filter(|operation| {
            operation.iocb.aio_lio_opcode == IOCB_CMD_POLL && !operation.cancelled
        });
        match polls.find(|operation| operation.address == address) {
            Some(operation) => {
                operation.cancelled = true;
                negative(Errno::EINPROGRESS)
            }
            None => negative(Errno::EINVAL),
        }
    }

    // ---- what happens by itself ----

    fn may_end(&self, operation: &InFlight) -> bool {
        operation.iocb.aio_lio_opcode != IOCB_CMD_POLL || operation.cancelled || self.readable
    }

    pub(super) fn something_ends(&self) -> bool {
        let mut operations = self.contexts.values().flat_map(|context| &context.in_flight);
        operations.any(|operation| self.may_end(operation))
    }

    /// Some operations end, and strays arrive.
    pub(super) fn run(&mut self, most: usize) {
        self.look_at_rings();
        let mut ids: Vec<_> = self.contexts.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.give_strays(id);
            for _ in 0..self.script.below(most.min(255) + 1) {
                self.end_one_of(id);
            }
        }
    }

    pub(super) fn run_to_the_end(&mut self) {
        let ids: Vec<_> = self.contexts.keys().copied().collect();
        for id in ids {
            while self.end_one_of(id) {}
        }
    }

    /// Ends one operation of a context; `false` where none can.
    pub(super) fn end_one_of(&mut self, id: aio_context_t) -> bool {
        let Some(context) = self.contexts.get(&id) else { return false };
        let operations = context.in_flight.iter().enumerate();
        let can = operations.filter(|(_, operation)| self.may_end(operation));
        let can: Vec<usize> = can.map(|(i, _)| i).collect();
        if can.is_empty() {
            return false;
        }
        let late = self.script.once_in(2, Fault::Reordered);
        let chosen = can[if late { self.script.below(can.len().min(256)) } else { 0 }];
        let Some(context) = self.contexts.get_mut(&id) else { return false };
        let operation = context.in_flight.remove(chosen);
        let res = self.execute(&operation);
        let event = io_event {
            data: operation.iocb.aio_data,
            obj: operation.address,
            res,
            ..io_event::default()
        };
        self.publish(id, event, false);
        if operation.iocb.aio_flags & IOCB_FLAG_RESFD != 0 {
            let count = 1u64.to_ne_bytes();
            // SAFETY: Eight bytes, read by the kernel; a descriptor that is none gives an error.
            unsafe { libc::write(operation.iocb.aio_resfd as i32, count.as_ptr().cast(), 8) };
        }
        true
    }

    fn publish(&mut self, id: aio_context_t, event: io_event, stray: bool) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        context.publish(event, stray);
        if !stray {
            context.past.push(event);
        }
    }

    /// Gives events for nobody: from the past, and of tokens that no engine has.
    fn give_strays(&mut self, id: aio_context_t) {
        let mut count = 0;
        while let Some(context) = self.contexts.get(&id) {
            if context.room() == 0 || count == MOST_EVENTS_AT_ONCE {
                return;
            }
            count += 1;
            let past = context.past.len();
            let event = if past > 0 && self.script.once_in(16, Fault::Duplicate) {
                let which = past - 1 - self.script.below(past.min(256));
                self.contexts[&id].past[which]
            } else if self.script.once_in(16, Fault::Stray) {
                self.strays += 1;
                // Slots that are not there.
                let data =
                    u64::from(self.strays) << 32 | 0xffff_0000 | self.script.below(256) as u64;
                io_event { data, res: 1, ..io_event::default() }
            } else {
                return;
            };
            self.publish(id, event, true);
        }
    }

    /// Does what an operation says, in its buffers, and gives its result.
    fn execute(&mut self, operation: &InFlight) -> i64 {
        let iocb = &operation.iocb;
        let (res, bytes) = match iocb.aio_lio_opcode {
            IOCB_CMD_POLL => (if self.readable { i64::from(POLLIN) } else { 0 }, Vec::new()),
            IOCB_CMD_FSYNC | IOCB_CMD_FDSYNC => (0, Vec::new()),
            _ if self.script.once_in(16, Fault::Failure) => {
                (-i64::from(Errno::EIO.as_raw()), Vec::new())
            }
            IOCB_CMD_PREAD | IOCB_CMD_PREADV => self.read(operation),
            _ => self.write(operation),
        };
        let number = iocb.aio_rw_flags as u32;
        if let Some(record) = self.records.get_mut(&number) {
            (record.res, record.bytes) = (Some(res), bytes);
        }
        res
    }

    fn length(&mut self, operation: &InFlight) -> (usize, usize) {
        let asked: usize = operation.segments.iter().map(|segment| segment.len).sum();
        let at = usize::try_from(operation.iocb.aio_offset).unwrap_or(SIZE).min(SIZE);
        let length = asked.min(SIZE - at);
        let short = self.script.once_in(8, Fault::Short);
        (at, if short && length > 1 { 1 + self.script.below(length.min(256)) } else { length })
    }

    fn read(&mut self, operation: &InFlight) -> (i64, Vec<u8>) {
        let (at, length) = self.length(operation);
        let bytes = self.content[at..at + length].to_vec();
        let mut rest = &bytes[..];
        for segment in &operation.segments {
            let (now, later) = rest.split_at(rest.len().min(segment.len));
            // Also where nothing is read: a buffer must be there until its event.
            if !segment.is_watched() || !segment.write(now) {
                self.violations.push(format!("a read wrote to no buffer: {:?}", operation.iocb));
            }
            rest = later;
        }
        (length as i64, bytes)
    }

    fn write(&mut self, operation: &InFlight) -> (i64, Vec<u8>) {
        let (at, length) = self.length(operation);
        let mut bytes = Vec::new();
        for segment in &operation.segments {
            match segment.read() {
                Some(more) => bytes.extend(more),
                None => {
                    let report = format!("a write read from no buffer: {:?}", operation.iocb);
                    self.violations.push(report);
                    return (0, Vec::new());
                }
            }
        }
        bytes.truncate(length);
        self.content[at..at + length].copy_from_slice(&bytes);
        (length as i64, bytes)
    }
}

/// The buffers that an operation names, as the kernel copies them when it is submitted.
fn segments(iocb: &iocb) -> Vec<Segment> {
    let (at, count) = (iocb.aio_buf as usize, iocb.aio_nbytes as usize);
    match iocb.aio_lio_opcode {
        IOCB_CMD_PREAD | IOCB_CMD_PWRITE => vec![Segment { at, len: count }],
        IOCB_CMD_PREADV | IOCB_CMD_PWRITEV => {
            let vectors = ptr::with_exposed_provenance::<iovec>(at);
            // SAFETY: The library's contract with the kernel: the vectors are there.
            let vectors = unsafe { std::slice::from_raw_parts(vectors, count) };
            vectors.iter().map(|v| Segment { at: v.iov_base, len: v.iov_len }).collect()
        }
        _ => Vec::new(),
    }
}
