//! [`Facts`]: what differs between kernels, measured by calls other than AIO's.

use linux_aio::abi::{
    IOPRIO_CLASS_BE, IOPRIO_CLASS_RT, IOPRIO_CLASS_SHIFT, RWF_APPEND, RWF_DONTCACHE, RWF_NOAPPEND,
    RWF_NOWAIT,
};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// What the kernel at hand does.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The `RWF_*` bits that it knows.
    pub known_flags: i32,
    /// What a real-time I/O priority gives: nothing, or `EPERM` without the capability.
    pub real_time: Option<i32>,
    /// Whether the bits of a priority above the level are hints (since Linux 6.5) and not a part of
    /// the level.
    pub has_hints: bool,
}

/// What an open file says to `RWF_*` flags, as `preadv2(2)` says it.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlagFacts {
    /// NOWAIT is taken.
    pub nowait: bool,
    /// DONTCACHE is taken.
    pub dontcache: bool,
}

/// One byte by `preadv2(2)` at `offset`, for its errno.
fn read_with(fd: i32, offset: i64, flags: i32) -> Option<i32> {
    let mut byte = 0u8;
    let vector = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: `vector` names one byte, and both live during the call.
    let got = unsafe { libc::preadv2(fd, &raw const vector, 1, offset, flags) };
    (got < 0).then(|| io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// What `ioprio_set(2)` says to a priority; this thread's own is put back.
fn set_priority(priority: i32) -> Option<i32> {
    const THIS_THREAD: (i32, i32) = (1, 0);
    let (which, who) = THIS_THREAD;
    // SAFETY: The call touches no memory.
    let before = unsafe { libc::syscall(libc::SYS_ioprio_get, which, who) };
    // SAFETY: As above.
    let set = unsafe { libc::syscall(libc::SYS_ioprio_set, which, who, priority) };
    let error = io::Error::last_os_error().raw_os_error();
    // SAFETY: As above.
    unsafe { libc::syscall(libc::SYS_ioprio_set, which, who, before) };
    if set < 0 { error } else { None }
}

impl Facts {
    /// Asks the kernel.
    pub fn measure() -> io::Result<Self> {
        let zero = File::open("/dev/zero")?;
        // This pair is EINVAL, but an unknown flag beside it is EOPNOTSUPP, which comes first.
        let contradiction = RWF_APPEND | RWF_NOAPPEND;
        let mut known_flags = 0;
        for bit in (0..31).map(|shift| 1 << shift) {
            if read_with(zero.as_raw_fd(), 0, contradiction | bit) == Some(libc::EINVAL) {
                known_flags |= bit;
            }
        }
        let [real_time, best_effort] =
            [IOPRIO_CLASS_RT, IOPRIO_CLASS_BE].map(|class| i32::from(class) << IOPRIO_CLASS_SHIFT);
        Ok(Self {
            known_flags,
            real_time: set_priority(real_time | 4),
            has_hints: set_priority(best_effort | 8).is_none(),
        })
    }

    /// What `aio_reqprio` gives (`ioprio_check_cap`).
    pub fn check_priority(&self, priority: i16) -> Option<i32> {
        let class = i16::from((priority as u16 >> IOPRIO_CLASS_SHIFT) as u8);
        let level = priority & if self.has_hints { 7 } else { 0x1fff };
        let bad_level = (level > 7).then_some(libc::EINVAL);
        match class {
            IOPRIO_CLASS_RT => self.real_time.or(bad_level),
            IOPRIO_CLASS_BE => bad_level,
            linux_aio::abi::IOPRIO_CLASS_IDLE => None,
            linux_aio::abi::IOPRIO_CLASS_NONE => (level != 0).then_some(libc::EINVAL),
            _ => Some(libc::EINVAL),
        }
    }
}

impl FlagFacts {
    /// Asks about a file that is open for reading; `offset` is -1 where it has no position.
    pub fn measure(fd: i32, offset: i64) -> Self {
        let taken = |flag| read_with(fd, offset, flag) != Some(libc::EOPNOTSUPP);
        Self { nowait: taken(RWF_NOWAIT), dontcache: taken(RWF_DONTCACHE) }
    }
}
