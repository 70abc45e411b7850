//! Target `capi`: the functions of the C drop-in with wild arguments, each compared with the system
//! call of that name on the same arguments, or with what libaio promises.
//!
//! Contexts are live ones, destroyed ones, null, and numbers in memory or beyond it, also of memory
//! that looks like a ring. Pointers are good, null, misaligned or unmapped where the kernel is the
//! one to look at them.

use crate::divergence::{Verdict, ensure};
use crate::input::Source;
use crate::memory::{Guarded, page};
use libc::{EFAULT, EINVAL};
use linux_aio::abi::{AIO_RING_MAGIC, aio_ring, io_event, iocb};
use linux_aio_fuzz_capi::calls;
use linux_aio_fuzz_capi::context::{Timespec, io_context_t};
use linux_aio_fuzz_capi::{compat, queue};
use std::cell::Cell;
use std::ffi::{c_int, c_long};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

thread_local! {
    /// Calls of [`count`].
    static CALLED: Cell<u64> = const { Cell::new(0) };
}

/// A callback of `io_queue_run`.
unsafe extern "C" fn count(_: io_context_t, iocb: *mut iocb, res: c_long, _: c_long) {
    if !iocb.is_null() && res == 0 {
        CALLED.set(CALLED.get() + 1);
    }
}

/// What all inputs share.
#[derive(Debug)]
pub struct Capi {
    live: io_context_t,
    null: File,
    /// Iocbs and the pointers to them.
    memory: Guarded,
    /// A page that looks like the ring of a context, and is of none.
    fake: Guarded,
    events: Guarded,
    /// Operations in `live` whose events have not been taken: all are complete.
    complete: u64,
    /// Calls made.
    pub calls: u64,
}

const READS: usize = 8;

impl Capi {
    /// Makes a context.
    pub fn new() -> io::Result<Self> {
        let mut live: io_context_t = ptr::null_mut();
        // SAFETY: `live` is valid for reads and writes.
        let made = unsafe { queue::io_queue_init(64, &raw mut live) };
        if made != 0 {
            return Err(io::Error::from_raw_os_error(-made));
        }
        let [memory, fake, events] = [page(), page(), page()].map(Guarded::new);
        let header = aio_ring { magic: AIO_RING_MAGIC, nr: 100, ..aio_ring::default() };
        fake.put_before(fake.start() + size_of::<aio_ring>(), &[header]);
        let null = File::open("/dev/null")?;
        Ok(Self { live, null, memory, fake, events, complete: 0, calls: 0 })
    }

    /// Runs one input.
    pub fn run(&mut self, data: &[u8]) -> Verdict {
        let mut source = Source::new(data);
        for _ in 0..200 {
            if source.is_empty() {
                break;
            }
            self.calls += 1;
            match source.below(8) {
                0 => self.setup(&mut source)?,
                1 => self.dead(&mut source)?,
                2 => self.submit(&mut source)?,
                3 => self.bad_submit(&mut source)?,
                4 => self.cancel(&mut source)?,
                5 | 6 => self.getevents(&mut source)?,
                _ => self.queue_run(&mut source)?,
            }
        }
        self.drain()
    }

    /// A number that is no context.
    fn no_context(&self, source: &mut Source<'_>) -> io_context_t {
        let fake = self.fake.start();
        let live = self.live.addr();
        let address = match source.below(7) {
            0 => 0,
            1 => fake,
            2 => fake + 8,
            3 => live + 1,
            4 => live + 16,
            5 => self.memory.end(),
            _ => usize::MAX - source.below(8192),
        };
        ptr::with_exposed_provenance_mut(address)
    }

    /// `io_setup` and `io_queue_init` that must fail.
    fn setup(&mut self, source: &mut Source<'_>) -> Verdict {
        let mut used: io_context_t = self.live;
        let place = &raw mut used;
        let unmapped: *mut io_context_t = ptr::with_exposed_provenance_mut(self.memory.end());
        let mut zero: io_context_t = ptr::null_mut();
        let zero = &raw mut zero;
        let negative = -1 - source.below(1 << 30) as c_int;
        let (got, due) = match source.below(6) {
            // SAFETY: The kernel looks at the place, with checks.
            0 => (unsafe { calls::io_setup(source.below(100) as c_int, unmapped) }, EFAULT),
            // SAFETY: `place` is valid for reads and writes.
            1 => (unsafe { calls::io_setup(1 + source.below(100) as c_int, place) }, EINVAL),
            // SAFETY: `zero` is valid for reads and writes.
            2 => (unsafe { calls::io_setup(0, zero) }, EINVAL),
            // SAFETY: As above.
            3 => (unsafe { calls::io_setup(negative, zero) }, EINVAL),
            // SAFETY: A place is touched only if the count is positive.
            4 => (unsafe { queue::io_queue_init(negative, unmapped) }, EINVAL),
            // SAFETY: As above.
            _ => (unsafe { queue::io_queue_init(0, ptr::null_mut()) }, EINVAL),
        };
        ensure(got == -due, || format!("setup returned {got}, predicted -{due}"))?;
        ensure(used == self.live, || "io_setup has changed a context that it refused".into())
    }

