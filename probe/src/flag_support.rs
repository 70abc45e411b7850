//! [`FlagSupport`], what came of each per-operation flag.

use super::Support;
use super::report::Grouped;
use core::fmt;
use linux_aio::{Errno, RwFlags};

/// Says what came of each [`RwFlags`] flag.
///
/// ```
/// use linux_aio::RwFlags;
///
/// let flags = linux_aio_probe::kernel().flags;
/// if !flags.of(RwFlags::NOWAIT | RwFlags::DSYNC).is_accepted() {
///     println!("this kernel is too old: {flags}");
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlagSupport {
    /// In the order of [`RwFlags::FLAGS`].
    answers: [Support; RwFlags::FLAGS.len()],
}

/// A flag that no kernel has. Who takes it looks at no flag.
const NO_SUCH_FLAG: RwFlags = RwFlags::from_bits_retain(1 << 30);

impl FlagSupport {
    /// Returns what came of the flag; of several, of the first among them that was not accepted.
    pub fn of(&self, flags: RwFlags) -> Support {
        let mut asked = self.iter().filter(|&(_, flag, _)| flags.contains(flag));
        let found = asked.find(|(_, _, support)| !support.is_accepted());
        found.map_or(Support::Accepted, |(_, _, support)| support)
    }

    /// Iterates over every flag: its name, itself, and what came of it. Lowest bit first.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, RwFlags, Support)> + Clone {
        let all = RwFlags::FLAGS.iter().copied().zip(self.answers);
        all.map(|((name, flag), support)| (name, flag, support))
    }

    /// Returns the same answer for all.
    pub(super) const fn all(support: Support) -> Self {
        Self { answers: [support; RwFlags::FLAGS.len()] }
    }

    /// Tries every flag, after one that does not exist.
    pub(super) fn ask(mut attempt: impl FnMut(RwFlags) -> Support) -> Self {
        match attempt(NO_SUCH_FLAG) {
            Support::Accepted => Self::all(Support::Ignored),
            Support::Refused(Errno::EOPNOTSUPP) => {
                Self { answers: core::array::from_fn(|index| attempt(RwFlags::FLAGS[index].1)) }
            }
            same_for_all => Self::all(same_for_all),
        }
    }

    /// Changes the answer for one flag.
    pub(super) fn amend(&mut self, flag: RwFlags, change: impl FnOnce(Support) -> Support) {
        for (&(_, known), answer) in RwFlags::FLAGS.iter().zip(&mut self.answers) {
            if known == flag {
                return *answer = change(*answer);
            }
        }
    }
}

impl fmt::Display for FlagSupport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Grouped(self.iter().map(|(name, _, support)| (name, support))).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{FlagSupport, NO_SUCH_FLAG};
    use crate::Support;
    use linux_aio::{Errno, RwFlags};

    fn refuse(_: RwFlags) -> Support {
        Support::Refused(Errno::EOPNOTSUPP)
    }

    #[test]
    fn who_takes_nonsense_ignores_flags() {
        let flags = FlagSupport::ask(|_| Support::Accepted);
        assert_eq!(flags, FlagSupport::all(Support::Ignored));
    }

    #[test]
    fn an_answer_that_is_not_about_flags_holds_for_all() {
        for support in [Support::Unknown, Support::Refused(Errno::EINVAL)] {
            assert_eq!(FlagSupport::ask(|_| support), FlagSupport::all(support));
        }
    }

    #[test]
    fn several_flags_are_as_good_as_the_worst() {
        let known = RwFlags::DSYNC | RwFlags::NOWAIT;
        let flags =
            FlagSupport::ask(
                |flag| {
                    if known.contains(flag) { Support::Accepted } else { refuse(flag) }
                },
            );
        assert_eq!(flags.of(known), Support::Accepted);
        assert_eq!(flags.of(known | RwFlags::ATOMIC), Support::Refused(Errno::EOPNOTSUPP));
        assert_eq!(flags.of(RwFlags::empty()), Support::Accepted);
    }

    #[test]
    fn the_flag_that_does_not_exist_is_none_of_the_known() {
        for (name, flag) in RwFlags::FLAGS {
            assert!(!flag.contains(NO_SUCH_FLAG), "{name}");
        }
    }

    #[test]
    fn an_amendment_changes_one_flag() {
        let mut flags = FlagSupport::ask(refuse);
        flags.amend(RwFlags::ATOMIC, |_| Support::Accepted);
        let accepted = flags.iter().filter(|(_, _, support)| support.is_accepted());
        assert!(accepted.map(|(name, _, _)| name).eq(["ATOMIC"]));
    }
}
