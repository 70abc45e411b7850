//! [`Monitor`], what a harness asks of the simulated kernel and hears from it.

use crate::context::{Context, InFlight, On};
use crate::descriptor::Target;
use crate::disk::FileNumber;
use crate::memory::{Segment, scatter};
use linux_aio::Errno;
use linux_aio::abi::{
    IOCB_CMD_POLL, IOCB_CMD_PREAD, IOCB_CMD_PREADV, IOCB_CMD_PWRITE, IOCB_CMD_PWRITEV, io_event,
    iocb,
};
use std::collections::HashMap;

/// Says what a descriptor names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// The file, open for reading and writing.
    File,
    /// The same file, open for reading.
    Readonly,
    /// Something that can be polled.
    Polled,
}

/// The calls that fail, as under a filter that was installed meanwhile.
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

/// Says what the kernel was asked, and what it gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of `io_submit`.
    pub submits: u64,
    /// Calls of `io_getevents`.
    pub waits: u64,
    /// Operations that were accepted.
    pub accepted: u64,
    /// Events that were taken off the rings.
    pub taken: u64,
    /// Those of them that were of no operation.
    pub strays_taken: u64,
}

/// Says what the kernel made of an operation.
#[derive(Clone, Debug)]
pub struct Record {
    /// The operation as it was submitted.
    pub iocb: iocb,
    /// The result of its event, or of its refusal; `None` while the kernel has it.
    pub res: Option<i64>,
    /// The bytes that were read or written.
    pub bytes: Vec<u8>,
}

/// What a thread unwinds with that kills its process.
#[derive(Debug)]
pub struct Killed;

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
    pub(crate) fn may_touch(&self, segments: &[Segment]) -> bool {
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

    pub(crate) fn note_ended(&mut self, operation: &InFlight, res: i64, bytes: Vec<u8>) {
        if let Some(record) = self.records.get_mut(&operation.number) {
            (record.res, record.bytes) = (Some(res), bytes);
        }
    }
}
