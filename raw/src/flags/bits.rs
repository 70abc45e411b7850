//! The functions that every type of flags has, by the names of the crate `bitflags`.

/// Gives `$type`, a tuple struct around `$bits` with the constant `FLAGS`, the functions and traits
/// of a set of flags.
macro_rules! set_of_flags {
    ($type:ident, $bits:ty) => {
        impl $type {
            /// Returns the set without any flag.
            #[inline]
            pub const fn empty() -> Self {
                Self(0)
            }

            /// Returns the set of all flags that have a name.
            pub const fn all() -> Self {
                let (mut all, mut index) = (Self(0), 0);
                while index < Self::FLAGS.len() {
                    all = all.union(Self::FLAGS[index].1);
                    index += 1;
                }
                all
            }

            /// Returns the bits, as the kernel has them.
            #[inline]
            pub const fn bits(self) -> $bits {
                self.0
            }

            /// Returns the set of these bits, or `None` if one of them has no name.
            pub const fn from_bits(bits: $bits) -> Option<Self> {
                if bits & !Self::all().0 == 0 { Some(Self(bits)) } else { None }
            }

            /// Returns the set of these bits, without those that have no name.
            pub const fn from_bits_truncate(bits: $bits) -> Self {
                Self(bits & Self::all().0)
            }

            /// Returns the set of these bits. Bits without a name are kept, for kernels that are
            /// newer than this library and for fuzzing.
            #[inline]
            pub const fn from_bits_retain(bits: $bits) -> Self {
                Self(bits)
            }

            /// Returns whether no bit is set.
            #[inline]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// Returns whether all flags of `other` are set.
            #[inline]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Returns whether any flag of `other` is set.
            #[inline]
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// Returns the flags of either set. As `|`, in constants too.
            #[inline]
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// Returns the flags that are in both sets. As `&`, in constants too.
            #[inline]
            pub const fn intersection(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }

            /// Returns the flags that are not in `other`. As `-`, in constants too.
            #[inline]
            pub const fn difference(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// Sets the flags of `other`.
            #[inline]
            pub fn insert(&mut self, other: Self) {
                *self = self.union(other);
            }

            /// Clears the flags of `other`.
            #[inline]
            pub fn remove(&mut self, other: Self) {
                *self = self.difference(other);
            }

            /// Iterates over the flags that are set, lowest bit first. Bits without a name come
            /// last, together.
            pub fn iter(self) -> impl Iterator<Item = Self> {
                let rest = self.difference(Self::all());
                let rest = (!rest.is_empty()).then_some(rest);
                self.iter_names().map(|(_, flag)| flag).chain(rest)
            }

            /// Iterates over the flags that are set and have a name, lowest bit first.
            pub fn iter_names(self) -> impl Iterator<Item = (&'static str, Self)> {
                Self::FLAGS.iter().copied().filter(move |&(_, flag)| self.contains(flag))
            }
        }

        impl ::core::ops::BitOr for $type {
            type Output = Self;
            #[inline]
            fn bitor(self, other: Self) -> Self {
                self.union(other)
            }
        }

        impl ::core::ops::BitOrAssign for $type {
            #[inline]
            fn bitor_assign(&mut self, other: Self) {
                self.insert(other);
            }
        }

        impl ::core::ops::BitAnd for $type {
            type Output = Self;
            #[inline]
            fn bitand(self, other: Self) -> Self {
                self.intersection(other)
            }
        }

        impl ::core::ops::BitAndAssign for $type {
            #[inline]
            fn bitand_assign(&mut self, other: Self) {
                *self = self.intersection(other);
            }
        }

        impl ::core::ops::Sub for $type {
            type Output = Self;
            #[inline]
            fn sub(self, other: Self) -> Self {
                self.difference(other)
            }
        }

        impl ::core::ops::SubAssign for $type {
            #[inline]
            fn sub_assign(&mut self, other: Self) {
                self.remove(other);
            }
        }

        impl Extend<$type> for $type {
            fn extend<I: IntoIterator<Item = Self>>(&mut self, flags: I) {
                flags.into_iter().for_each(|flag| self.insert(flag));
            }
        }

        impl FromIterator<$type> for $type {
            fn from_iter<I: IntoIterator<Item = Self>>(flags: I) -> Self {
                flags.into_iter().fold(Self::empty(), Self::union)
            }
        }

        /// Writes the names of the flags as in `DSYNC | NOWAIT`. Bits without a name follow in
        /// hexadecimal. Writes `0` for an empty set.
        impl ::core::fmt::Display for $type {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                if self.is_empty() {
                    return f.write_str("0");
                }
                let mut separator = "";
                for (name, _) in self.iter_names() {
                    write!(f, "{separator}{name}")?;
                    separator = " | ";
                }
                match self.difference(Self::all()) {
                    rest if rest.is_empty() => Ok(()),
                    rest => write!(f, "{separator}{:#x}", rest.0),
                }
            }
        }

        impl ::core::fmt::Debug for $type {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                if self.is_empty() {
                    return f.write_str(concat!(stringify!($type), "()"));
                }
                write!(f, concat!(stringify!($type), "({})"), self)
            }
        }
    };
}

