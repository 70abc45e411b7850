//! A span of the crate `tracing` for each operation of a driver, with the feature `tracing`. It
//! begins with the future, and closes when both the future and the operation are gone.
//!
//! Subscribers are code of users. All of it is called where code of the operation or of a waker may
//! be called as well: never under a lock of the driver. Without the feature, everything here is of
//! no size and does nothing.

use super::held::{Erased, Held};
use crate::{Errno, Operation};

#[cfg(not(feature = "tracing"))]
pub(super) use off::{Span, downcast, erase};
#[cfg(feature = "tracing")]
pub(super) use on::{Span, downcast, erase};

#[cfg(feature = "tracing")]
mod on {
    use super::{Erased, Errno, Held, Operation};
    use crate::driver::announced::transfers;
    use crate::driver::metrics::name;
    use crate::{EventResult, Iocb, Prepared};
    use ::tracing::field::{Empty, debug};
    use ::tracing::span::Entered;
    use ::tracing::trace_span;
    use core::any::TypeId;

    /// An operation whose span somebody wants.
    struct Traced<O> {
        op: Held<O>,
        span: Span,
        /// True once the span has what the kernel is asked for. Further pieces add nothing.
        prepared: bool,
    }

    impl<O: Operation> Operation for Traced<O> {
        fn prepare(&mut self) -> Prepared<'_> {
            let prepared = self.op.prepare();
            if !self.prepared {
                self.prepared = true;
                self.span.prepared(prepared.iocb());
            }
            prepared
        }

        fn goes_on(&mut self, outcome: EventResult) -> bool {
            self.op.goes_on(outcome)
        }
    }

    /// Gives the operation its span for the way through the driver, if that is enabled.
    pub(in crate::driver) fn erase<O>(op: Held<O>, span: Span) -> Held<dyn Erased + Send>
    where
        O: Operation + Send + 'static,
    {
        if span.0.is_disabled() {
            return op.erase_sent();
        }
        Held::new(Traced { op, span, prepared: false }).erase_sent()
    }

    /// Returns the operation in its own type again.
    pub(in crate::driver) fn downcast<O>(op: Held<dyn Erased + Send>) -> Held<O>
    where
        O: Operation + 'static,
    {
        if op.id() != TypeId::of::<Traced<O>>() {
            return op.downcast();
        }
        let Traced { op, .. } = op.downcast::<Traced<O>>().into_inner();
        op
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
    use super::{Erased, Errno, Held, Operation};

    #[inline(always)]
    pub(in crate::driver) fn erase<O>(op: Held<O>, _: Span) -> Held<dyn Erased + Send>
    where
        O: Operation + Send + 'static,
    {
        op.erase_sent()
    }

    #[inline(always)]
    pub(in crate::driver) fn downcast<O: 'static>(op: Held<dyn Erased + Send>) -> Held<O> {
        op.downcast()
    }

    #[derive(Clone)]
    pub(in crate::driver) struct Span;

    const _: () = assert!(size_of::<Span>() == 0);

    impl Span {
        #[inline(always)]
        pub(in crate::driver) fn new() -> Self {
            Self
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
