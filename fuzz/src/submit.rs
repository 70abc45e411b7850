//! Target `submit`: structured iocbs, many of them nonsense, to the running kernel, each call and
//! each event compared with the [model](crate::model).
//!
//! One context serves all inputs. An input begins with the table as it was at the start, and ends
//! when nothing is in flight.

mod expected;
mod generate;

use crate::divergence::{Divergence, Verdict, ensure};
use crate::input::Source;
use crate::memory::{Arena, Guarded, TwoViews, page};
use crate::model::{Effect, Facts, KERNEL_ADDRESS, Kind, Prediction, Table, predict};
use expected::{Expected, Wait};
use generate::{Place, Spec};
use libc::{EFAULT, EINVAL};
use linux_aio::abi::{IOCB_FLAG_RESFD, KIOCB_KEY, aio_context_t, io_event, iocb};
use linux_aio::{IoContext, IoEvent, sys};
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr;

/// Operations asked for at `io_setup`.
const ROOM: u32 = 256;
/// Operations in flight before the target waits for them. Below what was asked for, so `EAGAIN` is
/// never an answer.
const MOST_IN_FLIGHT: usize = 128;
/// Bytes from one place for an iocb to the next.
const STRIDE: usize = 128;
/// Places for iocbs.
const PLACES: usize = 512;
/// Steps of one input.
const STEPS: usize = 600;
/// How long a missing event is waited for before it counts as lost.
const PATIENCE: sys_time::Time = sys_time::Time { tv_sec: 15, tv_nsec: 0 };
const NO_TIME: sys_time::Time = sys_time::Time { tv_sec: 0, tv_nsec: 0 };

mod sys_time {
    pub(super) use linux_aio::abi::__kernel_old_timespec as Time;
}

/// What all inputs share: the context, the memory and the table.
#[derive(Debug)]
pub struct Submit {
    facts: Facts,
    arena: Arena,
    table: Table,
    context: IoContext,
    /// Where iocbs lie; behind it nothing.
    iocbs: Guarded,
    next_place: usize,
    readonly: TwoViews,
    /// Where arrays of pointers lie, ending at its end.
    pointers: Guarded,
    /// Where arrays of iovecs lie, from its end down.
    vectors: Guarded,
    next_vector: usize,
    /// Where events are taken to.
    events: Guarded,
    in_flight: Vec<Expected>,
    /// Signals of the eventfd that are due.
    signals: u64,
    /// Iocbs that the kernel has judged.
    pub submissions: u64,
}

impl Submit {
    /// Opens and maps everything; regular files in `directory`.
    pub fn new(directory: &Path) -> io::Result<Self> {
        let (arena, facts) = (Arena::new(), Facts::measure()?);
        let vectors = Guarded::new(8 * page());
        Ok(Self {
            facts,
            arena,
            table: Table::new(directory)?,
            context: IoContext::new(ROOM)?,
            iocbs: Guarded::new(PLACES * STRIDE),
            next_place: 0,
            readonly: TwoViews::new()?,
            pointers: Guarded::new(page()),
            vectors,
            next_vector: vectors.end(),
            events: Guarded::new(4 * page()),
            in_flight: Vec::new(),
            signals: 0,
            submissions: 0,
        })
    }

    /// What the kernel was found to know.
    pub fn facts(&self) -> Facts {
        self.facts
    }

    /// Runs one input.
    pub fn run(&mut self, data: &[u8]) -> Verdict {
        self.table.restore();
        let mut source = Source::new(data);
        for _ in 0..STEPS {
            if source.is_empty() {
                break;
            }
            match source.below(16) {
                0..=10 => self.batch(&mut source)?,
                11 => self.cancel(&mut source)?,
                12 => self.getevents(&mut source)?,
                13 => self.reap()?,
                14 => self.bad_call(&mut source)?,
                _ => self.settle()?,
            }
        }
        self.settle()
    }

    fn id(&self) -> aio_context_t {
        self.context.as_raw()
    }

    // ---- submitting ----

