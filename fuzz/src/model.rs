//! A model of the kernel's submission path: for any iocb in its domain it says whether `io_submit`
//! accepts it or with which errno it is refused, and what its event carries.
//!
//! # Domain
//!
//! - Addresses come from [`Arena`](crate::memory::Arena) and [`Guarded`](crate::memory::Guarded)
//!   memory, or lie in the kernel's half, or are null.
//! - Descriptors come from the private [`Table`].
//! - Everything else may be anything.
//!
//! # Where an answer is not one value
//!
//! Then [`Results`] holds the values that are allowed and the reason, as narrowly as it can be
//! said. What differs between kernels and file systems is measured at the start by *other* system
//! calls ([`Facts`]), so that the prediction itself is one value again. It was written down from
//! Linux 6.18 on x86-64; the order of checks in `fs/aio.c` is that of `predict`.

mod facts;
mod pipe;
mod predict;
mod table;
mod transfer;

pub use facts::{Facts, FlagFacts};
pub use pipe::Pipe;
pub use predict::{Effect, Prediction, predict};
pub use table::{Descriptor, File, Kind, State, Table};
pub use transfer::Transfer;

use std::fmt;

/// An address that no user may access.
pub const KERNEL_ADDRESS: u64 = 0xffff_8880_0000_1000;

/// The most that one transfer moves (`MAX_RW_COUNT`), for a page of 4096 bytes or another.
pub fn max_rw_count() -> usize {
    (i32::MAX as usize) & !(crate::memory::page() - 1)
}

/// What the `res` of an event may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Results {
    /// These values.
    values: Vec<i64>,
    /// Or any from the first to the second.
    range: Option<(i64, i64)>,
    /// Why it is not one value.
    why: Option<&'static str>,
}

impl Results {
    /// One value.
    pub fn exactly(value: i64) -> Self {
        Self { values: vec![value], range: None, why: None }
    }

    /// One error.
    pub fn error(errno: i32) -> Self {
        Self::exactly(-i64::from(errno))
    }

    /// This one, too.
    #[must_use]
    pub fn or(mut self, value: i64, why: &'static str) -> Self {
        self.values.push(value);
        self.why = Some(why);
        self
    }

    /// Anything from 1 to `most`, too.
    #[must_use]
    pub fn or_up_to(mut self, most: i64, why: &'static str) -> Self {
        self.range = Some((1, most));
        self.why = Some(why);
        self
    }

    /// The value, where it is one.
    pub fn value(&self) -> Option<i64> {
        match (&self.values[..], self.range) {
            (&[value], None) => Some(value),
            _ => None,
        }
    }

    /// Whether an event may carry `res`.
    pub fn allow(&self, res: i64) -> bool {
        let in_range = self.range.is_some_and(|(from, to)| (from..=to).contains(&res));
        in_range || self.values.contains(&res)
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.values)?;
        if let Some((from, to)) = self.range {
            write!(f, " or {from}..={to}")?;
        }
        match self.why {
            Some(why) => write!(f, " ({why})"),
            None => Ok(()),
        }
    }
}
