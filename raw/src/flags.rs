//! The numbers of an [`Iocb`](crate::Iocb), each kind a type of its own.
//!
//! The kernel gives `RWF_HIPRI` the value of `IOCB_FLAG_RESFD` and `RWF_DSYNC` that of
//! `IOCB_FLAG_IOPRIO`. With one integer type for both somebody mixes them up, and every SYNC and
//! APPEND is lost without an error.

mod bits;

use crate::abi;
use bits::set_of_flags;
use core::fmt;

/// Names what an operation does: one of the `IOCB_CMD_*` numbers, or any other for fuzzing.
///
/// Source: `enum` in `include/uapi/linux/aio_abi.h`.
///
/// ```
/// use linux_aio_raw::{Iocb, Opcode};
///
/// assert_eq!(Iocb::fsync(3).opcode(), Opcode::FSYNC);
/// assert_eq!(Opcode::PWRITE.as_raw(), 1);
/// assert_eq!(format!("{:?}", Opcode::from_raw(99)), "Opcode(99)");
/// ```
#[doc(alias = "aio_lio_opcode")]
#[doc(alias = "LIO_READ")]
#[doc(alias = "LIO_WRITE")]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Opcode(u16);

impl Opcode {
    /// Reads at an offset into one buffer.
    pub const PREAD: Self = Self(abi::IOCB_CMD_PREAD);
    /// Writes one buffer at an offset.
    pub const PWRITE: Self = Self(abi::IOCB_CMD_PWRITE);
    /// Brings data and metadata to stable storage.
    pub const FSYNC: Self = Self(abi::IOCB_CMD_FSYNC);
    /// Brings data, and the metadata needed to read it, to stable storage.
    pub const FDSYNC: Self = Self(abi::IOCB_CMD_FDSYNC);
    /// Waits once until a file is ready.
    pub const POLL: Self = Self(abi::IOCB_CMD_POLL);
    /// Refused by Linux with `EINVAL`; gVisor accepts it.
    pub const NOOP: Self = Self(abi::IOCB_CMD_NOOP);
    /// Reads at an offset into several buffers.
    pub const PREADV: Self = Self(abi::IOCB_CMD_PREADV);
    /// Writes several buffers at an offset.
    pub const PWRITEV: Self = Self(abi::IOCB_CMD_PWRITEV);

    /// Returns the opcode of that number, known to the kernel or not.
    pub const fn from_raw(number: u16) -> Self {
        Self(number)
    }

    /// Returns the number, as in `aio_lio_opcode`.
    pub const fn as_raw(self) -> u16 {
        self.0
    }

    const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::PREAD => "PREAD",
            Self::PWRITE => "PWRITE",
            Self::FSYNC => "FSYNC",
            Self::FDSYNC => "FDSYNC",
            Self::POLL => "POLL",
            Self::NOOP => "NOOP",
            Self::PREADV => "PREADV",
            Self::PWRITEV => "PWRITEV",
            _ => return None,
        })
    }
}

impl fmt::Debug for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Opcode({})", self.0),
        }
    }
}

/// Per-operation flags of a read or write: `RWF_*`, as for `preadv2(2)` and `pwritev2(2)`.
///
/// A flag that the kernel does not know gives `EOPNOTSUPP` when the operation is submitted. A flag
/// that the file does not support gives it then or in the event.
///
/// ```
/// use linux_aio_raw::RwFlags;
///
/// let flags = RwFlags::DSYNC | RwFlags::NOWAIT;
/// assert!(flags.contains(RwFlags::NOWAIT));
/// assert_eq!(flags.bits(), 2 | 8);
/// assert_eq!(flags.to_string(), "DSYNC | NOWAIT");
/// ```
#[doc(alias = "RWF_DSYNC")]
#[doc(alias = "RWF_NOWAIT")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct RwFlags(abi::__kernel_rwf_t);

