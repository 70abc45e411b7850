//! What [`gate`](super::gate) is made of. The model in `capi/model` has a module of the same name,
//! of loom's types.
//!
//! It must never offer more than the model's.

pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use linux_aio_raw::sys::helper;

/// So many readers have tags of their own, until there is a moment with none.
pub(crate) const TAG_BITS: u32 = 15;

/// How often a thread looks again before it takes the ring from another that is copying: a few
/// microseconds, in which a copier that runs is finished.
pub(crate) const PATIENCE: u32 = 100;

/// How often a thread that was robbed tries again before it leaves the matter to the kernel.
pub(crate) const ATTEMPTS: u32 = 16;

/// Between two looks at a copier.
pub(crate) fn pause() {
    core::hint::spin_loop();
}

/// Between two looks at readers that should leave a ring, the `round`th; `false` once that has
/// lasted a second, and whoever is still there will hardly come back. Few sleeps, since on a busy
/// machine each takes longer than it should.
pub(crate) fn wait(round: u32) -> bool {
    match round {
        0..100 => core::hint::spin_loop(),
        100..115 => helper::sleep(30_000 << (round - 100)),
        _ => return false,
    }
    true
}
