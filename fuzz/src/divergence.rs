//! [`Divergence`], what a target reports.

use std::fmt;

/// The model and what was observed do not agree.
#[derive(Debug)]
pub struct Divergence(pub String);

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Divergence {}

/// What a target returns.
pub type Verdict<T = ()> = Result<T, Divergence>;

/// `Err` with a report where `holds` is false.
pub fn ensure(holds: bool, report: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Divergence(report())) }
}
