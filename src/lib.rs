#![cfg_attr(feature = "std", doc = include_str!("guide.md"))]
#![cfg_attr(
    not(feature = "std"),
    doc = "Asynchronous disk I/O for Linux through the kernel's own AIO system calls, without a \
           C library."
)]
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

pub use linux_aio_raw as raw;
#[cfg(feature = "alloc")]
pub use linux_aio_raw::fd;
pub use linux_aio_raw::{
    Diagnosis, Errno, EventFd, Fd, IoContext, IoEvent, IoPrio, IoSlice, IoSliceMut, Iocb, Opcode,
    PollEvents, Reaper, RwFlags, SetupError, SigSet, Submitter, abi, sys,
};
#[cfg(feature = "alloc")]
pub use linux_aio_raw::{OwnedReaper, OwnedSubmitter};

#[cfg(feature = "std")]
pub mod _documentation;
#[cfg(feature = "alloc")]
mod aligned_buf;
#[cfg(feature = "std")]
pub mod blocking;
#[cfg(feature = "alloc")]
mod buffer;
mod call_error;
#[cfg(feature = "std")]
mod clock;
#[cfg(feature = "std")]
mod driver;
mod engine;
#[cfg(feature = "std")]
mod file;
#[cfg(feature = "alloc")]
pub mod geometry;
#[cfg(feature = "std")]
mod local;
#[cfg(feature = "std")]
mod machine;
mod operation;
mod part;
#[cfg(feature = "std")]
mod pool;
#[cfg(feature = "std")]
mod primitive;
#[cfg(feature = "alloc")]
mod queue;
mod room;
mod scope;
mod slot;
#[cfg(feature = "alloc")]
mod spare;
#[cfg(feature = "tokio")]
pub mod tokio;

// Behind `queue`, whose page would else begin with the functions for callbacks.
#[cfg(feature = "alloc")]
pub mod op;

#[cfg(feature = "alloc")]
pub use aligned_buf::AlignedBuf;
#[cfg(feature = "alloc")]
pub use buffer::{ReadTo, Shared, WriteFrom};
pub use call_error::CallError;
#[cfg(feature = "std")]
pub use driver::{
    Close, CloseWithin, Driver, DriverStats, DriverWithDeadline, Histogram, Metrics, OpFuture,
    OperationMetrics, Overdue, Reactor, TimedOut, Unfinished, WithDeadline,
};
pub use engine::Stats;
#[cfg(feature = "std")]
pub use file::{
    Chunk, Direct, DirectState, File, FileDriver, FileReader, FileWithDeadline, FileWriter,
    OpenOptions, Outcome, RangeBytes, RangesOptions, ReadRanges, ReaderOptions, SyncRange,
    UnexpectedEnd, WriterError, WriterOptions,
};
#[cfg(feature = "std")]
pub use local::{LocalClose, LocalDriver, LocalFuture, LocalRun};
pub use operation::{EventResult, Operation, Prepared};
pub use part::{Part, Slice};
#[cfg(feature = "std")]
pub use pool::{BufferPool, PoolBuf, PoolError, Take};
#[cfg(feature = "alloc")]
pub use queue::{Queue, QueueError, Ready};
pub use room::{Filled, Room};
pub use scope::{Scope, ScopeError, scope};
pub use slot::{Completion, PushError, Slot, Token};
#[cfg(feature = "alloc")]
pub use spare::{Spare, SpareMemory};

/// Compiles and runs the example in the README.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
struct Readme;
