//! The contexts that this process has made: gates in one page range, which a child of `fork` finds wiped.
//!
//! A child owns no context of its parent's. Up to Linux 6.18 it sees the ring, and would take its parent's events; on 7.2
//! it sees nothing there, and would fault, or the ring of a context of its own. So no ring is looked at, whatever for,
//! unless the gate of its context is open, and in a child all are closed.
//!
//! It must never show a table that a child would inherit.

use core::ptr;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::Relaxed;

use linux_aio_raw::sys::helper;

use crate::calls::io_context_t;
use crate::reap::{self, Gate};

/// 64 KiB of addresses, where gates are for reaping, of which the pages that contexts fall into become memory.
const GATES_LOG2: u32 = 12;
const SIZE: usize = size_of::<Gate>() << GATES_LOG2;

/// Not mapped yet; or [`OFF`]; or the first gate, with [`LOOK_ONLY`] added if nothing may be taken off a ring.
///
/// Relaxed, all of it: nobody writes to the pages before they are shown, and they are there for every thread once `mmap`
/// has returned. What a gate says of a context is the gate's affair.
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
    // SAFETY: The kernel has just made the context, whose ring is mapped at its address. All fields are
    // atomic, and every bit pattern is allowed.
    let header = unsafe { &*ctx };
    if header.is_understood() {
        gate.open(ctx.addr());
    }
}

/// Whether `ctx` is a context of this process whose ring is one that we understand. `false` also where that is not
/// known.
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
    // Rings begin on pages. The multiplier, 2^64 by the golden ratio, spreads neighbours, and so does its lower half.
    let page = ctx.addr() >> 12;
    let index = page.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as usize) >> (usize::BITS - GATES_LOG2);
    // SAFETY: The index is below the number of gates.
    let gate = unsafe { table.add(index) };
    // SAFETY: What `decide` shows is mapped for good, aligned, and zeroed, which is a gate.
    Some(unsafe { &*gate })
}

/// Maps the table, unless that was done, or it was found that there is to be none.
fn decide() {
    if !TABLE.load(Relaxed).is_null() {
        return;
    }
    let mapped = helper::mmap_wiped_on_fork(SIZE).map(|start| start.cast::<Gate>());
    let table = match mapped {
        None => OFF,
        Some(table) if reap::is_on() => table,
        Some(table) => table.map_addr(|address| address | LOOK_ONLY),
    };
    if let (false, Some(table)) = (reap::show(table, &TABLE), mapped) {
        // SAFETY: This thread has mapped the pages and shown them to nobody.
        unsafe { helper::munmap(table.cast(), SIZE) };
    }
}
