//! Lays out the reports of a probe: a column of labels, a column
//! of text, and lists grouped by what came of their items.

use super::Support;
use core::fmt::{self, Display, Formatter};

/// Width of the labels' column.
const LABEL: usize = 16;

/// Writes rows, with line breaks between them and none at the end.
pub(super) struct Rows<'a, 'f> {
    f: &'a mut Formatter<'f>,
    first: bool,
}

impl<'a, 'f> Rows<'a, 'f> {
    pub(super) fn new(f: &'a mut Formatter<'f>) -> Self {
        Self { f, first: true }
    }

    pub(super) fn row(&mut self, label: &str, value: impl Display) -> fmt::Result {
        let line_break = if self.first { "" } else { "\n" };
        self.first = false;
        write!(self.f, "{line_break}{label:LABEL$}{value}")
    }
}

/// Tells whether an item is one of a group.
type Belongs = fn(Support) -> bool;

/// The names of a list, grouped by what came of them: `A B; refused: C (EINVAL); unknown: D`.
pub(super) struct Grouped<I>(pub(super) I);

impl<I: Iterator<Item = (&'static str, Support)> + Clone> Display for Grouped<I> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut any = self.group(f, "", |support| support == Support::Accepted)?;
        let groups: [(&str, Belongs); 3] = [
            ("ignored: ", |support| support == Support::Ignored),
            ("refused: ", |support| matches!(support, Support::Refused(_))),
            ("unknown: ", |support| support == Support::Unknown),
        ];
        for (title, belongs) in groups {
            if self.0.clone().any(|(_, support)| belongs(support)) {
                f.write_str(if any { "; " } else { "" })?;
                f.write_str(title)?;
                any |= self.group(f, "", belongs)?;
            }
        }
        Ok(())
    }
}

impl<I: Iterator<Item = (&'static str, Support)> + Clone> Grouped<I> {
    /// Writes the names that belong, and says whether there were any.
    fn group(
        &self,
        f: &mut Formatter<'_>,
        mut separator: &'static str,
        belongs: Belongs,
    ) -> Result<bool, fmt::Error> {
        for (name, support) in self.0.clone().filter(|&(_, support)| belongs(support)) {
            write!(f, "{separator}{name}")?;
            if let Support::Refused(errno) = support {
                write!(f, " ({errno:?})")?;
            }
            separator = " ";
        }
        Ok(!separator.is_empty())
    }
}

/// `text` where `condition` holds, and nothing where not.
pub(super) fn when(condition: bool, text: &'static str) -> &'static str {
    if condition { text } else { "" }
}

#[cfg(test)]
mod tests {
    use super::Grouped;
    use crate::Support;
    use linux_aio::Errno;
    use std::string::ToString;

    #[test]
    fn lists_are_grouped_and_keep_their_order() {
        let list = [
            ("A", Support::Accepted),
            ("B", Support::Refused(Errno::EINVAL)),
            ("C", Support::Accepted),
            ("D", Support::Unknown),
            ("E", Support::Refused(Errno::EOPNOTSUPP)),
            ("F", Support::Ignored),
        ];
        let text = Grouped(list.into_iter()).to_string();
        assert_eq!(text, "A C; ignored: F; refused: B (EINVAL) E (EOPNOTSUPP); unknown: D");
        assert_eq!(Grouped(list[3..4].iter().copied()).to_string(), "unknown: D");
    }
}
