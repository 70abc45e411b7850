//! What the library's module of this name has, of loom's types, and with bounds that end soon.
//!
//! Loom takes an access with SeqCst for one with acquire and release. So a load with SeqCst has a
//! fence before it here. The gate uses SeqCst for one thing only, that of two threads which both
//! write one place and then read the other's, one sees what the other wrote; for this the fence is
//! as good.

use std::fmt;

pub(crate) use loom::sync::atomic::Ordering;
use loom::sync::atomic::fence;

pub(crate) const TAG_BITS: u32 = 2;
pub(crate) const PATIENCE: u32 = 0;
pub(crate) const ATTEMPTS: u32 = 2;

pub(crate) fn pause() {
    loom::thread::yield_now();
}

pub(crate) fn wait(round: u32) -> bool {
    loom::thread::yield_now();
    round < 2
}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        pub(crate) struct $name(loom::sync::atomic::$name);

        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                if order == Ordering::SeqCst {
                    fence(Ordering::SeqCst);
                }
                self.0.load(order)
            }

            #[cfg(test)]
            #[allow(dead_code, reason = "not of every type")]
            pub(crate) fn store(&self, value: $value, order: Ordering) {
                self.0.store(value, order);
            }

            #[cfg(test)]
            #[allow(dead_code, reason = "not of every type")]
            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                self.0.swap(value, order)
            }

            #[allow(dead_code, reason = "not of every type")]
            pub(crate) fn compare_exchange(
                &self,
                old: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.0.compare_exchange(old, new, success, failure)
            }

            #[allow(dead_code, reason = "not of every type")]
            pub(crate) fn compare_exchange_weak(
                &self,
                old: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.0.compare_exchange(old, new, success, failure)
            }

            #[allow(dead_code, reason = "not of every type")]
            pub(crate) fn fetch_update(
                &self,
                success: Ordering,
                failure: Ordering,
                f: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                self.0.fetch_update(success, failure, f)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new(0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);
atomic!(AtomicUsize, usize);
