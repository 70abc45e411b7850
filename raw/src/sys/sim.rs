//! With the feature `sim` only: a simulated kernel that is asked before the running one.
//!
//! This is for `linux-aio-sim`, and not part of the public interface. The simulated kernel answers
//! for its own contexts, and leaves the others to the running kernel. Until one is installed, a
//! call costs one load more. Without the feature nothing of this is compiled.

use crate::abi::{__kernel_long_t, aio_context_t, io_event, iocb, iovec};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use core::task::Waker;
use core::time::Duration;
#[cfg(feature = "std")]
use std::sync::LazyLock;
#[cfg(feature = "std")]
use std::time::Instant;

/// A simulated kernel. Each method returns what the system call would return, or `None` to leave
/// the call to the running kernel. A method may unwind.
///
/// # Safety
/// The implementation keeps what the library trusts a kernel to keep:
/// - The ring of a context stays readable and writable until `io_destroy` returns 0 for it.
/// - When the event of an operation is on the ring, or has been returned, or `io_destroy` has
///   returned 0, the implementation does not use the operation's memory any more.
/// - No event has the `aio_data` of an operation in flight but its own, which is one, and comes
///   after `io_submit` has counted the operation among those that it accepted.
/// - `io_getevents` has written as many events as it says.
/// - A method that unwinds has accepted no operation and taken no event off a ring.
pub unsafe trait Kernel: Sync {
    /// `io_setup(2)`.
    ///
    /// # Safety
    /// As [`sys::io_setup`](super::io_setup).
    unsafe fn io_setup(&self, nr_events: u32, ctxp: *mut aio_context_t) -> Option<isize>;

    /// `io_destroy(2)`.
    ///
    /// # Safety
    /// As [`sys::io_destroy`](super::io_destroy).
    unsafe fn io_destroy(&self, ctx_id: aio_context_t) -> Option<isize>;

    /// `io_submit(2)`.
    ///
    /// # Safety
    /// As [`sys::io_submit`](super::io_submit).
    unsafe fn io_submit(
        &self,
        ctx_id: aio_context_t,
        nr: __kernel_long_t,
        iocbpp: *const *mut iocb,
    ) -> Option<isize>;

    /// `io_cancel(2)`, whose last argument no kernel looks at.
    ///
    /// # Safety
    /// As [`sys::io_cancel`](super::io_cancel).
    unsafe fn io_cancel(&self, ctx_id: aio_context_t, iocb: *const iocb) -> Option<isize>;

    /// `io_getevents(2)` and `io_pgetevents(2)`. Without a timeout it waits indefinitely. Simulated
    /// contexts have no signals, so there is no mask.
    ///
    /// # Safety
    /// `events` must be valid for writes of `nr` events. No user-space reader of the same ring may
    /// run at the same time.
    unsafe fn io_getevents(
        &self,
        ctx_id: aio_context_t,
        min_nr: __kernel_long_t,
        nr: __kernel_long_t,
        events: *mut io_event,
        timeout: Option<Duration>,
    ) -> Option<isize>;

    /// `open(2)` of a path, with these flags.
    fn open(&self, path: &[u8], flags: i32) -> Option<isize> {
        let _ = (path, flags);
        None
    }

    /// A call on an open file.
    ///
    /// # Safety
    /// The memory of a read must be valid for writes, and that of a write for reads.
    unsafe fn file(&self, fd: i32, call: FileCall<'_>) -> Option<isize> {
        let _ = (fd, call);
        None
    }

    /// Hears that a reader has found the ring of a context empty, without a system call. A program
    /// that polls the ring makes no call by which simulated time could pass.
    fn ring_is_empty(&self, ctx_id: aio_context_t) {
        let _ = ctx_id;
    }

    /// Hears that an eventfd is about to be emptied.
    fn eventfd_is_read(&self) {}

    /// Hears that the process is about to kill itself. It may unwind.
    fn process_is_killed(&self) {}

    /// Returns the time of the simulation that the calling thread has entered, since its start.
    fn now(&self) -> Option<Duration> {
        None
    }

    /// Returns the number of the simulation that the calling thread has entered. The contexts that
    /// it makes belong to that. The work of threads that the library is about to start is for
    /// [`adopt`](Self::adopt).
    fn machine(&self) -> Option<usize> {
        None
    }

