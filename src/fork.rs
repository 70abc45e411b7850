//! Floor 2: [`ForkGuard`], which tells a context that it is in a forked child.
//!
//! A child of `fork` sees the pages of its parent's completion ring, but the kernel gave it no
//! context: every call is `EINVAL`, and a child that advances `head` takes events away from the
//! parent. A newer kernel (7.2, not yet 6.18) maps nothing there: the child's first read would be
//! its end, or, where it has made a context of its own at the same address, a read of another
//! context's ring. So the process has one page that the kernel wipes in a child (`MADV_WIPEONFORK`), with
//! a generation in it that is never zero. Each context remembers the generation it was made in; a
//! mismatch means that this process is not the one that made it. `vfork` children share the
//! memory and pass, rightly. The check is two loads and a compare.
//!
//! A signal handler that forks in the few instructions between the check and the store of `head`,
//! and returns in the child, is not covered.

use crate::Errno;
use crate::sys::helper;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// The word at the start of the wiped page; null until the first context.
static WORD: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

/// The last generation given out. Ordinary memory, which a child inherits: its own generations go
/// on from there, so they differ from its parent's.
static LAST_GENERATION: AtomicU32 = AtomicU32::new(0);

/// What a context compares with where the page could not be had. Never wiped.
static UNGUARDED: AtomicU32 = AtomicU32::new(0);

/// The process, as it was when a context was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForkGuard {
    word: &'static AtomicU32,
    generation: u32,
}

impl ForkGuard {
    /// The guard of this process. Where the kernel has no page to give, one that notices nothing.
    pub(crate) fn of_this_process() -> Self {
        match wiped_word() {
            Some(word) => Self { word, generation: generation(word) },
            None => Self { word: &UNGUARDED, generation: 0 },
        }
    }

    /// Whether a fork would be noticed. Without that, nobody may store `head`.
    pub(crate) fn notices_forks(&self) -> bool {
        self.generation != 0
    }

    /// `Err(FORKED)` in a child of the process that made the guard.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Errno> {
        if self.word.load(Ordering::Relaxed) == self.generation {
            Ok(())
        } else {
            Err(Errno::FORKED)
        }
    }
}

/// The generation of this process; a fresh one where a fork has wiped the word.
fn generation(word: &AtomicU32) -> u32 {
    let current = word.load(Ordering::Relaxed);
    if current != 0 {
        return current;
    }
    let mut next = 0;
    while next == 0 {
        next = LAST_GENERATION.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    }
    match word.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => next,
        Err(of_another_thread) => of_another_thread,
    }
}

/// The wiped page's word, mapped by whoever comes first. The page is published only after the
/// kernel has agreed to wipe it.
fn wiped_word() -> Option<&'static AtomicU32> {
    let published = WORD.load(Ordering::Acquire);
    if !published.is_null() {
        // SAFETY: Only this function publishes, and what it publishes is never unmapped.
        return Some(unsafe { &*published });
    }
    // The kernel rounds the length up to a page.
    let fresh = helper::mmap_wiped_on_fork(size_of::<AtomicU32>())?.cast();
    let word =
        match WORD.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => fresh,
            Err(of_another_thread) => {
                // SAFETY: This thread has mapped the page and shown it to nobody.
                unsafe { helper::munmap(fresh.cast(), size_of::<AtomicU32>()) };
                of_another_thread
            }
        };
    // SAFETY: It is published, hence mapped for good; a mapping starts zeroed and page-aligned,
    // which is a valid `AtomicU32`.
    Some(unsafe { &*word })
}
