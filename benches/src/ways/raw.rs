//! By [`Submitter`] and [`Reaper`](linux_aio::Reaper), with iocbs of our own.

use super::Runner;
use crate::clock::{Clock, Latencies, NoClock, Watch};
use crate::load::{Action, Load, STEPS, Step};
use anyhow::{Result, ensure};
use linux_aio::{AlignedBuf, Errno, IoContext, IoEvent, Iocb, Opcode, Reaper, Submitter};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
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

/// Holds what an iocb is filled from, side by side as in the loop in C.
struct Filler {
    steps: Box<[Step; STEPS]>,
    /// Of the next step.
    number: usize,
    files: Vec<RawFd>,
    buffers: Vec<*mut u8>,
    block: usize,
    /// The count that a read returns.
    read_returns: i64,
    /// Whose files these are.
    _load: Arc<Load>,
}

impl Filler {
    /// # Safety
    /// `slot` is below the depth of the load.
    #[inline]
    unsafe fn next(&mut self, slot: usize) -> Iocb {
        let number = self.number;
        self.number = number.wrapping_add(1);
        let step = self.steps[number % STEPS];
        let fd = match self.files[..] {
            [fd] => fd,
            ref files => files[number % files.len()],
        };
        // SAFETY: There are as many as the load is deep.
        let buf = unsafe { *self.buffers.get_unchecked(slot) };
        let iocb = match step.action() {
            Action::Read => Iocb::pread(fd, buf, self.block, step.offset()),
            Action::Write => Iocb::pwrite(fd, buf, self.block, step.offset()),
            Action::Sync => Iocb::fdsync(fd),
        };
        iocb.user_data(slot as u64)
    }

    /// Returns true if the operation has ended as it should.
    #[inline]
    fn is_expected(&self, iocb: &Iocb, res: i64) -> bool {
        match iocb.opcode() {
            Opcode::PREAD => res == self.read_returns,
            _ => res == iocb.as_raw().aio_nbytes as i64,
        }
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
        let filler = Filler {
            steps: load.steps.clone(),
            number: 0,
            files: load.target.files.iter().map(|file| file.as_raw_fd()).collect(),
            buffers: addresses,
            block: load.target.block,
            read_returns: load.target.read_returns as i64,
            _load: Arc::clone(load),
        };
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
            unsafe { submit_rest(submitter, 0, pending) }?;
        }
        for _ in 0..(operations - depth as u64) / batch as u64 {
            end_batch::<FILLS, C>(&mut reaper, events, pending, filler, &marks, &mut clock)?;
            if C::LOOKS {
                let mark = clock.begin();
                for &iocb in pending.iter() {
                    // SAFETY: It is one of ours, and the kernel is finished with it.
                    marks[unsafe { (*iocb).as_raw() }.aio_data as usize] = mark;
                }
            }
            // SAFETY: As above.
            let accepted = unsafe { submitter.submit(pending) }?;
            if accepted < batch {
                // SAFETY: As above.
                unsafe { submit_rest(submitter, accepted, pending) }?;
            }
        }
        for _ in 0..depth / batch {
            end_batch::<FILLS, C>(&mut reaper, events, pending, filler, &marks, &mut clock)?;
        }
        Ok(())
    }
}

/// Takes a batch of events, and fills the iocbs again. They are `pending` then.
#[inline(always)]
fn end_batch<const FILLS: bool, C: Clock>(
    reaper: &mut Reaper<'_>,
    events: &mut [MaybeUninit<IoEvent>],
    pending: &mut [*mut Iocb],
    filler: &mut Filler,
    marks: &[C::Mark],
    clock: &mut C,
) -> Result<()> {
    let batch = events.len();
    let taken = match reaper.wait(batch, None, events) {
        Ok(taken) if taken.len() == batch => taken,
        Ok(taken) => wait_for_rest(reaper, taken.len(), events)?,
        Err(Errno::EINTR) => wait_for_rest(reaper, 0, events)?,
        Err(errno) => return Err(errno.into()),
    };
    for (at, place) in pending.iter_mut().enumerate() {
        // SAFETY: There is an event for each of the batch.
        let event = unsafe { taken.get_unchecked(at) };
        let iocb = ptr::with_exposed_provenance_mut::<Iocb>(event.iocb_addr() as usize);
        *place = iocb;
        // SAFETY: It is one of ours, whose event has been taken, so the kernel is finished with it.
        let ended = unsafe { &*iocb };
        let res = event.as_raw().res;
        if !filler.is_expected(ended, res) {
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
    Ok(())
}

#[cold]
fn unexpected(res: i64) -> anyhow::Error {
    anyhow::anyhow!("an operation returned {res}")
}

/// Fills `events`, of which there are `count`, also if the wait is interrupted: by a signal, or by
/// the end of a ring of io_uring in this process.
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

/// Submits all of them but those that were `accepted`.
///
/// # Safety
/// Submits as [`Submitter::submit`] does.
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
