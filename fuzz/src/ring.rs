//! Target `ring`: arbitrary ring memory behind [`IoContext::from_raw`], read by a `Reaper` and by a
//! scope. Whatever a kernel, or somebody who writes the ring, puts there: nothing is read outside
//! of it (an access behind it faults), nothing loops for ever, no event comes twice, and `head`
//! stays below `nr`.
//!
//! The number of the context is that of no context: every system call on it is `EINVAL`, so what is
//! seen came from the memory. `nr` fits the mapping when the context is made, as the kernel's does;
//! afterwards all of it may change.

use crate::divergence::{Verdict, ensure};
use crate::input::Source;
use crate::memory::Guarded;
use linux_aio::abi::{AIO_RING_MAGIC, aio_context_t, aio_ring, io_event};
use linux_aio::op::Read;
use linux_aio::{Errno, IoContext, IoEvent, Slot};
use std::fs::File;
use std::mem::MaybeUninit;
use std::ptr;

/// The most events that a ring of this target has.
const MOST: usize = 200;
/// Bytes of its header.
const HEADER: usize = size_of::<aio_ring>();

/// The memory, which all inputs share.
#[derive(Debug)]
pub struct Rings {
    memory: Guarded,
    null: File,
    /// Events that came out.
    pub events: u64,
}

impl Default for Rings {
    fn default() -> Self {
        Self::new()
    }
}

impl Rings {
    /// Maps the memory.
    pub fn new() -> Self {
        let memory = Guarded::new(HEADER + MOST * size_of::<io_event>());
        let null = File::open("/dev/null").expect("/dev/null is everywhere");
        Self { memory, null, events: 0 }
    }

    /// Runs one input.
    pub fn run(&mut self, data: &[u8]) -> Verdict {
        let mut source = Source::new(data);
        let nr = 1 + source.below(MOST);
        let events = self.fill(&mut source, nr);
        // The end of the events is the end of the memory.
        let at = self.memory.end() - HEADER - nr * size_of::<io_event>();
        let ring = Memory { at, nr: nr as u32 };
        ring.write_header(&mut source);
        // SAFETY: There is no such context, so that no call on it does anything, and the memory of
        // its ring is this target's for ever. Nobody else reads or writes it during the calls.
        let mut context = unsafe { IoContext::from_raw(at as aio_context_t) };
        let seen = ring.header();
        let usable = seen.magic == AIO_RING_MAGIC
            && seen.incompat_features == 0
            && seen.header_length as usize == HEADER
            && seen.nr > 1;
        ensure(context.uses_ring() == usable, || format!("a ring with {seen:?} is used or not"))?;
        for _ in 0..64 {
            if source.is_empty() {
                break;
            }
            if source.once_in(4) {
                ring.write_positions(&mut source);
            }
            if source.once_in(6) {
                // A context that has given out events of operations that it never took refuses a
                // scope; a fresh one has not.
                ring.set(aio_ring { nr: ring.nr, ..ring.header() });
                // SAFETY: As above; the number has just been given up.
                context = unsafe { IoContext::from_raw(context.into_raw()) };
                let usable = context.uses_ring();
                self.scope(&mut context, ring, usable)?;
            } else {
                self.reap(&mut source, &mut context, ring, &events)?;
            }
        }
        // Not destroyed: there is nothing to destroy.
        context.into_raw();
        Ok(())
    }

    /// Gives each place of the ring an event of its own.
    fn fill(&self, source: &mut Source<'_>, nr: usize) -> Vec<io_event> {
        let salt = source.word() << 8;
        let event = |i: usize| io_event {
            data: if salt & 256 == 0 { 1 << 32 | i as u64 } else { salt ^ i as u64 },
            obj: i as u64,
            res: salt as i64 >> 3,
            res2: 0,
        };
        let events: Vec<io_event> = (0..nr).map(event).collect();
        self.memory.put_before(self.memory.end(), &events);
        events
    }

