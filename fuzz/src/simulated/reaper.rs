//! Target `reaper_simulated`: iocbs by a `Submitter`, events by a `Reaper`, over a simulated
//! kernel.
//!
//! What must hold: an operation is taken as often as `io_submit` says; each event comes out once,
//! as the kernel gave it, also where the ring cannot be read and where waits fail; the count of
//! operations outstanding is right.

use super::memory::{Buffer, Buffers};
use super::operation::{self, descriptor};
use super::{Filters, Kernel, Object, Script, judge, report};
use crate::divergence::{Verdict, ensure};
use crate::input::Source;
use linux_aio::{Errno, IoContext, IoEvent, Iocb, RwFlags, SigSet};
use std::collections::{HashMap, VecDeque};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Operations at a time, at most.
const MOST: usize = 32;
/// Events that are asked for at once, at most.
const EVENTS: usize = 12;

/// An operation at the address from which it is submitted.
struct Op {
    iocb: Iocb,
    number: u32,
    buffer: Buffer,
}

struct Reapers<'a> {
    kernel: &'a Kernel,
    buffers: Buffers,
    last: u32,
    /// Not submitted yet.
    pending: VecDeque<Box<Op>>,
    /// In the kernel, by number.
    live: HashMap<u32, Box<Op>>,
    events: u64,
    strays: u64,
    getevents: Option<Errno>,
}

/// Runs the steps of an input over a kernel with a script. Gives how many operations that were.
pub fn run(steps: &[u8], script: Script) -> Verdict<u64> {
    let mut source = Source::new(steps);
    let kernel = super::kernel(script);
    operation::open_all(&kernel);
    let _entered = kernel.enter();
    let asked = 1 + source.below(MOST) as u32;
    let Ok(mut context) = IoContext::new(asked) else { return Ok(0) };
    context.use_ring(!source.once_in(4));
    let mut reapers = Reapers {
        kernel: &kernel,
        buffers: Buffers::default(),
        last: 0,
        pending: VecDeque::new(),
        live: HashMap::new(),
        events: 0,
        strays: 0,
        getevents: None,
    };
    while !source.is_empty() {
        reapers.step(&mut source, &mut context)?;
        judge(kernel.check())?;
        reapers.check_count(&mut context)?;
    }
    reapers.drain(&mut context)?;
    drop(context);
    judge(kernel.end())?;
    Ok(u64::from(reapers.last))
}

