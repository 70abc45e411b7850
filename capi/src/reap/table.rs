//! The gates: one page range for the process, which a child of `fork` finds wiped.
//!
//! It must never show a table that a child would inherit: the child would take its parent's events.

use core::ptr;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use linux_aio::abi::helper::MADV_WIPEONFORK;
use linux_aio::sys::helper;

use super::gate::Gate;
use super::switch;

/// 64 KiB of addresses, of which the pages that contexts fall into become memory.
const GATES_LOG2: u32 = 12;
const SIZE: usize = size_of::<Gate>() << GATES_LOG2;

/// Not mapped yet; or [`OFF`]; or the first gate.
static TABLE: AtomicPtr<Gate> = AtomicPtr::new(ptr::null_mut());

/// Decided: there will be no table.
const OFF: *mut Gate = ptr::without_provenance_mut(align_of::<Gate>());

/// The gate of `context`, if there is a table. Null is no context, but what a gate has that is closed.
#[inline]
pub(super) fn gate_of(context: usize) -> Option<&'static Gate> {
    // Acquire: the pages are mapped before they are shown.
    let table = TABLE.load(Acquire);
    if table.addr() <= OFF.addr() || context == 0 {
        return None;
    }
    // Rings begin on pages. The multiplier, 2^64 by the golden ratio, spreads neighbours.
    let page = (context >> 12) as u64;
    let index = page.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - GATES_LOG2);
    // SAFETY: The index is below the number of gates.
    let gate = unsafe { table.add(index as usize) };
    // SAFETY: What `decide` shows is mapped for good, aligned, and zeroed, which is a gate.
    Some(unsafe { &*gate })
}

/// Maps the table, unless that was done, or it was found that there is to be none.
pub(super) fn decide() {
    if !TABLE.load(Relaxed).is_null() {
        return;
    }
    let table = if switch::is_on() { map().unwrap_or(OFF) } else { OFF };
    if TABLE.compare_exchange(ptr::null_mut(), table, AcqRel, Relaxed).is_err() && table != OFF {
        // SAFETY: This thread has mapped the pages and shown them to nobody.
        unsafe { helper::munmap(table.cast(), SIZE) };
    }
}

/// Pages that are zero in every child; `None` on kernels before 4.14.
fn map() -> Option<*mut Gate> {
    let address = helper::mmap_anonymous(SIZE);
    if is_error(address) {
        return None;
    }
    let table = ptr::with_exposed_provenance_mut::<Gate>(address as usize);
    // SAFETY: The pages are fresh and ours; the advice changes only what a child will see.
    let advised = unsafe { helper::madvise(table.cast(), SIZE, MADV_WIPEONFORK) };
    if advised < 0 {
        // SAFETY: This thread has mapped the pages and shown them to nobody.
        unsafe { helper::munmap(table.cast(), SIZE) };
        return None;
    }
    Some(table)
}

/// Whether a system call that returns an address has failed.
pub(super) fn is_error(address: isize) -> bool {
    (-4095..0).contains(&address)
}
