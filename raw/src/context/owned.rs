//! The halves of a context that own it together.

#![cfg(feature = "alloc")]

use super::{IoContext, Reaper, Submitter};
#[cfg(not(all(test, loom)))]
use alloc::sync::Arc;
use core::cell::Cell;
use core::marker::PhantomData;
#[cfg(all(test, loom))]
use loom::sync::Arc;

/// A [`Submitter`] that keeps its context alive. From [`IoContext::into_split`].
///
/// The context ends, as [`IoContext`] describes, when the last half is dropped.
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

/// The [`Reaper`] of a context that it keeps alive. From [`IoContext::into_split`].
///
/// The context ends, as [`IoContext`] describes, when the last half is dropped.
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
    pub fn try_into_context(self) -> Result<IoContext, Self> {
        Arc::try_unwrap(self.context).map_err(|context| Self { context, not_sync: PhantomData })
    }
}

pub(super) fn split(context: IoContext) -> (OwnedSubmitter, OwnedReaper) {
    let context = Arc::new(context);
    let submitter = OwnedSubmitter { context: Arc::clone(&context) };
    (submitter, OwnedReaper { context, not_sync: PhantomData })
}
