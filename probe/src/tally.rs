//! [`Tally`], how a few operations ended.

use super::bench::Outcome;
use core::fmt;
use linux_aio::Errno;

/// Counts how a few operations of one kind ended, one at a time.
///
/// An operation that has ended when `io_submit` returns kept its caller waiting there: it was not
/// asynchronous. A fast device can make an asynchronous one look like that. So can a busy machine
/// that takes the processor away in that moment. Ask again before you rely on it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio_probe::{Submit, Tally};
///
/// let report = linux_aio_probe::file(std::fs::File::open("Cargo.toml")?)?;
/// if let Submit::Measured(Tally { tried, ended_later, .. }) = report.submit {
///     println!("{ended_later} of {tried} reads were asynchronous");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// The operations that were tried.
    pub tried: u32,
    /// The operations whose event was there when `io_submit` returned.
    pub ended_in_submit: u32,
    /// The operations that were done later.
    pub ended_later: u32,
    /// The operations that gave `EAGAIN`: with [`NOWAIT`](linux_aio::RwFlags::NOWAIT), `io_submit`
    /// would have waited.
    pub would_wait: u32,
    /// The error of the one that failed; no more were tried then.
    pub error: Option<Errno>,
}

impl Tally {
    /// Returns whether most were asynchronous, or `None` if none was done.
    ///
    /// ```
    /// use linux_aio_probe::Tally;
    ///
    /// let mut tally = Tally::default();
    /// assert_eq!(tally.is_asynchronous(), None);
    /// (tally.ended_later, tally.ended_in_submit) = (7, 1);
    /// assert_eq!(tally.is_asynchronous(), Some(true));
    /// ```
    pub const fn is_asynchronous(&self) -> Option<bool> {
        if self.ended_in_submit + self.ended_later + self.would_wait == 0 {
            return None;
        }
        Some(self.ended_later > self.ended_in_submit + self.would_wait)
    }

    /// Runs up to `count` operations, until one fails.
    pub(super) fn of(count: u32, mut attempt: impl FnMut(u32) -> Outcome) -> Self {
        let mut tally = Self::default();
        while tally.tried < count && tally.error.is_none() {
            let outcome = attempt(tally.tried);
            tally.tried += 1;
            tally.add(outcome);
        }
        tally
    }

    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ended { result: Ok(_), in_submit: true } => self.ended_in_submit += 1,
            Outcome::Ended { result: Ok(_), in_submit: false } => self.ended_later += 1,
            Outcome::Ended { result: Err(Errno::EAGAIN), .. } | Outcome::Refused(Errno::EAGAIN) => {
                self.would_wait += 1;
            }
            Outcome::Ended { result: Err(errno), .. } | Outcome::Refused(errno) => {
                self.error = Some(errno);
            }
            Outcome::Lost(errno) => self.error = Some(errno),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.ended_later, "asynchronous"),
            (self.ended_in_submit, "done inside io_submit"),
            (self.would_wait, "would wait in io_submit (EAGAIN)"),
        ];
        let mut separator = "";
        for (count, what) in counts.into_iter().filter(|&(count, _)| count > 0) {
            write!(f, "{separator}{count} {what}")?;
            separator = ", ";
        }
        match self.error {
            Some(errno) => write!(f, "{separator}failed: {errno}"),
            None => Ok(()),
        }
    }
}
