//! [`Machine`], by which the simulations of a process are told apart.

use crate::Prepared;
use core::task::Waker;

/// The simulation that a driver was made in, if any. Without the feature `sim` this is no code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine(#[cfg(feature = "sim")] Option<usize>);

impl Machine {
    /// Returns the one that the calling thread has entered.
    pub(crate) fn entered() -> Self {
        Self(
            #[cfg(feature = "sim")]
            crate::sys::sim::machine(),
        )
    }

    /// Unwinds if the calling thread has entered another one, or has entered none.
    #[inline(always)]
    pub(crate) fn check(self) {
        #[cfg(feature = "sim")]
        crate::sys::sim::driver_is_used(self.0);
    }

    /// Unwinds also if nobody would let time pass while a future waits that the calling thread
    /// polls.
    #[inline(always)]
    pub(crate) fn check_executor(self) {
        #[cfg(feature = "sim")]
        crate::sys::sim::future_is_polled(self.0);
    }

    /// Unwinds if nobody lets time pass while a future of a local driver waits, outside of the
    /// driver's `block_on`.
    #[inline(always)]
    pub(crate) fn check_waits(self, waker: &Waker) {
        #[cfg(feature = "sim")]
        crate::sys::sim::future_waits(self.0, waker);
        #[cfg(not(feature = "sim"))]
        let _ = waker;
    }
}

/// Returns an operation that has just been prepared for a driver. Unwinds if its file is simulated
/// and the driver is not: the call that submits may be made where nobody would hear of it.
#[inline(always)]
pub(crate) fn checked(prepared: Prepared<'_>) -> Prepared<'_> {
    #[cfg(feature = "sim")]
    crate::sys::sim::operation_is_prepared(prepared.iocb().as_raw().aio_fildes as i32);
    prepared
}
