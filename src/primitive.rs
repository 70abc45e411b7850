//! Floor 1: what threads share by. In models it is loom's, which tries every order of their steps.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

#[cfg(all(feature = "std", not(loom)))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicU8};
#[cfg(all(feature = "std", loom))]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8};
