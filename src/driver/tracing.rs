//! A span of the crate `tracing` for each operation of a driver, with the feature `tracing`. It
//! begins with the future, and closes when both the future and the operation are gone.
//!
//! Subscribers are code of users. All of it is called where code of the operation or of a waker may
//! be called as well: never under a lock of the driver. Without the feature, everything here is of
//! no size and does nothing.

#[cfg(feature = "tracing")]
use super::users_code::caught;
use super::users_code::{Payload, prepare};
use crate::{Errno, Operation, Prepared};

#[cfg(not(feature = "tracing"))]
pub(super) use off::{Span, Traced};
#[cfg(feature = "tracing")]
pub(super) use on::{Span, Traced};

#[cfg(feature = "tracing")]
mod on {
    use super::{Errno, Operation, Payload, Prepared, caught, prepare};
    use crate::Iocb;
    use crate::driver::announced::transfers;
    use crate::driver::metrics::name;
    use ::tracing::field::{Empty, debug};
    use ::tracing::span::Entered;
    use ::tracing::trace_span;

    /// The span of an operation on its way through the driver, if somebody wants it.
    pub(in crate::driver) struct Traced {
        span: Span,
        /// True once the span has what the kernel is asked for. Further pieces add nothing.
        prepared: bool,
    }

    impl Traced {
        /// Makes one of no span.
        pub(in crate::driver) fn new() -> Self {
            Self { span: Span(::tracing::Span::none()), prepared: false }
        }

        /// Calls `prepare`. Returns the payload if it, or a subscriber, panicked.
        pub(in crate::driver) fn prepare<'op, O: Operation>(
            &mut self,
            op: &'op mut O,
        ) -> Result<Prepared<'op>, Payload> {
            if self.prepared || self.span.0.is_disabled() {
                return prepare(op);
            }
            self.prepared = true;
            caught(move || {
                let op = op;
                let prepared = op.prepare();
                self.span.prepared(prepared.iocb());
                prepared
            })
        }
    }

    /// The span of an operation. It is disabled unless a subscriber wants it.
    #[derive(Clone)]
    pub(in crate::driver) struct Span(::tracing::Span);

    impl Span {
        /// Makes a child of the current span.
        pub(in crate::driver) fn new() -> Self {
            Self(trace_span!(
                target: "linux_aio",
                "operation",
                kind = Empty,
                fd = Empty,
                offset = Empty,
                length = Empty,
                result = Empty,
                error = Empty,
                left = Empty,
            ))
        }

        /// Returns the same for the way through the driver.
        pub(in crate::driver) fn traced(&self) -> Traced {
            Traced { span: self.clone(), prepared: false }
        }

        pub(in crate::driver) fn enter(&self) -> Entered<'_> {
            self.0.enter()
        }

        /// Records what the kernel is asked for.
        fn prepared(&self, iocb: &Iocb) {
            let (opcode, raw) = (iocb.opcode(), iocb.as_raw());
            self.0.record("kind", name(opcode)).record("fd", raw.aio_fildes as i32);
            if transfers(opcode) {
                self.0.record("offset", raw.aio_offset as u64).record("length", raw.aio_nbytes);
            }
        }

        /// Records the outcome.
        pub(in crate::driver) fn ended(&self, result: Result<u32, Errno>) {
            match result {
                Ok(count) => self.0.record("result", count),
                Err(errno) => self.0.record("error", debug(errno)),
            };
        }

        /// Records why the future leaves the operation to the driver.
        pub(in crate::driver) fn left(&self, why: &'static str) {
            self.0.record("left", why);
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use super::{Errno, Operation, Payload, Prepared, prepare};

    pub(in crate::driver) struct Traced;

    impl Traced {
        #[inline(always)]
        pub(in crate::driver) fn new() -> Self {
            Self
        }

        #[inline(always)]
        pub(in crate::driver) fn prepare<'op, O: Operation>(
            &mut self,
            op: &'op mut O,
        ) -> Result<Prepared<'op>, Payload> {
            prepare(op)
        }
    }

    #[derive(Clone)]
    pub(in crate::driver) struct Span;

    const _: () = assert!(size_of::<Span>() == 0 && size_of::<Traced>() == 0);

    impl Span {
        #[inline(always)]
        pub(in crate::driver) fn new() -> Self {
            Self
        }

        #[inline(always)]
        pub(in crate::driver) fn traced(&self) -> Traced {
            Traced
        }

        #[inline(always)]
        pub(in crate::driver) fn enter(&self) -> Self {
            Self
        }

        #[inline(always)]
        pub(in crate::driver) fn ended(&self, _: Result<u32, Errno>) {}

        #[inline(always)]
        pub(in crate::driver) fn left(&self, _: &'static str) {}
    }
}
