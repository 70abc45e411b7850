//! Per-operation read and write flags, and I/O priorities.
//!
//! It must never share a type between `RWF_*` and `IOCB_FLAG_*`: their values coincide, and a flag
//! put into the other field asks for something else without an error.

/// The type of the `RWF_*` flags (`include/uapi/linux/fs.h`: an `int`).
///
/// They go into [`iocb::aio_rw_flags`](crate::iocb::aio_rw_flags) and nowhere else.
pub type __kernel_rwf_t = i32;

/// High priority: poll for the completion where the device can (`include/uapi/linux/fs.h`).
pub const RWF_HIPRI: __kernel_rwf_t = 0x0000_0001;
/// `O_DSYNC` for this write (`include/uapi/linux/fs.h`).
pub const RWF_DSYNC: __kernel_rwf_t = 0x0000_0002;
/// `O_SYNC` for this write (`include/uapi/linux/fs.h`).
pub const RWF_SYNC: __kernel_rwf_t = 0x0000_0004;
/// `EAGAIN` rather than blocking (`include/uapi/linux/fs.h`).
pub const RWF_NOWAIT: __kernel_rwf_t = 0x0000_0008;
/// `O_APPEND` for this write (`include/uapi/linux/fs.h`).
pub const RWF_APPEND: __kernel_rwf_t = 0x0000_0010;
/// The file's `O_APPEND` does not count for this write (`include/uapi/linux/fs.h`, Linux 6.9).
pub const RWF_NOAPPEND: __kernel_rwf_t = 0x0000_0020;
/// Write all of it or none of it, also across a power cut (`include/uapi/linux/fs.h`, Linux 6.11).
pub const RWF_ATOMIC: __kernel_rwf_t = 0x0000_0040;
/// Buffered I/O that leaves nothing in the page cache (`include/uapi/linux/fs.h`, Linux 6.14).
pub const RWF_DONTCACHE: __kernel_rwf_t = 0x0000_0080;
/// No `SIGPIPE` from a write to a pipe or socket (`include/uapi/linux/fs.h`, Linux 6.18).
pub const RWF_NOSIGNAL: __kernel_rwf_t = 0x0000_0100;
/// All flags above (`include/uapi/linux/fs.h`). A running kernel may know fewer, and refuses the
/// others with `EOPNOTSUPP`.
pub const RWF_SUPPORTED: __kernel_rwf_t = RWF_HIPRI
    | RWF_DSYNC
    | RWF_SYNC
    | RWF_NOWAIT
    | RWF_APPEND
    | RWF_NOAPPEND
    | RWF_ATOMIC
    | RWF_DONTCACHE
    | RWF_NOSIGNAL;

/// The priority class is in the bits from this one up (`include/uapi/linux/ioprio.h`), the level in
/// those below.
///
/// ```
/// use linux_aio_abi::{IOPRIO_CLASS_BE, IOPRIO_CLASS_SHIFT, iocb};
///
/// let best_effort_level_4 = iocb {
///     aio_reqprio: IOPRIO_CLASS_BE << IOPRIO_CLASS_SHIFT | 4,
///     ..iocb::ZERO
/// };
/// assert_eq!(best_effort_level_4.aio_reqprio, 0x4004);
/// ```
pub const IOPRIO_CLASS_SHIFT: u32 = 13;
/// No class of its own: the process's (`include/uapi/linux/ioprio.h`).
pub const IOPRIO_CLASS_NONE: i16 = 0;
/// Real time (`include/uapi/linux/ioprio.h`); needs `CAP_SYS_ADMIN` or `CAP_SYS_NICE`.
pub const IOPRIO_CLASS_RT: i16 = 1;
/// Best effort (`include/uapi/linux/ioprio.h`), the usual class.
pub const IOPRIO_CLASS_BE: i16 = 2;
/// Served when nobody else uses the disk (`include/uapi/linux/ioprio.h`).
pub const IOPRIO_CLASS_IDLE: i16 = 3;
/// The number of levels in the real-time and best-effort classes (`include/uapi/linux/ioprio.h`); 0
/// is the most urgent.
pub const IOPRIO_NR_LEVELS: i16 = 8;
