//! Finds out what this kernel, this process, a file and a directory can do for asynchronous I/O.
//!
//! AIO depends on what surrounds it. The kernel may lack it, a container's filter may refuse it,
//! and others may use up a limit. A file system may do the work inside `io_submit`, and on a pipe
//! `io_submit` may never return. This crate asks, and gives typed answers, each with a text that
//! names cause and cure:
//!
//! - [`kernel`]: which calls, operations and flags there are for this process;
//! - [`file()`]: what an open file wants and how it behaves, **without changing it**;
//! - [`directory`]: how writes behave, on a temporary file in a directory that the user names.
//!
//! It must never write to, extend or evict a file of the user's. Nor may it submit anything to a
//! file that could keep `io_submit` waiting. Pipes, sockets, terminals, unknown devices and the
//! files of `/proc` and its like are recognised and left alone.
//!
//! It neither duplicates nor opens a user's file again, since closing such a descriptor would give
//! up the process's record locks on that file. It works without `/proc`, `/dev` and a writable
//! root.
//!
//! Two things cannot be asked. A filter that **kills** instead of answering ends the probe as it
//! would end the program. And how long something takes: that is a benchmark, not a probe.
//!
//! Each answer costs a context or two, so about 30 ms (`io_destroy` takes that long). Nothing is
//! remembered: a forked child gets its own answers.
//!
//! # Example
//!
//! Is AIO there, and what do I need for `O_DIRECT` on this file?
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use linux_aio::AlignedBuf;
//!
//! let kernel = linux_aio_probe::kernel();
//! kernel.usable()?; // the error says what is missing and what to do about it
//!
//! let file = linux_aio_probe::file(std::fs::File::open("/etc/os-release")?)?;
//! let buf = AlignedBuf::with_alignment(65536, file.direct_io.memory())?;
//! println!("{kernel}\n\n{file}");
//! # drop(buf);
//! # Ok(()) }
//! ```

#![no_std]
#![cfg_attr(
    not(test),
    deny(clippy::std_instead_of_core, clippy::std_instead_of_alloc, clippy::alloc_instead_of_core)
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod bench;
mod call;
mod directory;
mod file;
mod file_system;
mod flag_support;
mod kernel;
mod report;
mod support;
mod tally;
mod verdict;

pub use call::{Availability, Call};
pub use directory::{Directory, DirectoryError, TemporaryFile, Writes, directory};
pub use file::{Access, File, FileKind, Submit, Untried, file};
pub use file_system::FileSystem;
pub use flag_support::FlagSupport;
pub use kernel::{AioUsage, Kernel, Ring, RingAccess, kernel};
pub use linux_aio::geometry::{Alignment, AtomicWrites, DirectIo};
pub use support::Support;
pub use tally::Tally;
pub use verdict::{Note, Unusable};