    /// Calls on what is no context.
    fn dead(&mut self, source: &mut Source<'_>) -> Verdict {
        let ctx = self.no_context(source);
        let mut time = Timespec { tv_sec: 0, tv_nsec: source.below(2) as _ };
        let place = ptr::with_exposed_provenance_mut(self.events.start());
        let which = source.below(6);
        let got = match which {
            // SAFETY: There is no such context; nobody reads a ring of it.
            0 => unsafe { calls::io_destroy(ctx) },
            // SAFETY: As above.
            1 => unsafe { queue::io_queue_release(ctx) },
            // SAFETY: As above; the other pointers are good.
            2 => unsafe { calls::io_getevents(ctx, 0, 1, place, &raw mut time) },
            // SAFETY: As above; there is no mask.
            3 => unsafe { calls::io_pgetevents(ctx, 0, 1, place, &raw mut time, ptr::null()) },
            // SAFETY: As above.
            4 => unsafe { compat::io_queue_wait(ctx, &raw mut time) },
            // SAFETY: As above. No event is there, so no callback is called.
            _ => unsafe { queue::io_queue_run(ctx) },
        };
        // Memory that looks like an empty ring is not looked at.
        ensure(got == -EINVAL, || format!("call {which} on no context: {got}, predicted -{EINVAL}"))
    }

    /// Puts iocbs of reads of `/dev/null` into memory, and says where the pointers to them are.
    fn iocbs(&mut self, with_callback: bool, shift: usize) -> *const *mut iocb {
        let callback: unsafe extern "C" fn(io_context_t, *mut iocb, c_long, c_long) = count;
        let data =
            if with_callback { (callback as *const ()).expose_provenance() as u64 } else { 0 };
        let read = iocb {
            aio_data: data,
            aio_fildes: self.null.as_raw_fd() as u32,
            aio_buf: self.events.start() as u64,
            aio_nbytes: 8,
            ..iocb::ZERO
        };
        let end = self.memory.start() + READS * size_of::<iocb>() + shift;
        let first = self.memory.put_before(end, &[read; READS]);
        let pointers: Vec<usize> = (0..READS).map(|i| first + i * size_of::<iocb>()).collect();
        let at = self.memory.put_before(self.memory.end(), &pointers);
        ptr::with_exposed_provenance(at)
    }

    fn submit(&mut self, source: &mut Source<'_>) -> Verdict {
        if self.complete > 40 {
            self.drain()?;
        }
        let array = self.iocbs(source.once_in(2), source.below(8));
        let asked = source.below(READS + 3);
        // SAFETY: The array has `READS` pointers to iocbs that can be written, and ends where
        // memory ends; the buffer that they name is this target's own.
        let got = unsafe { calls::io_submit(self.live, asked as c_long, array) };
        let due = asked.min(READS);
        self.complete += due as u64;
        ensure(got == due as c_int, || format!("io_submit of {asked}: {got}, predicted {due}"))
    }

    fn bad_submit(&mut self, source: &mut Source<'_>) -> Verdict {
        let array = self.iocbs(false, 0);
        let unmapped = ptr::with_exposed_provenance(self.memory.end());
        let no_context = self.no_context(source);
        let negative = -1 - source.below(1 << 40) as c_long;
        let (got, due) = match source.below(4) {
            // SAFETY: There is no such context.
            0 => (unsafe { calls::io_submit(no_context, 1, array) }, -EINVAL),
            // SAFETY: Nothing is looked at.
            1 => (unsafe { calls::io_submit(self.live, negative, array) }, -EINVAL),
            // SAFETY: The kernel looks at the array, with checks.
            2 => (unsafe { calls::io_submit(self.live, 1, unmapped) }, -EFAULT),
            // SAFETY: Nothing is looked at.
            _ => (unsafe { calls::io_submit(self.live, 0, unmapped) }, 0),
        };
        ensure(got == due, || format!("io_submit returned {got}, predicted {due}"))
    }

