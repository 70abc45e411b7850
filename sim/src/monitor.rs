//! [`Monitor`], what a harness asks of the simulated kernel and hears from it, and the calls of a
//! kernel without a clock.

use crate::context::{Context, InFlight, On};
use crate::descriptor::Target;
use crate::disk::FileNumber;
use crate::harness::{Counts, Filters, Object, Record};
use crate::memory::{Segment, gather, scatter};
use crate::world::World;
use linux_aio::Errno;
use linux_aio::abi::{
    IOCB_CMD_POLL, IOCB_CMD_PREAD, IOCB_CMD_PREADV, IOCB_CMD_PWRITE, IOCB_CMD_PWRITEV, POLLIN,
    io_event, iocb,
};
use std::collections::HashMap;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Monitor {
    pub(crate) objects: HashMap<i32, Object>,
    /// The only file.
    pub(crate) file: FileNumber,
    pub(crate) filters: Filters,
    /// What is polled is readable.
    pub(crate) readable: bool,
    /// Waits for nothing sleep until another thread changes something.
    pub(crate) is_patient: bool,
    /// Waits are held between their first look at the ring and their store.
    pub(crate) holds_waits: bool,
    pub(crate) held_waits: usize,
    pub(crate) records: HashMap<u32, Record>,
    pub(crate) violations: Vec<String>,
    pub(crate) counts: Counts,
    /// Events so far, to be given again.
    pub(crate) past: Vec<io_event>,
    /// A process that kills itself ends by that, and does not only unwind.
    pub(crate) kills_for_real: bool,
    /// Returns whether memory is a buffer of the harness.
    pub(crate) is_buffer: fn(usize, usize) -> bool,
}

impl Monitor {
    fn may_touch(&self, segments: &[Segment]) -> bool {
        segments.iter().all(|it| it.len == 0 || (self.is_buffer)(it.address(), it.len))
    }

    /// Finds what an operation works on, as the kernel does before it accepts one.
    pub(crate) fn find(&self, operation: &iocb) -> Result<On, Errno> {
        let number = operation.aio_fildes as i32;
        let object = *self.objects.get(&number).ok_or(Errno::EBADF)?;
        let opcode = operation.aio_lio_opcode;
        let writes = matches!(opcode, IOCB_CMD_PWRITE | IOCB_CMD_PWRITEV);
        if writes && object != Object::File {
            return Err(Errno::EBADF);
        }
        if (opcode == IOCB_CMD_POLL) != (object == Object::Polled) {
            return Err(Errno::EINVAL);
        }
        Ok(match object {
            Object::Polled => On::Polled(number),
            _ => On::Simulated(Target::File { file: self.file, flags: 0 }),
        })
    }

    pub(crate) fn note_refused(&mut self, operation: &iocb, errno: Errno) {
        let res = Some(-i64::from(errno.as_raw()));
        let record = Record { iocb: *operation, res, bytes: Vec::new() };
        self.records.insert(operation.aio_rw_flags as u32, record);
    }

    /// Returns the operation without its flags, which are its number.
    pub(crate) fn note_accepted(&mut self, operation: &iocb, segments: &[Segment]) -> iocb {
        let number = operation.aio_rw_flags as u32;
        let record = Record { iocb: *operation, res: None, bytes: Vec::new() };
        let old = self.records.insert(number, record);
        if number != 0 && old.is_some_and(|old| old.res.is_none()) {
            self.violations.push(format!("operation {number} was submitted twice"));
        }
        self.counts.accepted += 1;
        let reads = matches!(operation.aio_lio_opcode, IOCB_CMD_PREAD | IOCB_CMD_PREADV);
        if !self.may_touch(segments) {
            self.violations.push(format!("{operation:?} names memory that is no buffer"));
        } else if reads {
            // From now on the kernel may write there, if only nonsense.
            let nonsense = vec![0x5a; segments.iter().map(|it| it.len).sum()];
            // SAFETY: The harness has said that its buffers are there, and the read lends them.
            unsafe { scatter(segments, &nonsense) };
        }
        iocb { aio_rw_flags: 0, ..*operation }
    }