    /// Submits some iocbs, those behind one that is refused once more, until all have an answer.
    fn batch(&mut self, source: &mut Source<'_>) -> Verdict {
        let count = 1 + source.below(24);
        if self.in_flight.len() + count > MOST_IN_FLIGHT || self.next_place + count >= PLACES {
            self.settle()?;
        }
        self.next_vector = self.vectors.end();
        if self.in_flight.is_empty() {
            self.next_place = 0;
        }
        let mut specs: Vec<Spec> = Vec::with_capacity(count);
        for _ in 0..count {
            let again = source.once_in(32);
            match specs.last() {
                Some(&last) if again && !last.is_poll() => specs.push(last),
                _ => specs.push(self.generate(source)),
            }
        }
        let too_many = if source.once_in(8) { 1 + source.below(3) } else { 0 };
        let by_library = source.once_in(2);
        let mut rest = &specs[..];
        while !rest.is_empty() {
            let answered = self.submit(rest, too_many, by_library)?;
            rest = &rest[answered..];
        }
        Ok(())
    }

    /// One call, and how many of `specs` it has answered.
    fn submit(&mut self, specs: &[Spec], too_many: usize, by_library: bool) -> Verdict<usize> {
        let (mut accepted, mut refusal) = (0, None);
        let mut end = specs.len();
        let before = self.in_flight.len();
        for (i, spec) in specs.iter().enumerate() {
            match self.foresee(spec) {
                Prediction::Refused { errno, key_written } => {
                    refusal = Some((errno, key_written));
                    break;
                }
                prediction => {
                    accepted += 1;
                    if self.expect(spec, prediction) {
                        // What comes after it depends on its result.
                        end = i + 1;
                        break;
                    }
                }
            }
        }
        let specs = &specs[..end];
        let got = self.call_submit(specs, if end == accepted { 0 } else { too_many }, by_library);
        self.submissions += accepted as u64 + u64::from(refusal.is_some() && accepted == 0);
        let predicted = match refusal {
            Some((errno, _)) if accepted == 0 => -(errno as isize),
            _ => accepted as isize,
        };
        if got != predicted {
            return Err(self.wrong_answer(specs, before, predicted, got));
        }
        self.check_keys(specs, accepted, refusal)?;
        if end == accepted && matches!(self.last_effect(before), Some(Effect::Size(_))) {
            self.settle()?;
        }
        Ok(if accepted == 0 { 1 } else { accepted })
    }

    fn last_effect(&self, before: usize) -> Option<Effect> {
        self.in_flight[before..].last().map(|expected| expected.effect)
    }

    /// What the kernel is to say to one iocb where it lies.
    fn foresee(&mut self, spec: &Spec) -> Prediction {
        if !spec.place.is_readable() {
            return Prediction::Refused { errno: EFAULT, key_written: false };
        }
        let vectors = self.vectors_at(spec.iocb.aio_buf, spec.iocb.aio_nbytes);
        let prediction =
            if spec.place == Place::ReadOnly { self.foresee_readonly(spec) } else { None };
        prediction.unwrap_or_else(|| {
            predict(&self.facts, &self.arena, &mut self.table, &spec.iocb, &vectors)
        })
    }

    /// `aio_key` cannot be written: the checks before that count, nothing after it happens.
    fn foresee_readonly(&mut self, spec: &Spec) -> Option<Prediction> {
        // No opcode, so that nothing but the checks before it is done.
        let iocb = iocb { aio_lio_opcode: u16::MAX, ..spec.iocb };
        match predict(&self.facts, &self.arena, &mut self.table, &iocb, &[]) {
            Prediction::Refused { errno, key_written: false } => {
                Some(Prediction::Refused { errno, key_written: false })
            }
            _ => Some(Prediction::Refused { errno: EFAULT, key_written: false }),
        }
    }

    /// Notes an accepted operation. `true` where nothing can be foreseen before its event.
    fn expect(&mut self, spec: &Spec, prediction: Prediction) -> bool {
        if spec.iocb.aio_flags & IOCB_FLAG_RESFD != 0 {
            self.signals += 1;
        }
        let expected = Expected::new(spec, prediction, self.poll_pipe(spec));
        let effect = expected.effect;
        if let Effect::Wakes(pipe, key) = effect {
            for waiting in &mut self.in_flight {
                waiting.wake(pipe, key);
            }
        }
        self.in_flight.push(expected);
        matches!(effect, Effect::Size(_))
    }

