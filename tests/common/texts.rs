//! What tests of texts ask of values.

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};

/// Each value has a text, and no two the same.
pub(crate) fn assert_distinct<T: Debug>(values: &[T], text: impl Fn(&T) -> String) {
    let texts: BTreeSet<String> = values.iter().map(&text).collect();
    assert_eq!(texts.len(), values.len(), "{values:?} as {texts:?}");
    assert!(texts.iter().all(|text| !text.trim().is_empty()), "{texts:?}");
}

/// The text of a value has each of these parts.
pub(crate) fn assert_names(value: &(impl Display + ?Sized), parts: &[&str]) {
    let text = value.to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{text:?} lacks one of {parts:?}");
}
