#![doc = include_str!("../README.md")]
#![no_std]
#![cfg_attr(
    not(test),
    deny(clippy::std_instead_of_core, clippy::std_instead_of_alloc, clippy::alloc_instead_of_core)
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(any(target_os = "linux", target_os = "android")))]
compile_error!(
    "linux-aio-raw makes Linux system calls and has nothing to offer on another system; \
     `linux-aio-abi` builds everywhere"
);

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

pub use linux_aio_abi as abi;

mod context;
mod diagnose;
mod errno;
mod event_fd;
pub mod fd;
mod flags;
mod fork_guard;
mod io_event;
mod io_slice;
mod iocb;
mod primitive;
pub mod ring;
mod sig_set;
pub mod sys;

pub use context::{IoContext, Reaper, SetupError, Submitter};
#[cfg(feature = "alloc")]
pub use context::{OwnedReaper, OwnedSubmitter};
pub use diagnose::Diagnosis;
pub use errno::Errno;
pub use event_fd::EventFd;
pub use fd::Fd;
pub use flags::{IoPrio, Opcode, PollEvents, RwFlags};
pub use fork_guard::ForkGuard;
pub use io_event::IoEvent;
pub use io_slice::{IoSlice, IoSliceMut};
pub use iocb::Iocb;
pub use sig_set::SigSet;
