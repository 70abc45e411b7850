//! [`Stall`], how long a driver retries while the kernel has no resources.

use core::time::Duration;
use std::time::Instant;

/// The pause before the first retry.
const FIRST: Duration = Duration::from_millis(1);

/// The longest pause. Each is twice as long as the last, up to this.
const LONGEST: Duration = Duration::from_millis(100);

/// The time for which drivers retry, unless
/// [`Driver::retry_submits_for`](super::Driver::retry_submits_for) sets another. What ends within
/// it is a shortage that passes; afterwards somebody must be told.
pub(crate) const RETRY_LIMIT: Duration = Duration::from_secs(30);

/// A time in which the kernel takes none of the operations that are queued.
pub(crate) struct Stall {
    since: Instant,
    /// The pause before the next retry.
    pause: Duration,
    /// The time of the retry that has been asked for.
    due: Instant,
}

impl Stall {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, pause: FIRST, due: now }
    }

    /// Returns whether it has lasted for as long as the driver retries.
    pub(crate) fn is_over(&self, now: Instant, limit: Duration) -> bool {
        now.duration_since(self.since) >= limit
    }

    /// Returns the time of the next retry, or `None` if one has been asked for that is not due yet:
    /// not only retries submit.
    pub(crate) fn next_attempt(&mut self, now: Instant, limit: Duration) -> Option<Instant> {
        if now < self.due {
            return None;
        }
        self.due = now + self.pause;
        if let Some(end) = self.since.checked_add(limit) {
            self.due = self.due.min(end);
        }
        self.pause = LONGEST.min(2 * self.pause);
        Some(self.due)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Stall;
    use alloc::vec::Vec;
    use core::time::Duration;
    use std::time::Instant;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// Returns the retries of a stall that lasts, in milliseconds since its beginning.
    fn retries(limit: Duration) -> impl Iterator<Item = u64> {
        let since = Instant::now();
        let (mut stall, mut now) = (Stall::new(since), since);
        core::iter::from_fn(move || {
            if stall.is_over(now, limit) {
                return None;
            }
            now = stall.next_attempt(now, limit).expect("it is due");
            u64::try_from(now.duration_since(since).as_millis()).ok()
        })
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_end_at_the_limit() {
        let all: Vec<_> = retries(ms(400)).collect();
        assert_eq!(all, [1, 3, 7, 15, 31, 63, 127, 227, 327, 400]);
        assert_eq!(retries(ms(0)).count(), 0);
        let (within, without) = (retries(ms(1_000_000)), retries(Duration::MAX));
        assert!(within.take(1_000).eq(without.take(1_000)));
    }

    #[test]
    fn a_submit_between_two_retries_asks_for_none() {
        let since = Instant::now();
        let mut stall = Stall::new(since);
        assert_eq!(stall.next_attempt(since, Duration::MAX), Some(since + ms(1)));
        assert_eq!(stall.next_attempt(since, Duration::MAX), None);
        assert_eq!(stall.next_attempt(since + ms(1), Duration::MAX), Some(since + ms(3)));
    }
}