    /// Hears that a driver is used, which was made in that simulation or in none. It may unwind.
    fn driver_is_used(&self, machine: Option<usize>) {
        let _ = machine;
    }

    /// Hears that a future is polled of a driver that was made in that simulation or in none, and
    /// whose work the executor must do. It may unwind.
    fn future_is_polled(&self, machine: Option<usize>) {
        let _ = machine;
    }

    /// Hears that a future stays pending of a driver of one thread, which was made in that
    /// simulation or in none, outside of a `block_on` of that driver. It may unwind.
    fn future_waits(&self, machine: Option<usize>, waker: &Waker) {
        let _ = (machine, waker);
    }

    /// Hears that an operation on that descriptor has been prepared for a driver. It may unwind.
    fn operation_is_prepared(&self, fd: i32) {
        let _ = fd;
    }

    /// Takes over the work of a thread, in steps that do not block.
    #[cfg(feature = "alloc")]
    fn adopt(&self, step: Step) {
        drop(step);
    }
}

/// A call on an open file that is no asynchronous operation. Its answer is what the kernel returns.
#[derive(Clone, Copy, Debug)]
pub enum FileCall<'a> {
    /// `F_GETFL` of `fcntl(2)`.
    Flags,
    /// `F_SETFL` of `fcntl(2)`.
    SetFlags(i32),
    /// Opens the same file again, with other flags. The answer is a descriptor.
    Reopen(i32),
    /// `preadv2(2)`.
    Read {
        /// The memory to fill.
        vectors: &'a [iovec],
        /// The offset in the file.
        offset: u64,
        /// The `RWF_` flags.
        flags: i32,
    },
    /// `pwritev2(2)`.
    Write {
        /// The memory to write.
        vectors: &'a [iovec],
        /// The offset in the file.
        offset: u64,
        /// The `RWF_` flags.
        flags: i32,
    },
    /// `ftruncate(2)`.
    SetLen(u64),
    /// `fallocate(2)`.
    Allocate {
        /// The `FALLOC_FL_` flags.
        mode: u32,
        /// The start of the range.
        offset: u64,
        /// The length of the range.
        len: u64,
    },
    /// `fsync(2)`, or with `true` `fdatasync(2)`.
    Sync(bool),
    /// `sync_file_range(2)`.
    SyncRange {
        /// The start of the range.
        offset: u64,
        /// The length of the range, or 0 for all up to the end of the file.
        len: u64,
        /// The `SYNC_FILE_RANGE_` flags.
        flags: u32,
    },
    /// `cachestat(2)`. The answer is the number of pages in the page cache.
    CachedPages {
        /// The start of the range.
        offset: u64,
        /// The length of the range.
        len: u64,
    },
    /// Asks for the multiple that `O_DIRECT` asks for.
    Alignment,
}

/// Offers a call on an open file to the simulated kernel.
///
/// # Safety
/// The memory of a read must be valid for writes, and that of a write for reads.
pub unsafe fn file(fd: i32, call: FileCall<'_>) -> Option<isize> {
    // SAFETY: The memory of the call is valid for what the call does (promise of the caller), which
    // is all that `Kernel::file` asks for.
    unsafe { installed()?.file(fd, call) }
}

/// Offers `open(2)` of a path to the simulated kernel.
pub fn open(path: &[u8], flags: i32) -> Option<isize> {
    installed()?.open(path, flags)
}

/// Returns the number of the simulation that the calling thread has entered.
pub fn machine() -> Option<usize> {
    installed()?.machine()
}

/// Tells the simulated kernel that a driver is used, which was made in that simulation or in none.
pub fn driver_is_used(machine: Option<usize>) {
    if let Some(kernel) = installed() {
        kernel.driver_is_used(machine);
    }
}

/// Tells the simulated kernel that a future is polled of a driver that was made in that simulation
/// or in none.
pub fn future_is_polled(machine: Option<usize>) {
    if let Some(kernel) = installed() {
        kernel.future_is_polled(machine);
    }
}