    /// Takes events by the reaper.
    fn reap(
        &mut self,
        source: &mut Source<'_>,
        context: &mut IoContext,
        ring: Memory,
        events: &[io_event],
    ) -> Verdict {
        let room = source.below(MOST + 10);
        let before = ring.header();
        let available = if context.uses_ring() { ring.available() } else { None };
        let mut taken = vec![MaybeUninit::<IoEvent>::uninit(); room];
        let (_, mut reaper) = context.split();
        let got = reaper.reap(&mut taken).map(|events| events.to_vec());
        let after = ring.header();
        let Some(available) = available else {
            return ensure(got == Err(Errno::EINVAL) && after == before, || {
                format!("{got:?} from a ring that cannot be read: {before:?}, then {after:?}")
            });
        };
        let count = available.min(room);
        let head = before.head as usize;
        let due = (head..head + count).map(|at| IoEvent::from_raw(events[at % events.len()]));
        let due: Vec<IoEvent> = due.collect();
        self.events += count as u64;
        ensure(got.as_deref() == Ok(&due[..]), || {
            format!("{before:?}, room for {room}: {got:?}, predicted {due:?}")
        })?;
        let head = ((head + count) % events.len()) as u32;
        ensure(after == aio_ring { head, ..before }, || {
            format!("{before:?} became {after:?}, predicted head {head}")
        })
    }

    /// Looks at the ring as a scope does, for which every event is a stray.
    fn scope(&mut self, context: &mut IoContext, ring: Memory, usable: bool) -> Verdict {
        let available = if usable { ring.available() } else { None };
        let before = ring.header();
        let mut buf = [0u8; 8];
        let slots = &mut [const { Slot::new() }; 4];
        let outcome = linux_aio::scope(context, slots, |io| {
            let pushed = io.push(Read::new(&self.null, &mut buf, 0)).is_ok();
            let refused = io.wait().map(|done| done.map(|done| done.result));
            let strays = io.stats().stray_events;
            let next = io.try_next().map(|done| done.map(drop)).map_err(Errno::from);
            (pushed, refused, next, strays)
        });
        let due = available.unwrap_or(0) as u64;
        self.events += due;
        let refusal = Ok(Some(Err(Errno::EINVAL)));
        // Where the ring is of no use, the kernel does not know the context.
        let next = if available.is_some() { Ok(None) } else { Err(Errno::EINVAL) };
        ensure(outcome == Ok((true, refusal, next, due)), || {
            format!("{outcome:?} of a scope over {before:?}, predicted {due} strays")
        })?;
        let after = ring.header();
        let head = if available.is_some() { before.tail } else { before.head };
        ensure(after == aio_ring { head, ..before }, || {
            format!("{before:?} became {after:?} by a scope, predicted head {head}")
        })
    }
}

/// A ring in memory.
#[derive(Clone, Copy)]
struct Memory {
    at: usize,
    nr: u32,
}

impl Memory {
    fn pointer(self) -> *mut aio_ring {
        ptr::with_exposed_provenance_mut(self.at)
    }

    fn header(self) -> aio_ring {
        // SAFETY: A header lies there, aligned, and nothing has references to it.
        unsafe { self.pointer().read_volatile() }
    }

    fn set(self, header: aio_ring) {
        // SAFETY: As above.
        unsafe { self.pointer().write_volatile(header) };
    }

    /// A header with the right `nr` and mostly the right rest.
    fn write_header(self, source: &mut Source<'_>) {
        let mut header = aio_ring {
            id: source.word() as u32,
            nr: self.nr,
            magic: AIO_RING_MAGIC,
            compat_features: source.byte().into(),
            header_length: HEADER as u32,
            ..aio_ring::default()
        };
        match source.below(16) {
            1 => header.magic ^= 1 << source.below(32),
            2 => header.incompat_features = 1 << source.below(32),
            3 => header.header_length = source.word() as u32,
            _ => {}
        }
        self.set(header);
        self.write_positions(source);
        self.set(aio_ring { nr: self.nr, ..self.header() });
    }

    /// Moves `head` and `tail`, sometimes out of the ring, and sometimes changes `nr`.
    fn write_positions(self, source: &mut Source<'_>) {
        let mut header = self.header();
        let inside = self.nr as usize;
        for position in [&mut header.head, &mut header.tail] {
            *position = match source.below(16) {
                1 => source.word() as u32,
                2 => self.nr,
                3 => u32::MAX,
                _ => source.below(inside) as u32,
            };
        }
        if source.once_in(8) {
            header.nr = source.word() as u32;
        }
        self.set(header);
    }

    /// How many events there are; `None` where `head` or `tail` is out of the ring.
    fn available(self) -> Option<usize> {
        let header = self.header();
        let [head, tail, nr] = [header.head, header.tail, self.nr].map(|value| value as usize);
        (head < nr && tail < nr).then(|| (tail + nr - head) % nr)
    }
}
