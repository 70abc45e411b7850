//! By [`Submitter`] and [`Reaper`](linux_aio::Reaper), with iocbs of our own.

use super::Runner;
use crate::clock::{Clock, Latencies, NoClock, Watch};
use crate::load::{Action, Cursor, Load};
use anyhow::{Result, ensure};
use linux_aio::{AlignedBuf, Errno, IoContext, IoEvent, Iocb, Opcode, Reaper, Submitter};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::Arc;

/// A context, and what its operations need. Iocbs are filled again for each operation only where
/// `FILLS`.
struct Raw<const FILLS: bool> {
    /// Ends before the buffers do.
    context: IoContext,
    iocbs: Vec<Iocb>,
    pending: Vec<*mut Iocb>,
    events: Vec<MaybeUninit<IoEvent>>,
    filler: Filler,
    _buffers: Vec<AlignedBuf>,
}

/// What an iocb is filled from.
struct Filler {
    cursor: Cursor,
    buffers: Vec<*mut u8>,
    load: Arc<Load>,
}

impl Filler {
    /// # Safety
    /// `slot` is below the depth of the load.
    #[inline]
    unsafe fn next(&mut self, slot: usize) -> Iocb {
        let (step, file) = self.cursor.next_with_file(&self.load);
        // SAFETY: There are as many as the load is deep.
        let buf = unsafe { *self.buffers.get_unchecked(slot) };
        let (fd, block) = (file.as_raw_fd(), self.load.target.block);
        let iocb = match step.action() {
            Action::Read => Iocb::pread(fd, buf, block, step.offset()),
            Action::Write => Iocb::pwrite(fd, buf, block, step.offset()),
            Action::Sync => Iocb::fdsync(fd),
        };
        iocb.user_data(slot as u64)
    }
}

/// Fills every iocb when it is submitted.
pub fn prepare(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    Ok(Box::new(Raw::<true>::new(load)?))
}

/// Submits iocbs as they were filled once.
pub fn prepare_prefilled(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    Ok(Box::new(Raw::<false>::new(load)?))
}

impl<const FILLS: bool> Raw<FILLS> {
    fn new(load: &Arc<Load>) -> Result<Self> {
        let mut buffers = load.buffers()?;
        let addresses = buffers.iter_mut().map(|buf| buf.as_mut_ptr()).collect();
        let filler =
            Filler { cursor: Cursor::default(), buffers: addresses, load: Arc::clone(load) };
        Ok(Self {
            context: IoContext::new(load.depth)?,
            iocbs: vec![Iocb::fsync(-1); load.depth as usize],
            pending: vec![ptr::null_mut(); load.batch as usize],
            events: vec![MaybeUninit::uninit(); load.batch as usize],
            filler,
            _buffers: buffers,
        })
    }

