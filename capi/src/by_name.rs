//! The functions that the program has under these C names: those of `calls`, or others that replace
//! them.
//!
//! The functions of the convenience layer and those of LIBAIO_0.1 call the others by these names,
//! as in the original. A program or a preloaded library that has a function of such a name gets
//! these calls.

use core::ffi::{c_int, c_long};

use linux_aio_raw::abi::{io_event, iocb};

use crate::context::{Timespec, io_context_t};

unsafe extern "C" {
    pub(crate) fn io_setup(maxevents: c_int, ctxp: *mut io_context_t) -> c_int;
    pub(crate) fn io_destroy(ctx: io_context_t) -> c_int;
    pub(crate) fn io_cancel(ctx: io_context_t, iocb: *mut iocb, evt: *mut io_event) -> c_int;
    pub(crate) fn io_getevents(
        ctx: io_context_t,
        min_nr: c_long,
        nr: c_long,
        events: *mut io_event,
        timeout: *mut Timespec,
    ) -> c_int;
}