    fn cancel(&mut self, source: &mut Source<'_>) -> Verdict {
        self.iocbs(false, 0);
        let good = ptr::with_exposed_provenance_mut(self.memory.start());
        let unmapped = ptr::with_exposed_provenance_mut(self.memory.end());
        let ctx = self.no_context(source);
        let event = ptr::null_mut();
        let (got, due) = match source.below(4) {
            // SAFETY: The kernel looks at the iocb, with checks; there is no place for an event.
            0 => (unsafe { calls::io_cancel(self.live, good, event) }, EINVAL),
            // SAFETY: As above.
            1 => (unsafe { calls::io_cancel(ctx, good, event) }, EINVAL),
            // SAFETY: As above.
            2 => (unsafe { calls::io_cancel(ctx, unmapped, event) }, EFAULT),
            // SAFETY: As above.
            _ => (unsafe { compat::io_cancel(self.live, ptr::null_mut()) }, EFAULT),
        };
        ensure(got == -due, || format!("io_cancel returned {got}, predicted -{due}"))
    }

    /// Takes events from the live context by one of the functions.
    fn getevents(&mut self, source: &mut Source<'_>) -> Verdict {
        let nr = source.below(24) as i64 - 2;
        let min = match source.below(6) {
            0 => -1,
            1 => nr + 1,
            _ => source.below(1 + self.complete as usize) as i64,
        };
        let mut time = Timespec { tv_sec: 0, tv_nsec: source.pick(&[0, 1, 1000]) };
        let timeout = if source.once_in(4) && min <= self.complete as i64 && min <= nr {
            ptr::null_mut()
        } else {
            &raw mut time
        };
        let with_mask = source.once_in(2);
        let is_old = source.once_in(4) && (self.complete > 0 || !timeout.is_null());
        // What the library takes off the ring itself it writes without the kernel's checks.
        let by_kernel = with_mask && !is_old;
        let room = if by_kernel && source.once_in(4) { source.below(3) } else { 24 };
        let at = self.events.end() - room * size_of::<io_event>();
        let place = ptr::with_exposed_provenance_mut(at);
        let (min_nr, max) = (min as c_long, nr as c_long);
        let got = if is_old {
            // SAFETY: The context is live, and there is room for as many events as there are.
            unsafe { compat::io_getevents(self.live, max, place, timeout) }
        } else if with_mask {
            // SAFETY: The context is live; the kernel looks at the places, with checks; there is no
            // mask.
            unsafe { calls::io_pgetevents(self.live, min_nr, max, place, timeout, ptr::null()) }
        } else {
            // SAFETY: As for the old one.
            unsafe { calls::io_getevents(self.live, min_nr, max, place, timeout) }
        };
        let min = if is_old { 1 } else { min };
        let by_library = self.complete == 0 && !timeout.is_null() && time.tv_nsec == 0;
        let due = if by_library {
            0
        } else if min < 0 || min > nr {
            -EINVAL
        } else {
            let count = (self.complete as usize).min(nr as usize);
            if count > room { -EFAULT } else { count as c_int }
        };
        self.complete -= due.max(0) as u64;
        ensure(got == due, || format!("events taken: {got}, predicted {due}; min {min}, nr {nr}"))
    }

    /// Lets callbacks be called for what is there.
    fn queue_run(&mut self, source: &mut Source<'_>) -> Verdict {
        if source.once_in(2) {
            return self.drain();
        }
        self.drain()?;
        let array = self.iocbs(true, source.below(8));
        let asked = source.below(READS + 1);
        // SAFETY: As in `submit`.
        let submitted = unsafe { calls::io_submit(self.live, asked as c_long, array) };
        CALLED.set(0);
        // SAFETY: The context is live, and the data of its iocbs is null or `count`.
        let got = unsafe { queue::io_queue_run(self.live) };
        let called = CALLED.get();
        ensure(got == 0 && called == asked as u64 && submitted == asked as c_int, || {
            format!("io_queue_run: {got}, {called} callbacks, predicted {asked} of {submitted}")
        })
    }

    /// Takes everything.
    fn drain(&mut self) -> Verdict {
        // SAFETY: As in `queue_run`.
        let got = unsafe { queue::io_queue_run(self.live) };
        self.complete = 0;
        ensure(got == 0, || format!("io_queue_run returned {got}"))
    }
}
