//! The C names and versions of the functions, as the linker is to see them.
//!
//! Two @ make the default version of a name, one makes a hidden one. The Rust functions keep their
//! mangled, local names: three C names belong to two functions each, which an exported Rust name
//! could not say. A name must also be listed in its node in the version maps, or the linker drops
//! it.

use core::arch::global_asm;

use crate::{calls, compat, queue};

global_asm!(
    ".globl {queue_init}", ".symver {queue_init}, io_queue_init@@LIBAIO_0.1",
    ".globl {queue_run}", ".symver {queue_run}, io_queue_run@@LIBAIO_0.1",
    ".globl {queue_release}", ".symver {queue_release}, io_queue_release@@LIBAIO_0.1",
    ".globl {submit}", ".symver {submit}, io_submit@@LIBAIO_0.1",
    ".globl {old_cancel}", ".symver {old_cancel}, io_cancel@LIBAIO_0.1",
    ".globl {old_getevents}", ".symver {old_getevents}, io_getevents@LIBAIO_0.1",
    ".globl {old_queue_wait}", ".symver {old_queue_wait}, io_queue_wait@LIBAIO_0.1",
    ".globl {setup}", ".symver {setup}, io_setup@@LIBAIO_0.4",
    ".globl {destroy}", ".symver {destroy}, io_destroy@@LIBAIO_0.4",
    ".globl {cancel}", ".symver {cancel}, io_cancel@@LIBAIO_0.4",
    ".globl {getevents}", ".symver {getevents}, io_getevents@@LIBAIO_0.4",
    ".globl {queue_wait}", ".symver {queue_wait}, io_queue_wait@@LIBAIO_0.4",
    ".globl {pgetevents}", ".symver {pgetevents}, io_pgetevents@@LIBAIO_0.5",
    queue_init = sym queue::io_queue_init,
    queue_run = sym queue::io_queue_run,
    queue_release = sym queue::io_queue_release,
    submit = sym calls::io_submit,
    old_cancel = sym compat::io_cancel,
    old_getevents = sym compat::io_getevents,
    old_queue_wait = sym compat::io_queue_wait,
    setup = sym calls::io_setup,
    destroy = sym calls::io_destroy,
    cancel = sym calls::io_cancel,
    getevents = sym calls::io_getevents,
    queue_wait = sym queue::io_queue_wait,
    pgetevents = sym calls::io_pgetevents,
);

#[cfg(target_pointer_width = "32")]
global_asm!(
    ".globl {getevents}", ".symver {getevents}, io_getevents_time64@@LIBAIO_0.6",
    ".globl {pgetevents}", ".symver {pgetevents}, io_pgetevents_time64@@LIBAIO_0.6",
    getevents = sym crate::time64::io_getevents_time64,
    pgetevents = sym crate::time64::io_pgetevents_time64,
);
