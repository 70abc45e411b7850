//! Runs the same loop by io_uring, with the crate `io-uring`.

use super::Runner;
use crate::clock::{Clock, Latencies, NoClock, Watch};
use crate::load::{Action, Cursor, Load, Step};
use anyhow::{Context, Result};
use io_uring::types::{Fd, Fixed, FsyncFlags};
use io_uring::{IoUring, Submitter, opcode, squeue};
use linux_aio::AlignedBuf;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::{io, mem};

/// Holds a ring, and what its operations need.
struct Uring {
    /// Ends before the buffers do.
    ring: IoUring,
    buffers: Vec<*mut u8>,
    actions: Vec<Action>,
    registered: bool,
    cursor: Cursor,
    allocations: Vec<AlignedBuf>,
    load: Arc<Load>,
}

/// Prepares the plain way: nothing registered, no flags.
pub fn prepare(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    let ring = IoUring::new(load.depth).context("io_uring is blocked or missing")?;
    Ok(Box::new(Uring::new(load, ring, false)?))
}

/// At its best without a polling thread: files and buffers registered, one issuer, no interrupts of
/// the task.
pub fn prepare_registered(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun();
    let ring = builder.build(load.depth).context("io_uring is blocked, missing or before 6.1")?;
    let uring = Uring::new(load, ring, true)?;
    let files: Vec<_> = load.target.files.iter().map(|file| file.as_raw_fd()).collect();
    uring.ring.submitter().register_files(&files)?;
    let iovecs: Vec<_> = uring
        .buffers
        .iter()
        .map(|buf| libc::iovec { iov_base: buf.cast(), iov_len: load.target.block })
        .collect();
    // SAFETY: The buffers are fields and end after the ring.
    unsafe { uring.ring.submitter().register_buffers(&iovecs) }?;
    Ok(Box::new(uring))
}

impl Uring {
    fn new(load: &Arc<Load>, ring: IoUring, registered: bool) -> Result<Self> {
        let mut buffers = load.buffers()?;
        Ok(Self {
            ring,
            buffers: buffers.iter_mut().map(|buf| buf.as_mut_ptr()).collect(),
            actions: vec![Action::Read; load.depth as usize],
            registered,
            cursor: Cursor::default(),
            allocations: buffers,
            load: Arc::clone(load),
        })
    }

    #[inline(never)]
    fn run_loop<C: Clock, const REGISTERED: bool>(
        &mut self,
        operations: u64,
        mut clock: C,
    ) -> Result<()> {
        let Self { ring, buffers, actions, cursor, load, .. } = self;
        let (submitter, mut submissions, mut completions) = ring.split();
        let (depth, batch) = (load.depth as usize, load.batch as usize);
        let mut marks = Vec::with_capacity(depth);
        let mut next = |slot: usize, actions: &mut [Action]| {
            let (step, file) = cursor.next_with_file(load);
            actions[slot] = step.action();
            let (buf, len) = (buffers[slot], load.target.block as u32);
            let entry = if REGISTERED {
                registered(step, buf, len, slot)
            } else {
                unregistered(step, Fd(file.as_raw_fd()), buf, len)
            };
            entry.user_data(slot as u64)
        };
        for slot in 0..depth {
            // SAFETY: The buffer is used by this operation alone and ends after the ring; the file
            // is the load's.
            unsafe { submissions.push(&next(slot, actions)) }?;
            marks.push(clock.begin());
        }
        let (mut left, mut again) = (operations, operations - depth as u64);
        while left > 0 {
            submissions.sync();
            wait(&submitter, batch)?;
            // The kernel has taken the entries.
            submissions.sync();
            completions.sync();
            while completions.len() < batch {
                wait(&submitter, batch)?;
                completions.sync();
            }
            for _ in 0..batch {
                let event = completions.next().context("a completion is missing")?;
                let (slot, result) = (event.user_data() as usize, event.result());
                let result =
                    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
                load.check(actions[slot], result)?;
                clock.end(marks[slot]);
                if again > 0 {
                    // SAFETY: As above; its last operation has ended.
                    unsafe { submissions.push(&next(slot, actions)) }?;
                    marks[slot] = clock.begin();
                }
            }
            left -= batch as u64;
            again = again.saturating_sub(batch as u64);
        }
        Ok(())
    }

    fn run_clocked<C: Clock>(&mut self, operations: u64, clock: C) -> Result<()> {
        let result = if self.registered {
            self.run_loop::<C, true>(operations, clock)
        } else {
            self.run_loop::<C, false>(operations, clock)
        };
        if result.is_err() {
            // The kernel may be writing there, and closing the ring does not wait for that.
            mem::forget(mem::take(&mut self.allocations));
        }
        result
    }
}

/// Submits, and waits for `batch` completions, if nothing comes in between. The end of another ring
/// of this process interrupts the wait as a signal does, and what was submitted hides the error.
#[inline]
fn wait(submitter: &Submitter<'_>, batch: usize) -> io::Result<()> {
    match submitter.submit_and_wait(batch) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        result => result.map(drop),
    }
}

#[inline]
fn unregistered(step: Step, file: Fd, buf: *mut u8, len: u32) -> squeue::Entry {
    match step.action() {
        Action::Read => opcode::Read::new(file, buf, len).offset(step.offset()).build(),
        Action::Write => opcode::Write::new(file, buf, len).offset(step.offset()).build(),
        Action::Sync => opcode::Fsync::new(file).flags(FsyncFlags::DATASYNC).build(),
    }
}

/// With the first registered file, and buffers registered by slot.
#[inline]
fn registered(step: Step, buf: *mut u8, len: u32, slot: usize) -> squeue::Entry {
    let (file, slot, at) = (Fixed(0), slot as u16, step.offset());
    match step.action() {
        Action::Read => opcode::ReadFixed::new(file, buf, len, slot).offset(at).build(),
        Action::Write => opcode::WriteFixed::new(file, buf, len, slot).offset(at).build(),
        Action::Sync => opcode::Fsync::new(file).flags(FsyncFlags::DATASYNC).build(),
    }
}

impl Runner for Uring {
    fn run(&mut self, operations: u64, latencies: Option<&mut Latencies>) -> Result<()> {
        match latencies {
            None => self.run_clocked(operations, NoClock),
            Some(latencies) => self.run_clocked(operations, Watch(latencies)),
        }
    }
}