pub(super) use set_of_flags;

#[cfg(test)]
mod tests {
    use crate::{PollEvents, RwFlags};
    use std::format;
    use std::vec::Vec;

    #[test]
    fn sets_behave_as_those_of_bitflags() {
        const BOTH: RwFlags = RwFlags::DSYNC.union(RwFlags::NOWAIT);
        assert_eq!(RwFlags::DSYNC | RwFlags::NOWAIT, BOTH);
        assert_eq!(BOTH & RwFlags::NOWAIT, RwFlags::NOWAIT);
        assert_eq!(BOTH - RwFlags::NOWAIT, RwFlags::DSYNC);
        assert!(BOTH.contains(RwFlags::DSYNC) && !RwFlags::DSYNC.contains(BOTH));
        assert!(BOTH.intersects(RwFlags::DSYNC | RwFlags::APPEND));
        assert!(!BOTH.intersects(RwFlags::APPEND) && !BOTH.intersects(RwFlags::empty()));
        assert!(RwFlags::empty().is_empty() && RwFlags::default().is_empty() && !BOTH.is_empty());
        assert_eq!(BOTH.iter().collect::<RwFlags>(), BOTH);
        let mut flags = RwFlags::empty();
        flags.extend([RwFlags::DSYNC, RwFlags::APPEND]);
        flags |= RwFlags::NOWAIT;
        flags.remove(RwFlags::APPEND);
        assert_eq!(flags, BOTH);
        flags &= RwFlags::DSYNC;
        flags -= RwFlags::DSYNC;
        assert_eq!(flags, RwFlags::empty());
    }

    #[test]
    fn bits_without_a_name_are_refused_dropped_or_kept() {
        let bits = RwFlags::SYNC.bits() | 1 << 20;
        assert_eq!(RwFlags::from_bits(bits), None);
        assert_eq!(RwFlags::from_bits(RwFlags::all().bits()), Some(RwFlags::all()));
        assert_eq!(RwFlags::from_bits_truncate(bits), RwFlags::SYNC);
        let kept = RwFlags::from_bits_retain(bits);
        assert_eq!(kept.bits(), bits);
        assert_eq!(kept.iter().map(RwFlags::bits).collect::<Vec<_>>(), [4, 1 << 20]);
        assert_eq!(kept.iter_names().collect::<Vec<_>>(), [("SYNC", RwFlags::SYNC)]);
    }

    #[test]
    fn texts_name_each_flag() {
        let flags = RwFlags::DSYNC | RwFlags::NOWAIT | RwFlags::from_bits_retain(1 << 20);
        assert_eq!(format!("{flags}"), "DSYNC | NOWAIT | 0x100000");
        assert_eq!(format!("{flags:?}"), "RwFlags(DSYNC | NOWAIT | 0x100000)");
        assert_eq!(format!("{} {:?}", RwFlags::empty(), RwFlags::empty()), "0 RwFlags()");
        assert_eq!(format!("{}", PollEvents::IN | PollEvents::HUP), "IN | HUP");
    }
}