    /// The pipe at whose end a POLL waits, and whether that is the one for reading.
    fn poll_pipe(&self, spec: &Spec) -> Option<(usize, bool)> {
        match self.table.find(spec.iocb.aio_fildes)?.kind {
            Kind::PipeReader(pipe) => Some((pipe, true)),
            Kind::PipeWriter(pipe) => Some((pipe, false)),
            _ => None,
        }
    }

    fn call_submit(&mut self, specs: &[Spec], too_many: usize, by_library: bool) -> isize {
        let pointers: Vec<u64> = specs.iter().map(|spec| spec.at).collect();
        if by_library && too_many == 0 {
            return self.submit_by_library(&pointers);
        }
        let at = self.pointers.put_before(self.pointers.end(), &pointers);
        let array = ptr::with_exposed_provenance(at);
        let nr = (pointers.len() + too_many) as _;
        // SAFETY: The kernel checks every address; those that it can write lie in the arena and
        // the areas for iocbs, to which nothing here has references.
        unsafe { sys::io_submit(self.id(), nr, array) }
    }

    fn submit_by_library(&mut self, pointers: &[u64]) -> isize {
        let pointers: Vec<*mut linux_aio::Iocb> =
            pointers.iter().map(|&at| ptr::with_exposed_provenance_mut(at as usize)).collect();
        let (submitter, _) = self.context.split();
        // SAFETY: As in `call_submit`.
        match unsafe { submitter.submit(&pointers) } {
            Ok(count) => count as isize,
            Err(errno) => -(errno.as_raw() as isize),
        }
    }

    fn wrong_answer(
        &mut self,
        specs: &[Spec],
        before: usize,
        predicted: isize,
        got: isize,
    ) -> Divergence {
        let at = got.max(0) as usize;
        let mut report =
            format!("io_submit of {} iocbs returned {got}, predicted {predicted}\n", specs.len());
        if let Some(spec) = specs.get(at) {
            report += &format!("iocb {at}: {}\n", self.describe(spec));
            let alone = if got > 0 { self.call_submit(&[*spec], 0, false) } else { got };
            report += &format!("alone it gives {alone}\n");
        }
        if let Some(expected) = self.in_flight.get(before + at) {
            report += &format!("predicted for it: {expected}\n");
        }
        Divergence(report)
    }

    /// An iocb with the name of its descriptor.
    fn describe(&self, spec: &Spec) -> String {
        let name = self.table.find(spec.iocb.aio_fildes).map_or("?", |found| found.name);
        let vectors = self.vectors_at(spec.iocb.aio_buf, spec.iocb.aio_nbytes);
        let shown = vectors.len().min(9);
        format!("{:?}\n  file: {name}\n  iovecs there: {:x?}", spec, &vectors[..shown])
    }

    /// The kernel writes `aio_key` of what it accepts, and of what it refuses late.
    fn check_keys(&self, specs: &[Spec], accepted: usize, refusal: Option<(i32, bool)>) -> Verdict {
        let written = accepted + usize::from(refusal.is_some_and(|(_, key_written)| key_written));
        for (i, spec) in specs.iter().enumerate().take(accepted + 1) {
            if spec.place != Place::Good {
                continue;
            }
            let same_before = specs[..written.min(specs.len())].iter().any(|s| s.at == spec.at);
            let due = if same_before { KIOCB_KEY } else { spec.iocb.aio_key };
            let key = self.key_at(spec.at);
            ensure(key == due, || {
                format!("aio_key of iocb {i} is {key:#x}, predicted {due:#x}\n{spec:?}")
            })?;
        }
        Ok(())
    }

    /// `aio_key` of an iocb that lies in memory of this target.
    fn key_at(&self, at: u64) -> u32 {
        let place = ptr::with_exposed_provenance::<iocb>(at as usize);
        // SAFETY: It points to an iocb in an area for iocbs, to which nothing has references.
        let key = unsafe { &raw const (*place).aio_key };
        // SAFETY: As above; it need not be aligned.
        unsafe { key.read_unaligned() }
    }