impl RwFlags {
    /// High priority: the kernel polls the device for completion if it can.
    #[doc(alias = "RWF_HIPRI")]
    pub const HIPRI: Self = Self(abi::RWF_HIPRI);
    /// The write is complete when its data is on stable storage (`O_DSYNC` for one write).
    pub const DSYNC: Self = Self(abi::RWF_DSYNC);
    /// The write is complete when its data and the file's metadata are on stable storage (`O_SYNC`
    /// for one write).
    #[doc(alias = "RWF_SYNC")]
    pub const SYNC: Self = Self(abi::RWF_SYNC);
    /// The operation fails with `EAGAIN` instead of blocking.
    pub const NOWAIT: Self = Self(abi::RWF_NOWAIT);
    /// The write goes to the end of the file, whatever the offset (`O_APPEND` for one write).
    #[doc(alias = "RWF_APPEND")]
    pub const APPEND: Self = Self(abi::RWF_APPEND);
    /// The offset counts although the file is open with `O_APPEND`. Since Linux 6.9.
    #[doc(alias = "RWF_NOAPPEND")]
    pub const NOAPPEND: Self = Self(abi::RWF_NOAPPEND);
    /// The write happens wholly or not at all, even if the power fails. Since Linux 6.11.
    #[doc(alias = "RWF_ATOMIC")]
    pub const ATOMIC: Self = Self(abi::RWF_ATOMIC);
    /// The pages do not stay in the page cache. Since Linux 6.14.
    #[doc(alias = "RWF_DONTCACHE")]
    pub const DONTCACHE: Self = Self(abi::RWF_DONTCACHE);
    /// A broken pipe raises no SIGPIPE. Since Linux 6.18.
    #[doc(alias = "RWF_NOSIGNAL")]
    pub const NOSIGNAL: Self = Self(abi::RWF_NOSIGNAL);

    /// Every flag with its name, lowest bit first.
    pub const FLAGS: &'static [(&'static str, Self)] = &[
        ("HIPRI", Self::HIPRI),
        ("DSYNC", Self::DSYNC),
        ("SYNC", Self::SYNC),
        ("NOWAIT", Self::NOWAIT),
        ("APPEND", Self::APPEND),
        ("NOAPPEND", Self::NOAPPEND),
        ("ATOMIC", Self::ATOMIC),
        ("DONTCACHE", Self::DONTCACHE),
        ("NOSIGNAL", Self::NOSIGNAL),
    ];
}

set_of_flags!(RwFlags, abi::__kernel_rwf_t);

/// The events of a POLL operation: `POLL*` of `poll(2)`.
///
/// The kernel adds ERR and HUP to the events that are asked for, and refuses bits above the 16th. A
/// completion may have more bits than were asked for: use [`contains`](Self::contains), not `==`.
///
/// ```
/// use linux_aio_raw::PollEvents;
///
/// let seen = PollEvents::from_bits_retain(0x41);
/// assert!(seen.contains(PollEvents::IN));
/// assert_eq!((PollEvents::IN | PollEvents::OUT).to_string(), "IN | OUT");
/// ```
#[doc(alias = "POLLIN")]
#[doc(alias = "POLLOUT")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct PollEvents(u32);

impl PollEvents {
    /// There is data to read.
    pub const IN: Self = Self(abi::POLLIN as u32);
    /// There is urgent data to read.
    pub const PRI: Self = Self(abi::POLLPRI as u32);
    /// A write will not block.
    pub const OUT: Self = Self(abi::POLLOUT as u32);
    /// An error occurred. Reported even if not asked for.
    pub const ERR: Self = Self(abi::POLLERR as u32);
    /// The other end hung up. Reported even if not asked for.
    pub const HUP: Self = Self(abi::POLLHUP as u32);
    /// The other end of a stream socket will not send any more.
    pub const RDHUP: Self = Self(abi::POLLRDHUP as u32);

    /// Every event with its name, lowest bit first.
    pub const FLAGS: &'static [(&'static str, Self)] = &[
        ("IN", Self::IN),
        ("PRI", Self::PRI),
        ("OUT", Self::OUT),
        ("ERR", Self::ERR),
        ("HUP", Self::HUP),
        ("RDHUP", Self::RDHUP),
    ];
}

