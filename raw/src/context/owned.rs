//! The halves of a context that own it together.

#![cfg(feature = "alloc")]

use super::{IoContext, Reaper, Submitter};
#[cfg(not(all(test, loom)))]
use alloc::sync::Arc;
use core::cell::Cell;
use core::marker::PhantomData;
#[cfg(all(test, loom))]
use loom::sync::Arc;

/// Keeps its context alive, and gives a [`Submitter`]. From [`IoContext::into_split`].
///
/// The context ends, as [`IoContext`] describes, when the last half is dropped.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio_raw::IoContext;
/// use std::thread;
///
/// let (submitter, _reaper) = IoContext::new(8)?.into_split();
/// let threads = [submitter.clone(), submitter].map(|submitter| {
///     thread::spawn(move || assert!(submitter.submitter().is_alive()))
/// });
/// for thread in threads {
///     thread.join().expect("no panic");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct OwnedSubmitter {
    context: Arc<IoContext>,
}

impl OwnedSubmitter {
    /// Returns the submitter, whose methods these are.
    pub fn submitter(&self) -> Submitter<'_> {
        Submitter::new(&self.context)
    }
}

/// Keeps its context alive, and gives its [`Reaper`]. From [`IoContext::into_split`].
///
/// The context ends, as [`IoContext`] describes, when the last half is dropped.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio_raw::{IoContext, IoEvent};
/// use std::{mem::MaybeUninit, thread};
///
/// let (_submitter, mut reaper) = IoContext::new(8)?.into_split();
/// let reaping = thread::spawn(move || {
///     let mut events = [MaybeUninit::<IoEvent>::uninit(); 8];
///     reaper.reaper().reap(&mut events).map(<[IoEvent]>::len)
/// });
/// assert_eq!(reaping.join().expect("no panic"), Ok(0));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct OwnedReaper {
    context: Arc<IoContext>,
    /// One thread at a time.
    not_sync: PhantomData<Cell<()>>,
}

impl OwnedReaper {
    /// Returns the reaper, whose methods these are.
    pub fn reaper(&mut self) -> Reaper<'_> {
        // SAFETY: There is one `OwnedReaper` of a context, and it is borrowed exclusively.
        unsafe { Reaper::new(&self.context) }
    }

    /// Returns the context again, if every [`OwnedSubmitter`] is gone; else the reaper back.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio_raw::IoContext;
    ///
    /// let (submitter, reaper) = IoContext::new(1)?.into_split();
    /// let reaper = reaper.try_into_context().expect_err("the submitter is there");
    /// drop(submitter);
    /// let _context: IoContext = reaper.try_into_context().expect("the last half");
    /// # Ok(()) }
    /// ```
    pub fn try_into_context(self) -> Result<IoContext, Self> {
        Arc::try_unwrap(self.context).map_err(|context| Self { context, not_sync: PhantomData })
    }
}

pub(super) fn split(context: IoContext) -> (OwnedSubmitter, OwnedReaper) {
    let context = Arc::new(context);
    let submitter = OwnedSubmitter { context: Arc::clone(&context) };
    (submitter, OwnedReaper { context, not_sync: PhantomData })
}
