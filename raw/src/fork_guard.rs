//! [`ForkGuard`], which tells a context that it is in a forked child.
//!
//! A child of `fork` sees the pages of its parent's completion ring, but the kernel gave it no
//! context. Every call is `EINVAL`, and a child that advances `head` takes events away from the
//! parent. A newer kernel (7.2, not yet 6.18) maps nothing there. The child's first read would end
//! it. If the child has made a context of its own at the same address, it would read another
//! context's ring.
//!
//! So the process has one page that the kernel wipes in a child (`MADV_WIPEONFORK`), with a mark in
//! it. Each context remembers the page. If the mark is gone, this process did not make the context.
//! A context that a child makes has a page of the child's. `vfork` children share the memory and
//! pass, rightly. The check is two loads and a comparison.
//!
//! Some kernels do not wipe pages: before Linux 4.14, and gVisor. There the ring is not used, and
//! the kernel itself answers a child's calls with `EINVAL`. So code that only makes calls needs no
//! check. Code that takes locks or frees buffers compares the number of the process there, which is
//! a system call.
//!
//! A signal handler that forks in the few instructions between the check and the store of `head`,
//! and returns in the child, is not covered.

use crate::Errno;
use crate::sys::helper;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// The word at the start of the wiped page that was mapped last; null until the first context.
static WORD: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

/// The content of the word in the process that has mapped the page.
const MARK: u32 = 1;

/// The content of the word of a guard that got no page. It tells nothing about the process.
const NO_MARK: u32 = 2;

/// The word of a guard that got no page. It is not 0 in every process, so that
/// [`ForkGuard::check`] is one comparison for all guards; and it is not [`MARK`], so that
/// [`ForkGuard::check_strictly`] is one, too.
static UNGUARDED: AtomicU32 = AtomicU32::new(NO_MARK);

/// A word without the mark, in every process.
static UNMARKED: AtomicU32 = AtomicU32::new(0);

/// Remembers the process that made it, and tells in a forked child that this is another one.
///
/// The check is two loads and a comparison. A child of `vfork`, which shares the memory, passes.
///
/// ```
/// use linux_aio_raw::{Errno, ForkGuard};
///
/// assert_eq!(ForkGuard::of_this_process().check(), Ok(()));
/// assert_eq!(ForkGuard::of_no_process().check(), Err(Errno::FORKED));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ForkGuard {
    /// Not a reference, for what that refers to does not change, and this does: in a child.
    word: *const u32,
    /// The number of the process, if the word is [`UNGUARDED`].
    number: isize,
}

// SAFETY: The word is mapped for good. It was written before the guard was made, and nobody writes
// to it any more, so that threads may read it at the same time.
unsafe impl Send for ForkGuard {}
// SAFETY: Through `&` the word is only read, which any number of threads may do: nobody writes to
// it.
unsafe impl Sync for ForkGuard {}

impl ForkGuard {
    /// Makes the guard of this process.
    pub fn of_this_process() -> Self {
        match marked_word() {
            Some(word) => Self { word: word.as_ptr(), number: 0 },
            None => Self { word: UNGUARDED.as_ptr(), number: helper::getpid() },
        }
    }

    /// Returns a guard whose check fails in every process.
    pub fn of_no_process() -> Self {
        Self { word: UNMARKED.as_ptr(), number: 0 }
    }

    /// Returns whether [`check`](Self::check) notices a fork: not if the kernel cannot wipe a page
    /// in children (before Linux 4.14, gVisor). If not, nobody may store the `head` of a ring.
    pub fn notices_forks(&self) -> bool {
        !ptr::eq(self.word, UNGUARDED.as_ptr())
    }

    #[inline(always)]
    fn mark(&self) -> u32 {
        // SAFETY: The word is mapped for good and aligned. It was written before this guard was
        // made, and nobody writes to it any more, so that a plain load is no race. The compiler
        // compares it in place.
        unsafe { *self.word }
    }

    /// Checks that this process made the guard, if a fork [is noticed](Self::notices_forks) by
    /// itself.
    ///
    /// # Errors
    /// [`Errno::FORKED`] in a child.
    #[inline]
    pub fn check(&self) -> Result<(), Errno> {
        if self.mark() != 0 { Ok(()) } else { Err(Errno::FORKED) }
    }

    /// Checks that this process made the guard, by a system call where nothing else tells.
    ///
    /// # Errors
    /// [`Errno::FORKED`] in a child.
    #[inline]
    pub fn check_strictly(&self) -> Result<(), Errno> {
        if self.mark() == MARK { Ok(()) } else { self.check_number() }
    }

    #[cold]
    fn check_number(&self) -> Result<(), Errno> {
        if self.notices_forks() {
            return Err(Errno::FORKED);
        }
        if self.number == helper::getpid() { Ok(()) } else { Err(Errno::FORKED) }
    }
}

/// Returns the word of this process, in a page that is mapped by whoever comes first. The page is
/// published only after the kernel has agreed to wipe it. It stays for good, in children too:
/// contexts refer to it.
fn marked_word() -> Option<&'static AtomicU32> {
    let published = WORD.load(Ordering::Acquire);
    // SAFETY: Only this function stores to `WORD`: null, or a page that is aligned and never
    // unmapped.
    if let Some(word) = unsafe { published.as_ref() } {
        if word.load(Ordering::Relaxed) != 0 {
            return Some(word);
        }
    }
    // The kernel rounds the length up to a page.
    let fresh: *mut AtomicU32 = helper::mmap_wiped_on_fork(size_of::<AtomicU32>())?.cast();
    // SAFETY: It has just been mapped, zeroed and page-aligned, which is a valid `AtomicU32`.
    unsafe { &*fresh }.store(MARK, Ordering::Relaxed);
    let word = match WORD.compare_exchange(published, fresh, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => fresh,
        Err(of_another_thread) => {
            // SAFETY: This thread has mapped the page and shown it to nobody.
            unsafe { helper::munmap(fresh.cast(), size_of::<AtomicU32>()) };
            of_another_thread
        }
    };
    // SAFETY: A published page is never unmapped, so the reference may live for ever. A mapping is
    // aligned to a page, and an atomic word allows every bit pattern.
    Some(unsafe { &*word })
}
