//! [`predict`]: `io_submit_one` of `fs/aio.c`, check by check, and what the files then do.

use super::{Descriptor, Facts, File, Kind, Pipe, Results, Table, Transfer};
use crate::memory::Arena;
use libc::{EAGAIN, EBADF, EFAULT, EFBIG, EINVAL, EOPNOTSUPP, EPERM, ESPIPE};
use linux_aio::abi::{
    IOCB_CMD_FDSYNC, IOCB_CMD_FSYNC, IOCB_CMD_POLL, IOCB_CMD_PREAD, IOCB_CMD_PREADV,
    IOCB_CMD_PWRITE, IOCB_CMD_PWRITEV, IOCB_FLAG_IOPRIO, IOCB_FLAG_RESFD, RWF_APPEND, RWF_ATOMIC,
    RWF_DONTCACHE, RWF_NOAPPEND, RWF_NOWAIT, iocb, iovec,
};

/// What an operation changes beside its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The pipe's pollers are woken with this mask.
    Wakes(usize, u32),
    /// The file's size is not known until the event is there.
    Size(usize),
}

/// What `io_submit` says to an iocb.
#[derive(Clone, Debug)]
pub enum Prediction {
    /// This errno.
    Refused {
        /// The errno.
        errno: i32,
        /// Whether `aio_key` was written by then.
        key_written: bool,
    },
    /// Accepted, and its event is there or comes by itself.
    Completes {
        /// What the event carries.
        results: Results,
        /// Whether it may come after `io_submit` has returned.
        asynchronous: bool,
        /// What else it does.
        effect: Effect,
    },
    /// Accepted, a POLL for these events, of which there is none yet.
    Waits(u32),
}

fn refused(errno: i32) -> Prediction {
    Prediction::Refused { errno, key_written: true }
}

fn at_once(results: Results) -> Prediction {
    Prediction::Completes { results, asynchronous: false, effect: Effect::None }
}

/// What the kernel is asked for, and what it knows.
struct Asked<'a> {
    facts: &'a Facts,
    arena: &'a Arena,
    vectors: &'a [iovec],
    iocb: &'a iocb,
    file: Descriptor,
}

/// What `io_submit` says to `iocb`, which it can read and write. What it accepts changes the state
/// of `table`.
///
/// `vectors` is what the kernel can read at `aio_buf`, where that is an array of iovecs.
pub fn predict(
    facts: &Facts,
    arena: &Arena,
    table: &mut Table,
    iocb: &iocb,
    vectors: &[iovec],
) -> Prediction {
    let early = |errno| Prediction::Refused { errno, key_written: false };
    if iocb.aio_reserved2 != 0 || (iocb.aio_nbytes as i64) < 0 {
        return early(EINVAL);
    }
    let file = match table.find(iocb.aio_fildes) {
        Some(&file) if file.kind != Kind::NotOpen => file,
        _ => return early(EBADF),
    };
    if iocb.aio_flags & IOCB_FLAG_RESFD != 0 && iocb.aio_resfd as i32 != table.signalled {
        let errno = match table.find(iocb.aio_resfd) {
            Some(other) if other.kind != Kind::NotOpen => EINVAL,
            _ => EBADF,
        };
        return early(errno);
    }
    let asked = Asked { facts, arena, vectors, iocb, file };
    match iocb.aio_lio_opcode {
        IOCB_CMD_PREAD | IOCB_CMD_PREADV => asked.read(table),
        IOCB_CMD_PWRITE | IOCB_CMD_PWRITEV => asked.write(table),
        IOCB_CMD_FSYNC | IOCB_CMD_FDSYNC => asked.sync(),
        IOCB_CMD_POLL => asked.poll(table),
        _ => refused(EINVAL),
    }
}