    #[inline(never)]
    fn run_loop<C: Clock>(&mut self, operations: u64, mut clock: C) -> Result<()> {
        let Self { context, iocbs, pending, events, filler, .. } = self;
        let (batch, depth) = (events.len(), iocbs.len());
        // As long as each other, which the compiler then knows.
        let (pending, events) = (&mut pending[..batch], &mut events[..batch]);
        let (submitter, mut reaper) = context.split();
        let mut marks = vec![clock.begin(); depth];
        let iocbs = iocbs.as_mut_ptr();

        for first in (0..depth).step_by(batch) {
            for (slot, place) in (first..).zip(pending.iter_mut()) {
                // SAFETY: `slot` is below the depth, the number of iocbs.
                *place = unsafe { iocbs.add(slot) };
                // SAFETY: As above.
                let iocb = unsafe { filler.next(slot) };
                // SAFETY: The kernel does not have it, and nothing refers to it.
                unsafe { place.write(iocb) };
            }
            // SAFETY: The iocbs and buffers are fields, which stay until every event has been taken
            // or the context is gone.
            unsafe { submit_all(submitter, pending) }?;
        }
        let mut left = operations;
        while left > 0 {
            let taken = match reaper.wait(batch, None, events) {
                Ok(taken) if taken.len() == batch => taken,
                Ok(taken) => wait_for_rest(&mut reaper, taken.len(), events)?,
                Err(Errno::EINTR) => wait_for_rest(&mut reaper, 0, events)?,
                Err(errno) => return Err(errno.into()),
            };
            left -= batch as u64;
            for (event, place) in taken.iter().zip(pending.iter_mut()) {
                let iocb = ptr::with_exposed_provenance_mut::<Iocb>(event.iocb_addr() as usize);
                *place = iocb;
                // SAFETY: It is one of ours, whose event has been taken, so the kernel is finished with it.
                let ended = unsafe { &*iocb };
                let res = event.as_raw().res;
                if !is_expected(&filler.load, ended, res) {
                    return Err(unexpected(res));
                }
                if C::LOOKS || FILLS {
                    let slot = event.user_data() as usize;
                    // SAFETY: It is what was submitted: a number below that of the iocbs, and marks.
                    clock.end(*unsafe { marks.get_unchecked(slot) });
                    if FILLS {
                        // SAFETY: `slot` is as above.
                        let filled = unsafe { filler.next(slot) };
                        // SAFETY: As for `ended`, to which nothing refers any more.
                        unsafe { iocb.write(filled) };
                    }
                }
            }
            if left >= depth as u64 {
                if C::LOOKS {
                    let mark = clock.begin();
                    for event in taken {
                        marks[event.user_data() as usize] = mark;
                    }
                }
                // SAFETY: As above.
                unsafe { submit_all(submitter, pending) }?;
            }
        }
        Ok(())
    }
}

#[cold]
fn unexpected(res: i64) -> anyhow::Error {
    anyhow::anyhow!("an operation returned {res}")
}

/// Fills `events`, of which there are `count`, also if the wait is interrupted: by a signal, or by the
/// end of a ring of io_uring in this process.
#[cold]
fn wait_for_rest<'e>(
    reaper: &mut Reaper<'_>,
    mut count: usize,
    events: &'e mut [MaybeUninit<IoEvent>],
) -> Result<&'e [IoEvent], Errno> {
    while count < events.len() {
        let rest = &mut events[count..];
        match reaper.wait(rest.len(), None, rest) {
            Ok(more) => count += more.len(),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    let events = &raw const *events;
    // SAFETY: All of them have been taken.
    Ok(unsafe { &*(events as *const [IoEvent]) })
}

/// Whether the operation has ended as it should.
#[inline]
fn is_expected(load: &Load, iocb: &Iocb, res: i64) -> bool {
    match iocb.opcode() {
        Opcode::PREAD => res == load.target.read_returns as i64,
        _ => res == iocb.as_raw().aio_nbytes as i64,
    }
}

/// Submits all of them.
///
/// # Safety
/// As [`Submitter::submit`].
#[inline]
unsafe fn submit_all(submitter: Submitter<'_>, iocbs: &[*mut Iocb]) -> Result<()> {
    // SAFETY: The caller's promise.
    let accepted = unsafe { submitter.submit(iocbs) }?;
    if accepted < iocbs.len() {
        // SAFETY: The caller's promise.
        return unsafe { submit_rest(submitter, accepted, iocbs) };
    }
    Ok(())
}

/// Submits all of them but those that were `accepted`.
///
/// # Safety
/// As [`Submitter::submit`].
#[cold]
unsafe fn submit_rest(
    submitter: Submitter<'_>,
    mut accepted: usize,
    iocbs: &[*mut Iocb],
) -> Result<()> {
    while accepted < iocbs.len() {
        // SAFETY: The caller's promise.
        let more = unsafe { submitter.submit(&iocbs[accepted..]) }?;
        ensure!(more > 0, "the kernel takes none");
        accepted += more;
    }
    Ok(())
}

impl<const FILLS: bool> Runner for Raw<FILLS> {
    fn run(&mut self, operations: u64, latencies: Option<&mut Latencies>) -> Result<()> {
        match latencies {
            None => self.run_loop(operations, NoClock),
            Some(latencies) => self.run_loop(operations, Watch(latencies)),
        }
    }
}
