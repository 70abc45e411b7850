//! The clock by which deadlines, retries and measurements of the drivers go.

use std::time::Instant;

/// Returns the time: that of the machine, or of the simulation that the thread has entered.
#[inline(always)]
pub(crate) fn now() -> Instant {
    #[cfg(feature = "sim")]
    if let Some(now) = crate::sys::sim::now() {
        return now;
    }
    Instant::now()
}