impl Asked<'_> {
    fn is_vectored(&self) -> bool {
        matches!(self.iocb.aio_lio_opcode, IOCB_CMD_PREADV | IOCB_CMD_PWRITEV)
    }

    fn has(&self, flag: i32) -> bool {
        self.iocb.aio_rw_flags & flag != 0
    }

    /// `aio_prep_rw` and `kiocb_set_rw_flags`.
    fn check_flags(&self, is_write: bool) -> Result<(), i32> {
        if self.iocb.aio_flags & IOCB_FLAG_IOPRIO != 0 {
            self.facts.check_priority(self.iocb.aio_reqprio).map_or(Ok(()), Err)?;
        }
        if self.iocb.aio_rw_flags & !self.facts.known_flags != 0 {
            return Err(EOPNOTSUPP);
        }
        if self.has(RWF_APPEND) && self.has(RWF_NOAPPEND) {
            return Err(EINVAL);
        }
        let unsupported = self.has(RWF_NOWAIT) && !self.file.flags.nowait
            || self.has(RWF_DONTCACHE) && !self.file.flags.dontcache
            || self.has(RWF_ATOMIC) && (!is_write || !self.can_write_atomically());
        if unsupported { Err(EOPNOTSUPP) } else { Ok(()) }
    }

    /// No device that the table's files lie on can; the target says so at the start where one can.
    fn can_write_atomically(&self) -> bool {
        false
    }

    /// `aio_read` and `aio_write` up to the file's own code.
    fn begin(&self, is_write: bool) -> Result<Transfer, i32> {
        self.check_flags(is_write)?;
        let may = if is_write { self.file.writable } else { self.file.readable };
        if !may {
            return Err(EBADF);
        }
        match self.file.kind {
            Kind::Directory => return Err(EINVAL),
            Kind::EventFd(_) | Kind::Full if is_write => return Err(EINVAL),
            _ => {}
        }
        let (at, len) = (self.iocb.aio_buf, self.iocb.aio_nbytes);
        let transfer = if self.is_vectored() {
            Transfer::of_vector(self.arena, self.vectors, at, len, !is_write)?
        } else {
            Transfer::of_buffer(self.arena, at, len, !is_write)?
        };
        // rw_verify_area
        let end = self.iocb.aio_offset.checked_add(transfer.total as i64);
        if self.iocb.aio_offset < 0 || end.is_none() {
            return Err(EINVAL);
        }
        Ok(transfer)
    }

    fn read(&self, table: &mut Table) -> Prediction {
        let to = match self.begin(false) {
            Ok(to) => to,
            Err(errno) => return refused(errno),
        };
        let nowait = self.has(RWF_NOWAIT);
        match self.file.kind {
            Kind::Regular { file, direct: true, .. } => self.read_direct(table, file, &to),
            Kind::Regular { file, .. } => at_once(self.read_cached(table, file, &to)),
            Kind::PipeReader(pipe) => {
                let (results, key) = read_pipe(&mut table.state.pipes[pipe], &to);
                woken(pipe, results, key)
            }
            Kind::Socket { read, .. } => at_once(self.socket(to.total, read)),
            Kind::EventFd(counter) => {
                at_once(read_counter(&mut table.state.counters[counter], &to))
            }
            Kind::Zero | Kind::Full if nowait => at_once(
                Results::exactly(to.up_to(to.total))
                    .or_up_to(to.prefix as i64, "the kernel stops where it would reschedule")
                    .or(-i64::from(EAGAIN), "the kernel stops where it would reschedule"),
            ),
            Kind::Zero | Kind::Full => at_once(Results::exactly(to.up_to(to.total))),
            Kind::Null => at_once(Results::exactly(0)),
            Kind::Directory | Kind::NotOpen | Kind::PipeWriter(_) => refused(EBADF),
        }
    }

    fn write(&self, table: &mut Table) -> Prediction {
        let from = match self.begin(true) {
            Ok(from) => from,
            Err(errno) => return refused(errno),
        };
        match self.file.kind {
            Kind::Regular { file, append, direct } => {
                self.write_file(table, file, append, direct, &from)
            }
            Kind::PipeWriter(pipe) => {
                // Once somebody has polled, every write wakes the readers, also one that fails; and
                // a POLL believes what it is woken with.
                let results = table.state.pipes[pipe].write(&from);
                woken(pipe, results, if from.total > 0 { IN } else { 0 })
            }
            Kind::Socket { write, .. } => at_once(self.socket_write(from.total, write)),
            Kind::Null | Kind::Zero => at_once(Results::exactly(from.total as i64)),
            _ => refused(EINVAL),
        }
    }

    /// `sock_read_iter`.
    fn socket(&self, total: usize, errno: Option<i32>) -> Results {
        if self.iocb.aio_offset != 0 {
            return Results::error(ESPIPE);
        }
        match errno {
            Some(errno) if total > 0 => Results::error(errno),
            _ => Results::exactly(0),
        }
    }

    /// `sock_write_iter`. A stream socket looks whether it is shut down before the length.
    fn socket_write(&self, total: usize, errno: i32) -> Results {
        if self.iocb.aio_offset != 0 {
            return Results::error(ESPIPE);
        }
        if errno == EAGAIN && total == 0 {
            return Results::exactly(0);
        }
        Results::error(errno)
    }

    /// `generic_file_read_iter`.
    fn read_cached(&self, table: &Table, file: usize, to: &Transfer) -> Results {
        let size = table.state.files[file].size;
        let there = size.saturating_sub(self.iocb.aio_offset as u64);
        let count = to.total.min(usize::try_from(there).unwrap_or(usize::MAX));
        let exact = to.up_to(count);
        let results = Results::exactly(exact);
        if self.has(RWF_NOWAIT) && count > 0 {
            let why = "pages may have left the cache";
            return results.or_up_to(exact, why).or(-i64::from(EAGAIN), why);
        }
        results
    }

    /// `iomap_dio_rw`.
    fn read_direct(&self, table: &Table, file: usize, to: &Transfer) -> Prediction {
        let known = &table.state.files[file];
        let at = self.iocb.aio_offset as u64;
        let results = if to.total == 0 || at >= known.size {
            Results::exactly(0)
        } else {
            let count = to.total.min((known.size - at) as usize);
            self.direct_results(known, at, to, count)
        };
        let effect = Effect::None;
        Prediction::Completes { results, asynchronous: true, effect }
    }

    /// What `O_DIRECT` gives for `count` bytes from `at` on that could be moved.
    fn direct_results(&self, file: &File, at: u64, to: &Transfer, count: usize) -> Results {
        const PAGES: &str = "how many pages are moved before one that faults is the file system's";
        const SEGMENTS: &str = "older kernels want each segment aligned, newer ones their sum";
        const EXTENTS: &str =
            "past the first end each extent is checked alone, or the cache is used";
        const BUSY: &str = "a lock or a block may not be had at once";
        let (mem, off) = file.alignment;
        let bad_sum = (to.total | at as usize) % off != 0;
        let bad_segment = to.addresses % mem != 0 || to.lengths % off != 0;
        let moved = to.reachable(0, count) as i64;
        let faults = to.prefix < to.total;
        let mut results = if bad_sum {
            Results::error(EINVAL)
        } else if !faults {
            Results::exactly(count as i64)
        } else if moved == 0 {
            Results::error(EFAULT)
        } else {
            Results::error(EFAULT).or_up_to(moved, PAGES)
        };
        if bad_segment && !bad_sum {
            results = results.or(-i64::from(EINVAL), SEGMENTS);
        }
        if !file.is_solid(at, to.total) {
            results = results.or_up_to(moved, EXTENTS).or(-i64::from(EINVAL), EXTENTS);
            if faults {
                results = results.or(-i64::from(EFAULT), EXTENTS);
            }
        }
        if self.has(RWF_NOWAIT) {
            results = results.or(-i64::from(EAGAIN), BUSY);
        }
        results
    }

    /// Where a write begins, and how much of it fits (`generic_write_checks`).
    fn write_file(
        &self,
        table: &mut Table,
        file: usize,
        append: bool,
        direct: bool,
        from: &Transfer,
    ) -> Prediction {
        let known = &mut table.state.files[file];
        if let (false, true, Some(errno)) = (direct, self.has(RWF_NOWAIT), known.nowait_write) {
            return at_once(Results::error(errno));
        }
        if from.total == 0 {
            return at_once(Results::exactly(0));
        }
        let append = append && !self.has(RWF_NOAPPEND) || self.has(RWF_APPEND);
        let at = if append { known.size } else { self.iocb.aio_offset as u64 };
        let Some(room) = known.max_size.checked_sub(at).filter(|&room| room > 0) else {
            return at_once(Results::error(EFBIG));
        };
        let count = from.total.min(usize::try_from(room).unwrap_or(usize::MAX));
        if direct {
            let results = self.direct_results(known, at, from, count);
            let effect = match results.value() {
                Some(value) if value <= 0 || at + value as u64 <= known.size => Effect::None,
                _ => Effect::Size(file),
            };
            return Prediction::Completes { results, asynchronous: true, effect };
        }
        if known.sealed && from.prefix > 0 {
            return at_once(Results::error(EPERM));
        }
        if known.sealed {
            let why = "older kernels touch the buffer before the file";
            return at_once(Results::error(EPERM).or(-i64::from(EFAULT), why));
        }
        let moved = from.up_to(count);
        if self.has(RWF_NOWAIT) {
            let why = "a lock or a page may not be had at once";
            let results = Results::exactly(moved).or_up_to(moved, why);
            let results = results.or(-i64::from(EAGAIN), why);
            let effect = Effect::Size(file);
            return Prediction::Completes { results, asynchronous: false, effect };
        }
        if moved < 0 && at > known.size {
            // Where the buffer is not touched before the file (measured on 6.18), a write behind
            // the end that faults at its first byte makes the file reach up to its offset, although
            // it gives EFAULT.
            let (results, effect) = (Results::exactly(moved), Effect::Size(file));
            return Prediction::Completes { results, asynchronous: false, effect };
        }
        if moved > 0 {
            known.size = known.size.max(at + moved as u64);
        }
        at_once(Results::exactly(moved))
    }

    /// `aio_fsync`.
    fn sync(&self) -> Prediction {
        let iocb = self.iocb;
        let other = iocb.aio_nbytes != 0 || iocb.aio_offset != 0 || iocb.aio_rw_flags != 0;
        if iocb.aio_buf != 0 || other {
            return refused(EINVAL);
        }
        match self.file.kind {
            Kind::Regular { .. } | Kind::Directory => Prediction::Completes {
                results: Results::exactly(0),
                asynchronous: true,
                effect: Effect::None,
            },
            _ => refused(EINVAL),
        }
    }

    /// `aio_poll`.
    fn poll(&self, table: &Table) -> Prediction {
        let iocb = self.iocb;
        if iocb.aio_buf > u64::from(u16::MAX) {
            return refused(EINVAL);
        }
        if iocb.aio_offset != 0 || iocb.aio_nbytes != 0 || iocb.aio_rw_flags != 0 {
            return refused(EINVAL);
        }
        let state = &table.state;
        let (now, can_wait) = match self.file.kind {
            Kind::PipeReader(pipe) => (state.pipes[pipe].poll_reader(), true),
            Kind::PipeWriter(pipe) => (state.pipes[pipe].poll_writer(), true),
            Kind::EventFd(counter) if state.counters[counter] > 0 => (POLL_IN_OUT, true),
            Kind::EventFd(_) => (libc::POLLOUT as u32, true),
            Kind::Socket { .. } => (self.file.poll, true),
            // No poll of its own: always readable and writable, and nothing to wait on.
            _ => ((libc::POLLIN | libc::POLLOUT) as u32 | NORMAL, false),
        };
        let events = iocb.aio_buf as u32 | ALWAYS;
        match now & events {
            0 if can_wait => Prediction::Waits(events),
            0 => refused(EINVAL),
            ready => at_once(Results::exactly(i64::from(ready))),
        }
    }
}