set_of_flags!(PollEvents, u32);

/// The I/O priority of an operation: a class and a level, as for `ioprio_set(2)`; or, by default,
/// [`INHERIT`](Self::INHERIT).
///
/// ```
/// use linux_aio_raw::IoPrio;
///
/// assert_eq!(IoPrio::best_effort(4).as_raw(), Some(2 << 13 | 4));
/// assert_eq!(IoPrio::default().as_raw(), None);
/// ```
#[doc(alias = "ioprio_set")]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct IoPrio(u32);

impl IoPrio {
    /// Takes the priority of the thread that submits the operation.
    pub const INHERIT: Self = Self(0);

    /// In the upper half: whether there is a number in the lower half.
    const GIVEN: u32 = abi::IOCB_FLAG_IOPRIO << 16;

    /// Returns a priority of the real-time class: first access to the disk. `level` is 0 (highest)
    /// to 7. Needs `CAP_SYS_ADMIN` or `CAP_SYS_NICE`, else `EPERM` when the operation is submitted.
    pub const fn real_time(level: u8) -> Self {
        Self::new(abi::IOPRIO_CLASS_RT, level)
    }

    /// Returns a priority of the normal class. `level` is 0 (highest) to 7.
    ///
    /// ```
    /// use linux_aio_raw::{Iocb, IoPrio};
    ///
    /// // The most important of the normal class.
    /// let iocb = Iocb::fsync(3).ioprio(IoPrio::best_effort(0));
    /// assert_eq!(iocb.as_raw().aio_reqprio, 2 << 13);
    /// ```
    pub const fn best_effort(level: u8) -> Self {
        Self::new(abi::IOPRIO_CLASS_BE, level)
    }

    /// Returns the priority of the idle class, which is served when nobody else wants the disk.
    pub const fn idle() -> Self {
        Self::new(abi::IOPRIO_CLASS_IDLE, 0)
    }

    /// Returns the priority of any number. The kernel refuses unknown classes with `EINVAL`.
    pub const fn from_raw(number: i16) -> Self {
        Self(number as u16 as u32 | Self::GIVEN)
    }

    /// Returns the number, as in `aio_reqprio`: the class in the upper three bits. Returns `None`
    /// for [`INHERIT`](Self::INHERIT).
    pub const fn as_raw(self) -> Option<i16> {
        if self.0 == Self::INHERIT.0 { None } else { Some(self.number()) }
    }

    /// Returns the value of `aio_reqprio`.
    pub(crate) const fn number(self) -> i16 {
        self.0 as i16
    }

    /// Returns the bit of `aio_flags`: without it, the kernel ignores the number.
    pub(crate) const fn flag(self) -> u32 {
        self.0 >> 16
    }

    /// Levels above 7 would be other bits of the number. They are cut to 7, the lowest priority of
    /// the class.
    const fn new(class: i16, level: u8) -> Self {
        let level = if level > 7 { 7 } else { level };
        Self::from_raw((class << abi::IOPRIO_CLASS_SHIFT) | level as i16)
    }
}

impl Default for IoPrio {
    fn default() -> Self {
        Self::INHERIT
    }
}

impl fmt::Debug for IoPrio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(number) = self.as_raw() else { return f.write_str("IoPrio(inherit)") };
        let level = number & ((1 << abi::IOPRIO_CLASS_SHIFT) - 1);
        match number >> abi::IOPRIO_CLASS_SHIFT {
            abi::IOPRIO_CLASS_RT => write!(f, "IoPrio(real time {level})"),
            abi::IOPRIO_CLASS_BE => write!(f, "IoPrio(best effort {level})"),
            abi::IOPRIO_CLASS_IDLE => write!(f, "IoPrio(idle)"),
            _ => write!(f, "IoPrio({number:#x})"),
        }
    }
}
