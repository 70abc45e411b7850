//! The long documents of the project. Each module is a page to read, and has no items.

/// Makes a page of a file of `docs/`. The file defines the links between documents for readers on a
/// forge. The links here come first, so they are the ones that count.
macro_rules! page {
    ($(#[$attribute:meta])* $name:ident, $file:literal) => {
        $(#[$attribute])*
        #[doc = concat!(
            "[platforms]: crate::_documentation::platforms\n",
            "[migration]: crate::_documentation::migration\n",
            "[performance]: crate::_documentation::performance\n",
            "[o_direct]: crate::_documentation::o_direct\n",
            "[tuning]: crate::_documentation::tuning\n",
            "[errors]: crate::_documentation::errors\n",
            "[cancellation]: crate::_documentation::cancellation\n",
            "[durability]: crate::_documentation::durability\n",
            "[comparison]: crate::_documentation::comparison\n",
            "[troubleshooting]: crate::_documentation::troubleshooting\n",
            "\n",
            include_str!($file),
        )]
        pub mod $name {}
    };
}

page!(o_direct, "../docs/o_direct.md");
page!(tuning, "../docs/tuning.md");
page!(errors, "../docs/errors.md");
page!(cancellation, "../docs/cancellation.md");
page!(durability, "../docs/durability.md");
page!(comparison, "../docs/comparison.md");
page!(troubleshooting, "../docs/troubleshooting.md");
page!(migration, "../docs/migration.md");
page!(
    // The picture itself, so that it is seen without a network, and stays with its version.
    #[cfg_attr(doc, doc = concat!("[overview]: ", include_str!("../docs/overview.uri"), "\n"))]
    performance,
    "../docs/performance.md"
);
page!(platforms, "../docs/platforms.md");