    /// Takes note of a context that has ended, with POLLs that it had.
    pub(crate) fn note_gone(&mut self, context: &Context) {
        for operation in &context.in_flight {
            self.note_ended(operation, 0, Vec::new());
        }
        self.counts.taken += context.taken;
        self.counts.strays_taken += context.strays_taken;
    }

    fn note_ended(&mut self, operation: &InFlight, res: i64, bytes: Vec<u8>) {
        if let Some(record) = self.records.get_mut(&operation.number) {
            (record.res, record.bytes) = (Some(res), bytes);
        }
    }
}

impl World {
    /// Does what an operation says, and tells the harness.
    pub(crate) fn carry_out(&mut self, operation: &InFlight) -> i64 {
        let Some(monitor) = &mut self.monitor else { return self.execute(operation) };
        let may_touch = monitor.may_touch(&operation.segments);
        if !may_touch {
            let text = format!("the memory of {:?} is gone before its event", operation.iocb);
            monitor.violations.push(text);
        }
        let res = match operation.on {
            On::Polled(_) => {
                if monitor.readable {
                    i64::from(POLLIN)
                } else {
                    0
                }
            }
            _ if may_touch => self.execute(operation),
            _ => 0,
        };
        let transfers = !operation.segments.is_empty() && may_touch;
        let count = if transfers { usize::try_from(res).unwrap_or(0) } else { 0 };
        // SAFETY: The operation is in flight, so its buffers are lent, and the harness has said
        // that they are there.
        let bytes = unsafe { gather(&operation.segments, count) };
        if let Some(monitor) = &mut self.monitor {
            monitor.note_ended(operation, res, bytes);
        }
        res
    }

    fn may_end(&self, operation: &InFlight) -> bool {
        let readable = self.monitor.as_ref().is_some_and(|monitor| monitor.readable);
        operation.is_of_disk() || operation.is_cancelled || readable
    }

    pub(crate) fn something_ends(&self) -> bool {
        self.contexts.values().flat_map(|it| &it.in_flight).any(|it| self.may_end(it))
    }

    /// Ends some operations, and gives events of none.
    pub(crate) fn run(&mut self, most: usize) {
        self.look_at_rings();
        let numbers: Vec<u64> = self.contexts.keys().copied().collect();
        for number in numbers {
            self.give_strays(number);
            for _ in 0..self.random.index(most.min(255) + 1) {
                self.end_one_of(number);
            }
        }
    }

    pub(crate) fn run_to_the_end(&mut self) {
        let numbers: Vec<u64> = self.contexts.keys().copied().collect();
        for number in numbers {
            while self.end_one_of(number) {}
        }
    }

    /// Ends one operation of a context. `false` if none can.
    pub(crate) fn end_one_of(&mut self, context: u64) -> bool {
        self.look_at_rings();
        let Some(it) = self.contexts.get(&context) else { return false };
        let operations = it.in_flight.iter().enumerate();
        let can = operations.filter(|(_, operation)| self.may_end(operation));
        let can: Vec<usize> = can.map(|(index, _)| index).collect();
        if can.is_empty() {
            return false;
        }
        let late = self.strikes(self.faults.reordering, 2, 2);
        let chosen = can[if late { self.random.index(can.len().min(256)) } else { 0 }];
        self.end(context, chosen);
        true
    }

    /// Moves `head` or `tail` of every ring out of it.
    pub(crate) fn spoil_rings(&mut self) {
        self.look_at_rings();
        for context in self.contexts.values() {
            let times = 1 + self.random.below(9) as u32;
            match self.random.below(2) {
                0 => context.ring.spoil_head(times),
                _ => context.ring.spoil_tail(times),
            }
        }
    }
}
