//! The contexts that this process has made: gates in one page range, which a child of `fork` finds
//! wiped.
//!
//! A child owns no context of its parent's. Up to Linux 6.18 it sees the ring, and would take its
//! parent's events; on 7.2 it sees nothing there, and would fault, or the ring of a context of its
//! own. So no ring is looked at, whatever for, unless the gate of its context is open, and in a
//! child all are closed.
//!
//! It must never show a table that a child would inherit.

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::Relaxed;

use linux_aio_raw::sys::helper;
use static_assertions::assert_impl_all;

use crate::context::io_context_t;
use crate::gate::Gate;
use crate::switch;

/// 64 KiB of addresses, where gates are for reaping, of which the pages that contexts fall into
/// become memory.
const GATES_LOG2: u32 = 12;
const SIZE: usize = size_of::<Gate>() << GATES_LOG2;

/// The largest page of any machine. The range that the kernel is to wipe begins and ends on a page.
const LARGEST_PAGE: usize = 1 << 16;
const ROOM: usize = SIZE.next_multiple_of(LARGEST_PAGE);

/// Holds the gates. It is the library's own memory, not a mapping, so that `dlclose` gives it back
/// with the library. Dynamic linkers need not heed an alignment above the page's, so there is room
/// to align the gates in.
static MEMORY: Memory = Memory(UnsafeCell::new([0; ROOM + LARGEST_PAGE]));

struct Memory(UnsafeCell<[u8; ROOM + LARGEST_PAGE]>);

// SAFETY: `gates` is the only use of the memory, and makes nothing of it but gates, which are
// `Sync`.
unsafe impl Sync for Memory {}
assert_impl_all!(Gate: Sync);

impl Memory {
    /// Returns the first gate, which begins on a page.
    fn gates(&self) -> *mut Gate {
        let start = self.0.get().cast::<u8>();
        start.wrapping_add(start.align_offset(LARGEST_PAGE)).cast()
    }
}

/// Not known yet; or [`OFF`]; or the first gate, with [`LOOK_ONLY`] added if nothing may be taken
/// off a ring.
///
/// Relaxed, all of it: nobody writes to the gates before they are shown, and a gate orders what it
/// says of a context.
static TABLE: AtomicPtr<Gate> = AtomicPtr::new(ptr::null_mut());

/// Decided: there will be no table.
const OFF: *mut Gate = ptr::without_provenance_mut(align_of::<Gate>());

/// One bit of an address that gates do not have.
const LOOK_ONLY: usize = 1;
const _: () = assert!(align_of::<Gate>() > LOOK_ONLY);

/// A context is there: opens its gate, if its ring is one that we understand.
pub(crate) fn add(ctx: io_context_t) {
    decide();
    let Some(gate) = gate_of(ctx) else {
        return;
    };
    // SAFETY: The kernel has just made the context, whose ring is mapped at its address. All fields
    // are atomic, and every bit pattern is allowed.
    let header = unsafe { &*ctx };
    if header.is_understood() {
        gate.open(ctx.addr());
    }
}

/// Whether `ctx` is a context of this process whose ring is one that we understand. `false` also
/// where that is not known.
#[inline]
pub(crate) fn has(ctx: io_context_t) -> bool {
    gate_of(ctx).is_some_and(|gate| gate.is_open_for(ctx.addr()))
}

/// The gate of `ctx`, if there is a table. Null is no context, but what a gate has that is closed.
#[inline]
pub(crate) fn gate_of(ctx: io_context_t) -> Option<&'static Gate> {
    gate_in(TABLE.load(Relaxed).map_addr(|address| address & !LOOK_ONLY), ctx)
}

/// [`gate_of`] `ctx`, if events may be taken.
#[cfg(all(feature = "reap", target_pointer_width = "64"))]
#[inline]
pub(crate) fn gate_to_reap(ctx: io_context_t) -> Option<&'static Gate> {
    let table = TABLE.load(Relaxed);
    if table.addr() & LOOK_ONLY != 0 {
        return None;
    }
    gate_in(table, ctx)
}

#[inline]
fn gate_in(table: *mut Gate, ctx: io_context_t) -> Option<&'static Gate> {
    if table.addr() <= OFF.addr() || ctx.is_null() {
        return None;
    }
    // Rings begin on pages. The multiplier, 2^64 by the golden ratio, spreads neighbours, and so
    // does its lower half.
    let page = ctx.addr() >> 12;
    let index = page.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as usize) >> (usize::BITS - GATES_LOG2);
    // SAFETY: The index is below the number of gates.
    let gate = unsafe { table.add(index) };
    // SAFETY: The table that `decide` shows is aligned, and lives as long as this library. Zeros,
    // as at the start, are gates.
    Some(unsafe { &*gate })
}

/// Shows the table, or that there is none, unless a thread has done so. Threads that do so at once
/// come to the same result.
fn decide() {
    if !TABLE.load(Relaxed).is_null() {
        return;
    }
    let gates = MEMORY.gates();
    // SAFETY: The range is whole pages of this library's own. Only gates lie there, and a child is
    // to find those zeroed.
    let wiped = unsafe { helper::wipe_on_fork(gates.cast(), ROOM) };
    let table = match (wiped, switch::is_on()) {
        (false, _) => OFF,
        (true, true) => gates,
        (true, false) => gates.map_addr(|address| address | LOOK_ONLY),
    };
    TABLE.store(table, Relaxed);
}
