//! Taking events off the ring without a system call, for however many threads call `io_getevents`
//! at once.
//!
//! # Why it is hard
//!
//! The kernel's own reader (`aio_read_events_ring` of `fs/aio.c`) loads `head`, copies events and
//! stores `head`, under a mutex that user space cannot take. So nobody may take events here while
//! any thread of the process is in that call for the same context; and a thread that waits in there
//! is normal. A signal handler may interrupt a reader and call `io_getevents` itself. A thread may
//! be cancelled or jump away, at every instruction. A child of `fork` shares the ring. Another
//! thread may destroy the context.
//!
//! # The mark
//!
//! A reader owns nothing that it could take away with it. It writes a *mark* into `head` by
//! compare-and-swap, copies, and moves `head` on by a compare-and-swap that expects its own mark:
//! if anybody has touched `head` meanwhile, that fails, the copy is thrown away, and the reader
//! starts over. The mark is `place + room * (tag + 1)`. The kernel takes `head` modulo the ring's
//! room wherever it looks (`aio_read_events_ring`, `refill_reqs_available`), so to it the mark is
//! the same place; the tag makes it a value that no other reader writes. So
//!
//! - a reader that finds another's mark may take the ring from it, after some patience: the other
//!   one's last compare-and-swap fails. That serves handlers on the same thread, readers that were
//!   preempted, and readers that never come back, with no thread's identity and no thread-local
//!   memory;
//! - the copy, done before the commit, may be of events that are overwritten meanwhile, but then
//!   the commit fails: a place is only written again after `head` has passed it.
//!
//! # The gate
//!
//! [`Gate`](crate::gate::Gate)s, found by the context's address, keep readers and the kernel apart.
//! Their word counts readers and callers, threads in the system call or about to be; no reader
//! enters while there is a caller. A caller that finds readers evicts them: it takes the mark out
//! of `head`. Either a reader sees the caller in the word after it has marked `head`, or the caller
//! sees the mark after it has changed the word; that is the one place where sequential consistency
//! is needed. A reader that sees a caller takes its own mark back and asks the kernel.
//!
//! All or nothing: with fewer events there than `min_nr`, the whole call goes to the kernel, so
//! that timeouts and EINTR need no care here. `io_pgetevents` always goes there: it must deliver a
//! signal that is pending even if there are events.
//!
//! # Ends
//!
//! - `io_destroy` closes the gate as a caller does, then waits for the readers, in bounds, since
//!   the call unmaps the ring. If some do not leave, pages of zeros take the ring's place, in which
//!   they find no mark of theirs.
//! - The gates lie in memory that `fork` wipes (`MADV_WIPEONFORK`): a child has none open, and a
//!   reader that wakes up in the child, where a handler that forked returns to it, finds that it is
//!   not counted, and stores nothing. On Linux 7.2 it finds no ring either, and faults.
//! - A thread that leaves the system call by a jump stays counted: its gate's contexts use the
//!   kernel from then on.
//! - Contexts that are not known here, made by a bare system call or sharing a gate with one that
//!   is open, go to the kernel.
//!
//! # What repeats
//!
//! - A tag repeats after 32,768 readers of a gate, and only at a moment without readers there. So
//!   no two readers have the same mark. A reader that never comes back keeps the tags from starting
//!   again: after the last one, the contexts of the gate use the kernel.
//! - The address of a context repeats at once: `io_setup` often gives the one that `io_destroy` has
//!   freed. The gate was closed before that, and opens again only when no reader is left in it. A
//!   reader that was late finds the gate closed, or another context there, or the new context,
//!   which it may read.
//! - Counts do not wrap. After 2^23 lost readers or 2^24 lost callers a gate stays closed.
//!
//! # Memory orders
//!
//! The kernel writes an event, issues `smp_wmb`, stores `tail`; the acquire load of `tail` pairs
//! with it. It looks at `head` before it writes again; the commit stores it with release, after the
//! copy. Every other order is argued where it stands, in [`gate`](crate::gate), and `capi/model`
//! runs that very file under loom, with a kernel beside it; `capi/model/mutants` shows that the
//! models fail where an order or a step is missing.

use core::cell::Cell;
use core::ffi::{c_int, c_long};
use core::ptr;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicU64};

use linux_aio_raw::abi::{__aio_sigset, io_event};
use linux_aio_raw::sys::{self, helper};
use static_assertions::const_assert_eq;

use crate::context::{Header, Timespec, id, io_context_t, raw_getevents, raw_pgetevents};
use crate::gate::{MAX_EVENTS, Ring};
use crate::table;

/// `io_event` as it lies on the ring: words that the kernel and other threads may write while we
/// read.
type Words = [AtomicU64; 4];

const_assert_eq!(size_of::<Words>(), size_of::<io_event>());
const_assert_eq!(align_of::<Words>(), align_of::<io_event>());

/// The ring of a context, and the memory of the caller's that its events go to. Nothing is looked
/// at before a [`Gate`](crate::gate::Gate) asks.
struct Taking {
    ctx: io_context_t,
    events: *mut io_event,
    /// The ring's room when a gate asked last; 0 if none did.
    seen: Cell<u32>,
}