const POLL_IN_OUT: u32 = (libc::POLLIN | libc::POLLOUT) as u32;
const NORMAL: u32 = (libc::POLLRDNORM | libc::POLLWRNORM) as u32;
/// What is waited for whether asked for or not.
const ALWAYS: u32 = (libc::POLLERR | libc::POLLHUP) as u32;
/// What a write to a pipe wakes its readers with.
const IN: u32 = (libc::POLLIN | libc::POLLRDNORM) as u32;
/// What a read from a full pipe wakes its writers with.
const OUT: u32 = (libc::POLLOUT | libc::POLLWRNORM) as u32;

fn woken(pipe: usize, results: Results, key: u32) -> Prediction {
    let effect = if key == 0 { Effect::None } else { Effect::Wakes(pipe, key) };
    Prediction::Completes { results, asynchronous: false, effect }
}

fn read_pipe(pipe: &mut Pipe, to: &Transfer) -> (Results, u32) {
    let was_full = pipe.is_full();
    let results = pipe.read(to);
    let key = if was_full && !pipe.is_full() { OUT } else { 0 };
    (results, key)
}

/// `eventfd_read`, which takes the count before it knows whether it can be delivered.
fn read_counter(counter: &mut u64, to: &Transfer) -> Results {
    if to.total < 8 {
        return Results::error(EINVAL);
    }
    if *counter == 0 {
        return Results::error(EAGAIN);
    }
    *counter = 0;
    if to.prefix < 8 { Results::error(EFAULT) } else { Results::exactly(8) }
}
