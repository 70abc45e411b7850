//! [`Support`], what came of something that was tried.

use core::fmt;
use linux_aio::Errno;

/// Says what came of an operation or a flag that was tried.
///
/// ```
/// use linux_aio::Opcode;
/// use linux_aio_probe::Support;
///
/// match linux_aio_probe::kernel().opcode(Opcode::FSYNC) {
///     Support::Accepted => println!("fsync by AIO"),
///     Support::Refused(errno) => println!("no fsync by AIO: {errno:?}"),
///     other => println!("{other}"),
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Support {
    /// It was taken.
    Accepted,
    /// It was taken like everything else, nonsense included, so it has no effect. (gVisor does so
    /// with per-operation flags.)
    Ignored,
    /// It was refused.
    Refused(Errno),
    /// It could not be found out: what it takes to ask is not there, or not safe.
    Unknown,
}

impl Support {
    /// Returns whether it was taken, and counts.
    pub const fn is_accepted(self) -> bool {
        matches!(self, Self::Accepted)
    }
}

impl From<Result<u32, Errno>> for Support {
    fn from(result: Result<u32, Errno>) -> Self {
        result.map_or_else(Self::Refused, |_| Self::Accepted)
    }
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Ignored => f.write_str("ignored"),
            Self::Refused(errno) => write!(f, "refused ({errno:?})"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}
