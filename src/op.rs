//! The operations, ready to push into a [`Queue`](crate::Queue) or
//! [`Scope`](crate::Scope).
//!
//! Each holds what the kernel needs until it is done: `F`, anything that keeps a file open
//! ([`AsFd`](crate::fd::AsFd): a `File`, an `OwnedFd`, an `Arc` of one, a `&File`), and `B`,
//! anything that holds bytes. To read, that is `AsMut<[u8]>`: `Vec<u8>`, `Box<[u8]>`, `[u8; N]`,
//! [`AlignedBuf`](crate::AlignedBuf), in a scope also `&mut [u8]`. A read fills the length of the
//! buffer, not its capacity. To write, `AsRef<[u8]>`: all of these, and `Arc<[u8]>`,
//! `&'static [u8]`, `&'static str`. A [`Part`](crate::Part) is a range of such a buffer, and
//! [`Shared`](crate::Shared) is memory that other threads use meanwhile.
//!
//! A completed operation comes back whole, so that its buffer and its other fields can be used
//! again: `Read { offset: next, ..done.op }`.
//!
//! Different operations in one queue: [`Any`], an enum of your own (see
//! [`Operation`](crate::Operation)), or a `Box<dyn Operation>`. A value of the user's that rides
//! along: the pair `(operation, value)`. A function to be called: [`Callback`].

mod any;
mod buffers;
mod callback;
mod poll;
mod sync;
mod transfer;
mod vectored;
mod whole;

pub use any::Any;
pub use buffers::{Buffers, IovecArray, IovecVec, Scratch};
pub use callback::Callback;
pub use poll::Poll;
pub use sync::{Fdsync, Fsync};
pub use transfer::{Read, Write};
pub use vectored::{ReadV, WriteV};
pub use whole::{Transfer, Whole};