/// Tells the simulated kernel that a future of a driver of one thread stays pending, outside of a
/// `block_on` of that driver. The driver was made in that simulation, or in none.
pub fn future_waits(machine: Option<usize>, waker: &Waker) {
    if let Some(kernel) = installed() {
        kernel.future_waits(machine, waker);
    }
}

/// Tells the simulated kernel that an operation on that descriptor has been prepared for a driver.
pub fn operation_is_prepared(fd: i32) {
    if let Some(kernel) = installed() {
        kernel.operation_is_prepared(fd);
    }
}

/// A step of the work of a thread that a simulation has taken over.
#[cfg(feature = "alloc")]
pub type Step = alloc::boxed::Box<dyn FnMut() -> Stepped + Send>;

/// Says what a [`Step`] has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// It has done something, and there may be more.
    Busy,
    /// There is nothing to do now.
    Idle,
    /// There is nothing to do before that time of the simulation.
    Until(Duration),
    /// The thread would have ended.
    Over,
}

/// Gives the work of a thread to a simulation. `step` makes the work, and is not called if the
/// calling thread is in none: then the result is `false`, and the thread must be started.
#[cfg(feature = "alloc")]
pub fn adopt(step: impl FnOnce() -> Step) -> bool {
    let Some(kernel) = installed().filter(|kernel| kernel.machine().is_some()) else {
        return false;
    };
    kernel.adopt(step());
    true
}

/// Returns the time of the simulation that the calling thread has entered. All simulations start at
/// the same instant.
#[cfg(feature = "std")]
pub fn now() -> Option<Instant> {
    let since_start = installed()?.now()?;
    // The clock of a simulation ends with a `u64` of nanoseconds, that of the machine later.
    Some(START.checked_add(since_start).unwrap_or(*START))
}

/// The start of every simulation.
#[cfg(feature = "std")]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

#[cfg(feature = "std")]
impl Stepped {
    /// Says that there is nothing to do before a time, or at all.
    pub fn idle_until(at: Option<Instant>) -> Self {
        at.map_or(Self::Idle, |at| Self::Until(at.saturating_duration_since(*START)))
    }
}

static KERNEL: AtomicPtr<&'static dyn Kernel> = AtomicPtr::new(ptr::null_mut());

/// Asks `kernel` first from now on, at every call of every thread. Returns `false`, and changes
/// nothing, if one is installed already.
pub fn install(kernel: &'static &'static dyn Kernel) -> bool {
    let new = ptr::from_ref(kernel).cast_mut();
    KERNEL.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

#[inline]
pub(crate) fn installed() -> Option<&'static dyn Kernel> {
    let kernel = KERNEL.load(Ordering::Acquire);
    // SAFETY: The pointer is null, or `install` has made it of a reference that lives for ever.
    unsafe { kernel.as_ref() }.copied()
}

/// The time of a `timespec`. A negative one waits indefinitely, as in the kernel.
pub(super) fn duration(seconds: i64, nanoseconds: i64) -> Option<Duration> {
    let (seconds, nanoseconds) = (seconds.try_into().ok()?, nanoseconds.try_into().ok()?);
    Some(Duration::new(seconds, nanoseconds))
}

/// Returns the simulated kernel's answer to a call, if it has one. A time-out, which is null or a
/// pointer to a `timespec`, follows a semicolon.
macro_rules! simulated {
    ($call:ident($($argument:expr),*)) => {
        if let Some(kernel) = $crate::sys::sim::installed() {
            // SAFETY: The method asks of its caller what this function asks of its own.
            if let Some(returned) = unsafe { kernel.$call($($argument),*) } {
                return returned;
            }
        }
    };
    ($call:ident($($argument:expr),*; $timeout:expr)) => {
        if $crate::sys::sim::installed().is_some() {
            // SAFETY: The caller of this function promises that it is null or valid for reads.
            let time = unsafe { $timeout.as_ref() };
            #[allow(clippy::unnecessary_cast, reason = "the fields are not everywhere as wide")]
            let time = time.and_then(|time| {
                $crate::sys::sim::duration(time.tv_sec as i64, time.tv_nsec as i64)
            });
            $crate::sys::sim::simulated!($call($($argument,)* time));
        }
    };
}
pub(super) use simulated;