impl Taking {
    fn new(ctx: io_context_t, events: *mut io_event) -> Self {
        Self { ctx, events, seen: Cell::new(0) }
    }

    fn header(&self) -> &Header {
        // SAFETY: The gate asks only for a context that was open to it while it counted this thread
        // as a reader, so the ring is mapped: who ends the context waits for readers, or leaves
        // pages in the ring's place. All fields are atomic, and every bit pattern is allowed.
        unsafe { &*self.ctx }
    }
}

impl Ring for Taking {
    fn room(&self) -> u32 {
        self.seen.set(self.header().nr.load(Relaxed));
        self.seen.get()
    }

    fn head(&self) -> &AtomicU32 {
        &self.header().head
    }

    fn tail(&self) -> &AtomicU32 {
        &self.header().tail
    }

    fn copy(&self, place: u32, count: u32) {
        let room = self.seen.get();
        // SAFETY: The events follow the header, in the same mapping.
        let first = unsafe { self.ctx.add(1) }.cast::<Words>();
        let mut to = self.events.cast::<u64>();
        let mut place = place;
        for _ in 0..count {
            // SAFETY: `place` is below the ring's room, all of which is mapped.
            let from = unsafe { first.add(place as usize) };
            // SAFETY: As above. All words are atomic, and any bytes are an event.
            let from = unsafe { &*from };
            for word in from {
                // Relaxed: if this is not what the kernel wrote before it stored the tail, the
                // commit fails.
                // SAFETY: The caller gave room for `count` events, at any address, as C may.
                unsafe { to.write_unaligned(word.load(Relaxed)) };
                // SAFETY: As above; one past the end at most.
                to = unsafe { to.add(1) };
            }
            place = if place + 1 < room { place + 1 } else { 0 };
        }
    }
}

/// Keeps readers off the ring, then makes the system call, which unmaps it.
///
/// # Safety
/// As [`calls::io_destroy`](crate::calls::io_destroy).
pub(crate) unsafe fn destroy(ctx: io_context_t) -> c_int {
    let Some(gate) = table::gate_of(ctx) else {
        // SAFETY: The contract is the same.
        return unsafe { sys::io_destroy(id(ctx)) as c_int };
    };
    let ring = Taking::new(ctx, ptr::null_mut());
    let closed = gate.close(ctx.addr(), &ring);
    // SAFETY: The caller answers for readers outside of this library; those of this one are gone,
    // or gone astray.
    let result = unsafe { sys::io_destroy(id(ctx)) as c_int };
    gate.leave_call();
    if !closed && result == 0 {
        leave_pages(ctx, size_of::<Header>() + ring.seen.get() as usize * size_of::<io_event>());
    }
    result
}

/// Puts empty pages where a ring was, if nothing is there, for readers that may yet come back to
/// it. They find no mark of theirs, and ask again.
fn leave_pages(ctx: io_context_t, length: usize) {
    let address = helper::mmap_anonymous_near(ctx.cast(), length);
    if !helper::is_error(address) && address as usize != ctx.addr() {
        // SAFETY: The pages are fresh and known to nobody.
        unsafe { helper::munmap(ptr::with_exposed_provenance_mut(address as usize), length) };
    }
}

/// Takes events off the ring if there are enough; else makes the system call, for all of them.
///
/// # Safety
/// `events` must be valid for writes of `nr` events, `timeout` null or valid for reads.
pub(crate) unsafe fn getevents(
    ctx: io_context_t,
    min_nr: c_long,
    nr: c_long,
    events: *mut io_event,
    timeout: *mut Timespec,
) -> isize {
    // SAFETY: The contract is the same.
    let call = || unsafe { raw_getevents(id(ctx), min_nr as _, nr as _, events, timeout) };
    let Some(gate) = table::gate_to_reap(ctx) else {
        return call();
    };
    let ring = Taking::new(ctx, events);
    // What the kernel would refuse it shall refuse; more than a ring can have it shall wait for.
    let sound = 0 <= min_nr && min_nr <= nr && 0 < nr && min_nr < c_long::from(MAX_EVENTS);
    if sound && !events.is_null() {
        let (min, max) = (min_nr as u32, nr.min(c_long::from(MAX_EVENTS)) as u32);
        if let Some(taken) = gate.take(ctx.addr(), &ring, min, max) {
            return taken as isize;
        }
    }
    gate.enter_call(ctx.addr(), &ring);
    let result = call();
    gate.leave_call();
    result
}

/// The system call, which delivers a signal that is pending even if there are events, as the ring
/// cannot.
///
/// # Safety
/// As [`getevents`], and `usig` must be valid for reads, and so the mask it names, or that null.
pub(crate) unsafe fn pgetevents(
    ctx: io_context_t,
    min_nr: c_long,
    nr: c_long,
    events: *mut io_event,
    timeout: *mut Timespec,
    usig: *const __aio_sigset,
) -> isize {
    // SAFETY: The contract is the same.
    let call = || unsafe { raw_pgetevents(id(ctx), min_nr as _, nr as _, events, timeout, usig) };
    let Some(gate) = table::gate_to_reap(ctx) else {
        return call();
    };
    gate.enter_call(ctx.addr(), &Taking::new(ctx, events));
    let result = call();
    gate.leave_call();
    result
}