    /// Calls that fail before any iocb is looked at.
    fn bad_call(&mut self, source: &mut Source<'_>) -> Verdict {
        let array = self.pointers.put_before(self.pointers.end(), &[0u64]);
        let dead = self.dead_context(source);
        let array: *const *mut iocb = ptr::with_exposed_provenance(array);
        let unmapped: *const *mut iocb = ptr::with_exposed_provenance(self.pointers.end());
        let id = self.id();
        let (ctx, nr, at, predicted) = match source.below(5) {
            0 => (dead, 1, array, -EINVAL),
            1 => (id, -1 - source.below(1000) as isize, array, -EINVAL),
            2 => (id, isize::MIN, array, -EINVAL),
            3 => (id, 1 + source.below(1 << 20) as isize, unmapped, -EFAULT),
            _ => (id, 0, unmapped, 0),
        };
        // SAFETY: No iocb is reached: the context is dead, the count not positive, or the array not
        // readable, or its one pointer null.
        let got = unsafe { sys::io_submit(ctx, nr as _, at) };
        ensure(got == predicted as isize, || {
            format!("io_submit({ctx:#x}, {nr}, {at:p}) returned {got}, predicted {predicted}")
        })
    }

    /// A number that is no context.
    fn dead_context(&self, source: &mut Source<'_>) -> aio_context_t {
        let id = self.id();
        let kernel = KERNEL_ADDRESS as aio_context_t;
        let ours = self.iocbs.start() as aio_context_t;
        source.pick(&[0, 1, id + 8, id + page() as aio_context_t, ours, kernel])
    }

    // ---- cancelling ----

    fn cancel(&mut self, source: &mut Source<'_>) -> Verdict {
        let (at, dead) = (self.address_to_cancel(source), source.once_in(8));
        let ctx = if dead { self.dead_context(source) } else { self.id() };
        self.cancel_at(ctx, at, dead)
    }

    fn address_to_cancel(&self, source: &mut Source<'_>) -> u64 {
        let polls: Vec<u64> = self.polls().map(|(_, expected)| expected.at).collect();
        match source.below(8) {
            0..=3 if !polls.is_empty() => polls[source.below(polls.len())],
            4 | 5 if !self.in_flight.is_empty() => {
                self.in_flight[source.below(self.in_flight.len())].at
            }
            6 => source.pick(&[0, KERNEL_ADDRESS, self.iocbs.end() as u64]),
            _ => (self.iocbs.start() + source.below(PLACES) * STRIDE) as u64,
        }
    }

    fn polls(&self) -> impl Iterator<Item = (usize, &Expected)> {
        self.in_flight.iter().enumerate().filter(|(_, expected)| expected.wait.is_some())
    }

    fn cancel_at(&mut self, ctx: aio_context_t, at: u64, dead: bool) -> Verdict {
        let end = self.iocbs.end() as u64;
        let readable = at >= self.iocbs.start() as u64 && at + 16 <= end
            || at >= self.readonly.readonly as u64 && at < (self.readonly.readonly + page()) as u64;
        let waiting = self.in_flight.iter_mut().find(|expected| {
            expected.at == at && expected.wait.as_ref().is_some_and(|wait| !wait.cancelled)
        });
        let woken = waiting.as_ref().is_some_and(|expected| expected.is_woken());
        let predicted: &[i32] = match waiting {
            _ if !readable => &[EFAULT],
            _ if dead => &[EINVAL],
            None => &[EINVAL],
            Some(_) if woken => &[libc::EINPROGRESS, EINVAL],
            Some(_) => &[libc::EINPROGRESS],
        };
        let key_is_good = !readable || self.key_at(at) == KIOCB_KEY;
        let predicted = if key_is_good { predicted } else { &[EINVAL] };
        let iocb = ptr::with_exposed_provenance(at as usize);
        // SAFETY: No result is asked for; the kernel only reads at the address, with checks.
        let got = unsafe { sys::io_cancel(ctx, iocb, ptr::null_mut()) };
        let allowed = predicted.iter().any(|&errno| got == -(errno as isize));
        ensure(allowed, || {
            let there = self.in_flight.iter().filter(|expected| expected.at == at);
            let there: Vec<_> = there.map(|e| format!("{e}: {}", self.describe(&e.spec))).collect();
            format!(
                "io_cancel at {at:#x} returned {got}, predicted the errnos {predicted:?}\n{}",
                there.join("\n")
            )
        })?;
        if got == -(libc::EINPROGRESS as isize) {
            let uncancelled = self.in_flight.iter_mut().find_map(|expected| {
                expected.wait.as_mut().filter(|wait| expected.at == at && !wait.cancelled)
            });
            if let Some(wait) = uncancelled {
                wait.cancelled = true;
            }
        }
        Ok(())
    }

