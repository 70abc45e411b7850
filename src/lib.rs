#![doc = include_str!("../README.md")]
#![no_std]
#![cfg_attr(
    not(test),
    deny(clippy::std_instead_of_core, clippy::std_instead_of_alloc, clippy::alloc_instead_of_core)
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(any(target_os = "linux", target_os = "android")))]
compile_error!(
    "linux-aio makes Linux system calls and has nothing to offer on another system; \
     `linux-aio-abi` builds everywhere"
);

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

pub use linux_aio_abi as abi;
#[cfg(feature = "alloc")]
pub use rustix::fd;

#[cfg(feature = "alloc")]
mod aligned_buf;
mod context;
mod descriptor;
#[cfg(feature = "std")]
pub mod driver;
mod engine;
mod errno;
mod event_fd;
mod explain;
mod flags;
mod fork;
mod io_event;
mod io_slice;
mod iocb;
#[cfg(feature = "alloc")]
pub mod op;
mod operation;
mod primitive;
#[cfg(feature = "alloc")]
pub mod probe;
#[cfg(feature = "alloc")]
mod queue;
mod ring;
mod scope;
mod sig_set;
mod slot;
pub mod sys;
#[cfg(feature = "tokio")]
pub mod tokio;

#[cfg(feature = "alloc")]
pub use aligned_buf::AlignedBuf;
pub use context::{IoContext, Reaper, SetupError, Submitter};
#[cfg(feature = "alloc")]
pub use context::{OwnedReaper, OwnedSubmitter};
pub use descriptor::Fd;
#[cfg(feature = "std")]
pub use driver::Driver;
pub use engine::Stats;
pub use errno::Errno;
pub use event_fd::EventFd;
pub use flags::{IoPrio, Opcode, PollEvents, RwFlags};
pub use io_event::IoEvent;
pub use io_slice::{IoSlice, IoSliceMut};
pub use iocb::Iocb;
pub use operation::{Operation, Prepared};
#[cfg(feature = "alloc")]
pub use queue::{Queue, Ready};
pub use scope::{Scope, ScopeError};
pub use sig_set::SigSet;
pub use slot::{Completion, PushError, Slot, Token};