impl Reapers<'_> {
    fn step(&mut self, source: &mut Source<'_>, context: &mut IoContext) -> Verdict {
        match source.below(12) {
            0..=2 => self.make(source),
            3 | 4 => self.submit(source, context)?,
            5 | 6 => self.reap(source, context, false)?,
            7 | 8 => self.reap(source, context, true)?,
            9 => self.kernel.run(8),
            10 => {
                self.getevents = source.once_in(4).then_some(Errno::EPERM);
                let getevents = self.getevents;
                self.kernel.filter(Filters { getevents, ..Filters::default() });
            }
            _ if source.once_in(2) => self.kernel.spoil_rings(),
            _ => ensure(context.split().0.is_alive(), || "the context lives".into())?,
        }
        Ok(())
    }

    fn make(&mut self, source: &mut Source<'_>) {
        self.last += 1;
        let number = self.last;
        let buffer = self.buffers.make(1 + source.below(64));
        let fd = descriptor(Object::File).as_raw_fd();
        // The buffer is a box: to move it would end a pointer that was taken before.
        let mut op = Box::new(Op { iocb: Iocb::fsync(fd), number, buffer });
        let (bytes, at) = (op.buffer.as_mut(), source.below(9000) as u64);
        match source.below(3) {
            0 => op.iocb = Iocb::pread(fd, bytes.as_mut_ptr(), bytes.len(), at),
            1 => op.iocb = Iocb::pwrite(fd, bytes.as_ptr(), bytes.len(), at),
            _ => {}
        }
        let flags = RwFlags::from_bits_retain(number as _);
        op.iocb = op.iocb.user_data(u64::from(number)).rw_flags(flags);
        self.pending.push_back(op);
    }

    fn submit(&mut self, source: &mut Source<'_>, context: &mut IoContext) -> Verdict {
        let count = self.pending.len().min(1 + source.below(8));
        let iocbs = self.pending.iter_mut().take(count).map(|op| &raw mut op.iocb);
        let iocbs: Vec<*mut Iocb> = iocbs.collect();
        let before = self.kernel.counts().accepted;
        // SAFETY: The operations are in boxes, with their buffers, which stay until their events.
        let outcome = unsafe { context.split().0.submit(&iocbs) };
        let accepted = (self.kernel.counts().accepted - before) as usize;
        match outcome {
            Ok(said) => {
                ensure(said == accepted, || format!("{said} said, {accepted} accepted"))?;
                let taken = self.pending.drain(..said);
                self.live.extend(taken.map(|op| (op.number, op)));
            }
            Err(errno) => {
                ensure(accepted == 0, || format!("{errno}, with {accepted} accepted"))?;
                let refused = |op: &mut Box<Op>| self.kernel.record(op.number).is_some();
                if self.pending.front_mut().is_some_and(refused) {
                    self.pending.pop_front();
                } else {
                    ensure([Errno::EAGAIN, Errno::EINTR].contains(&errno), || errno.to_string())?;
                }
            }
        }
        Ok(())
    }

    fn reap(&mut self, source: &mut Source<'_>, context: &mut IoContext, waits: bool) -> Verdict {
        let mut room = [const { MaybeUninit::<IoEvent>::uninit() }; EVENTS];
        let room = &mut room[..1 + source.below(EVENTS)];
        let min = source.below(room.len() + 1).min(self.kernel.in_flight());
        let (timeout, by_mask) = (Some(Duration::from_secs(1)), source.once_in(4));
        let timeout = if source.once_in(2) { None } else { timeout };
        let (_, mut reaper) = context.split();
        let events = match waits {
            false => reaper.reap(room),
            true if by_mask => reaper.wait_masked(min, timeout, &SigSet::full(), room),
            true => reaper.wait(min, timeout, room),
        };
        match events {
            Ok(events) => events.iter().try_for_each(|event| self.take(event)),
            Err(Errno::EINTR) if waits => Ok(()),
            Err(errno) if self.getevents == Some(errno) => Ok(()),
            Err(errno) => Err(report(format!("an unexpected error: {errno}"))),
        }
    }

    fn take(&mut self, event: &IoEvent) -> Verdict {
        self.events += 1;
        let Some(op) = u32::try_from(event.user_data()).ok().and_then(|n| self.live.remove(&n))
        else {
            self.strays += 1;
            return Ok(());
        };
        let record = self.kernel.record(op.number);
        let res = record.and_then(|record| record.res);
        let address = (&raw const op.iocb).addr() as u64;
        ensure(res == Some(event.as_raw().res) && event.iocb_addr() == address, || {
            format!("{event:?}, predicted {res:?} from {address:#x}")
        })
    }

    fn check_count(&self, context: &mut IoContext) -> Verdict {
        let counts = self.kernel.counts();
        let due = counts.accepted.wrapping_sub(self.events) as usize;
        let outstanding = context.in_flight();
        let known = self.events == counts.taken && self.strays == counts.strays_taken;
        ensure(outstanding == due && known, || {
            format!(
                "{outstanding} outstanding, predicted {due}; {} events, {} strays, predicted {counts:?}",
                self.events, self.strays
            )
        })
    }

    /// With a kernel that does nothing wrong any more, every event comes out.
    fn drain(&mut self, context: &mut IoContext) -> Verdict {
        self.kernel.calm();
        self.getevents = None;
        let mut nothing = Source::new(&[]);
        while !self.live.is_empty() {
            self.kernel.run_to_the_end();
            self.reap(&mut nothing, context, false)?;
        }
        self.check_count(context)
    }
}