    // ---- taking events ----

    /// How many events are there, at least and at most.
    fn bounds(&self) -> (usize, usize) {
        let surely = self.in_flight.iter().filter(|expected| expected.is_there()).count();
        let perhaps = self.in_flight.iter().filter(|expected| expected.may_be_there()).count();
        (surely, perhaps)
    }

    /// `io_getevents` with any arguments that do not wait without end.
    fn getevents(&mut self, source: &mut Source<'_>) -> Verdict {
        let (surely, perhaps) = self.bounds();
        let most = 4 * page() / size_of::<io_event>();
        let nr = match source.below(8) {
            0 => -1 - source.below(10) as i64,
            1 => 0,
            2..=5 => source.below(40) as i64,
            _ => most as i64,
        };
        let min = match source.below(8) {
            0 => -1,
            1 => nr.saturating_add(1 + source.below(9) as i64),
            2..=4 => 0,
            _ => source.below(surely.max(1)) as i64,
        };
        let mut time = if min as usize <= surely { source.pick(&PAUSES) } else { NO_TIME };
        let room = if source.once_in(6) { source.below(8) } else { most };
        let dead = source.once_in(12);
        let ctx = if dead { self.dead_context(source) } else { self.id() };
        let at = self.events.end() - room * size_of::<io_event>();
        let place = ptr::with_exposed_provenance_mut(at);
        // SAFETY: The kernel checks the address of the events; the rest is numbers and a local.
        // The ring is read by this thread alone.
        let got = unsafe { sys::io_getevents(ctx, min as _, nr as _, place, &raw mut time) };
        let call = || {
            format!(
                "io_getevents(min {min}, nr {nr}, room for {room}, dead {dead}) returned {got} with \
                 {surely} to {perhaps} events there"
            )
        };
        if dead || min < 0 || min > nr {
            return ensure(got == -(EINVAL as isize), call);
        }
        let [least, most] = [surely, perhaps].map(|count| count.min(nr as usize));
        if got < 0 {
            return ensure(got == -(EFAULT as isize) && most > room, call);
        }
        let count = got as usize;
        ensure((least..=most).contains(&count) && count <= room, call)?;
        self.take(at, count)
    }

    /// Looks at events that the kernel wrote.
    fn take(&mut self, at: usize, count: usize) -> Verdict {
        for i in 0..count {
            let place = ptr::with_exposed_provenance::<io_event>(at + i * size_of::<io_event>());
            // SAFETY: The kernel has written this event into the area for events.
            let event = unsafe { place.read_unaligned() };
            self.on_event(&event)?;
        }
        Ok(())
    }

    /// Takes what is there by the library, off the ring.
    fn reap(&mut self) -> Verdict {
        let (surely, perhaps) = self.bounds();
        let mut room = [MaybeUninit::<IoEvent>::uninit(); 64];
        let events: Vec<io_event> = {
            let (_, mut reaper) = self.context.split();
            let events = reaper.reap(&mut room);
            let events = events.map_err(|errno| Divergence(format!("reaping failed: {errno}")))?;
            events.iter().map(|event| *event.as_raw()).collect()
        };
        let [least, most] = [surely, perhaps].map(|count| count.min(64));
        ensure((least..=most).contains(&events.len()), || {
            format!("{} events reaped, predicted {least} to {most}", events.len())
        })?;
        events.iter().try_for_each(|event| self.on_event(event))
    }

