//! The kernel ABI of Linux AIO, as numbers and plain structures.
//!
//! This is the lowest crate of `linux-aio`: what `include/uapi/linux/aio_abi.h`, `fs/aio.c` and the
//! system call tables of the Linux kernel say, in the kernel's own spelling. Every size, alignment
//! and offset is asserted at compile time on every target, so that a wrong layout does not build.
//!
//! It must never make a system call, hold an address as anything but an integer, allocate, or
//! contain unsafe code. Nor may it depend on the operating system that it is compiled for. It
//! builds on every target, and only [`syscall::NATIVE`] is confined to Linux and Android.
//!
//! # What is here
//!
//! | from | items |
//! |---|---|
//! | `linux/aio_abi.h` | [`iocb`], [`io_event`], [`aio_context_t`], `IOCB_CMD_*`, `IOCB_FLAG_*` |
//! | `fs/aio.c` | [`aio_ring`], [`__aio_sigset`], `AIO_RING_*`, [`KIOCB_KEY`] |
//! | `linux/fs.h`, `linux/ioprio.h` | [`__kernel_rwf_t`], `RWF_*`, `IOPRIO_*` |
//! | `linux/time_types.h` | [`__kernel_timespec`], [`__kernel_old_timespec`] |
//! | `linux/uio.h`, `asm/signal.h` | [`iovec`], [`sigset_t`] |
//! | `asm/poll.h` | `POLL*`, the event bits of [`IOCB_CMD_POLL`] |
//! | `asm/unistd.h` | [`syscall`], the system call numbers of every architecture |
//! | `asm/mman.h`, `asm/fcntl.h`, `linux/eventfd.h` | [`helper`], arguments of other calls |
//!
//! # Example
//!
//! A read of 4096 bytes at offset 8192 from file descriptor 3, as the kernel wants to see it:
//!
//! ```
//! use linux_aio_abi::{IOCB_CMD_PREAD, iocb};
//!
//! let buffer = [0_u8; 4096];
//! let request = iocb {
//!     aio_data: 42,
//!     aio_lio_opcode: IOCB_CMD_PREAD,
//!     aio_fildes: 3,
//!     aio_buf: buffer.as_ptr() as u64,
//!     aio_nbytes: 4096,
//!     aio_offset: 8192,
//!     ..iocb::ZERO
//! };
//! assert_eq!(iocb::from_bytes(request.to_bytes()), request);
//! ```
//!
//! # Features
//!
//! `arbitrary`: implements `arbitrary::Arbitrary` for [`iocb`] and [`io_event`], for fuzzing
//! harnesses. It is off by default and needs std.

#![no_std]
#![forbid(unsafe_code)]
#![allow(non_camel_case_types)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod aio_abi;
mod bytes;
mod fs;
pub mod helper;
mod poll;
mod ring;
pub mod syscall;
mod types;

pub use aio_abi::{
    IOCB_CMD_FDSYNC, IOCB_CMD_FSYNC, IOCB_CMD_NOOP, IOCB_CMD_POLL, IOCB_CMD_PREAD, IOCB_CMD_PREADV,
    IOCB_CMD_PREADX, IOCB_CMD_PWRITE, IOCB_CMD_PWRITEV, IOCB_FLAG_IOPRIO, IOCB_FLAG_RESFD,
    aio_context_t, io_event, iocb,
};
pub use fs::{
    __kernel_rwf_t, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE, IOPRIO_CLASS_NONE, IOPRIO_CLASS_RT,
    IOPRIO_CLASS_SHIFT, IOPRIO_NR_LEVELS, RWF_APPEND, RWF_ATOMIC, RWF_DONTCACHE, RWF_DSYNC,
    RWF_HIPRI, RWF_NOAPPEND, RWF_NOSIGNAL, RWF_NOWAIT, RWF_SUPPORTED, RWF_SYNC,
};
pub use poll::{
    POLLERR, POLLHUP, POLLIN, POLLMSG, POLLNVAL, POLLOUT, POLLPRI, POLLRDBAND, POLLRDHUP,
    POLLRDNORM, POLLREMOVE, POLLWRBAND, POLLWRNORM,
};
pub use ring::{
    __aio_sigset, AIO_RING_COMPAT_FEATURES, AIO_RING_INCOMPAT_FEATURES, AIO_RING_MAGIC, KIOCB_KEY,
    aio_ring,
};
pub use types::{
    __kernel_long_t, __kernel_old_timespec, __kernel_timespec, __kernel_ulong_t, _NSIG,
    SIGSET_SIZE, iovec, sigset_t,
};

/// Compiles and runs the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