    fn on_event(&mut self, event: &io_event) -> Verdict {
        let same = |expected: &Expected| expected.at == event.obj && expected.data == event.data;
        let found = self
            .in_flight
            .iter()
            .position(|expected| same(expected) && event.res2 == 0 && expected.allows(event.res));
        let Some(found) = found else {
            let mut report = format!("{event:?} was not predicted. Of its iocb and data are:\n");
            for expected in self.in_flight.iter().filter(|expected| same(expected)) {
                report += &format!("{expected}\n  {}\n", self.describe(&expected.spec));
            }
            return Err(Divergence(report));
        };
        if let Effect::Size(file) = self.in_flight.swap_remove(found).effect {
            self.table.state.files[file].measure();
        }
        Ok(())
    }

    /// Cancels what waits, and takes every event.
    fn settle(&mut self) -> Verdict {
        let waiting: Vec<u64> = self
            .polls()
            .filter(|(_, expected)| !self.will_be_ready(expected))
            .map(|(_, expected)| expected.at)
            .collect();
        let id = self.id();
        waiting.into_iter().try_for_each(|at| self.cancel_at(id, at, false))?;
        while !self.in_flight.is_empty() {
            let mut time = PATIENCE;
            let at = self.events.start();
            let place = ptr::with_exposed_provenance_mut(at);
            let nr = self.in_flight.len().min(4 * page() / size_of::<io_event>());
            // SAFETY: The area for events has room for `nr`; the ring is read by this thread alone.
            let got = unsafe { sys::io_getevents(id, 1, nr as _, place, &raw mut time) };
            ensure(got > 0, || self.lost(got))?;
            self.take(at, got as usize)?;
        }
        self.check_ring_is_empty()?;
        self.check_signals()
    }

    /// Whether what a POLL waits for has come, so that it must complete with it.
    fn will_be_ready(&self, expected: &Expected) -> bool {
        let pipes = &self.table.state.pipes;
        match expected.wait {
            Some(Wait { pipe: Some((pipe, at_reader)), events, key, cancelled: false })
                if key != 0 =>
            {
                let pipe = &pipes[pipe];
                let now = if at_reader { pipe.poll_reader() } else { pipe.poll_writer() };
                now & events != 0
            }
            _ => false,
        }
    }

    fn lost(&self, got: isize) -> String {
        let mut report = format!("io_getevents returned {got}; these have no event:\n");
        for expected in &self.in_flight {
            report += &format!("{expected}\n  {}\n", self.describe(&expected.spec));
        }
        report
    }

    fn check_ring_is_empty(&mut self) -> Verdict {
        let mut room = [MaybeUninit::<IoEvent>::uninit(); 4];
        let (_, mut reaper) = self.context.split();
        let left = reaper.reap(&mut room).map(<[IoEvent]>::len);
        ensure(left == Ok(0), || format!("events nobody waits for: {left:?}"))
    }

    /// The eventfd has been signalled once for each operation that named it.
    fn check_signals(&mut self) -> Verdict {
        let due = std::mem::take(&mut self.signals);
        let mut seen = 0;
        while seen < due {
            let mut ready =
                libc::pollfd { fd: self.table.signalled, events: libc::POLLIN, revents: 0 };
            // SAFETY: One entry, which lives during the call.
            let count = unsafe { libc::poll(&raw mut ready, 1, 15_000) };
            ensure(count == 1, || format!("the eventfd was signalled {seen} times of {due}"))?;
            seen += self.take_signals();
        }
        seen += self.take_signals();
        ensure(seen == due, || format!("the eventfd was signalled {seen} times, predicted {due}"))
    }

    fn take_signals(&self) -> u64 {
        let mut count = 0u64;
        // SAFETY: The number lives during the call.
        let got = unsafe { libc::read(self.table.signalled, (&raw mut count).cast(), 8) };
        if got == 8 { count } else { 0 }
    }
}

/// Times that a wait for events which are there may be given.
const PAUSES: [sys_time::Time; 4] = [
    NO_TIME,
    sys_time::Time { tv_sec: 0, tv_nsec: 1 },
    sys_time::Time { tv_sec: 0, tv_nsec: 10_000 },
    sys_time::Time { tv_sec: 1, tv_nsec: 0 },
];
