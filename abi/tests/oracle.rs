//! Goal: numbers, constants and the request's layout agree with the `libc` crate, which is kept by
//! others from other sources.
//!
//! Method: each item that both crates have for this target is compared.

#![cfg(any(target_os = "linux", target_os = "android"))]

use linux_aio_abi::helper;
use linux_aio_abi::syscall::NATIVE;

#[allow(clippy::useless_conversion, reason = "c_long has 32 bits on other targets")]
#[test]
fn system_call_numbers_are_those_of_libc() {
    for (name, ours, theirs) in [
        ("io_setup", NATIVE.io_setup, libc::SYS_io_setup),
        ("io_destroy", NATIVE.io_destroy, libc::SYS_io_destroy),
        ("io_submit", NATIVE.io_submit, libc::SYS_io_submit),
        ("io_cancel", NATIVE.io_cancel, libc::SYS_io_cancel),
        ("eventfd2", NATIVE.eventfd2, libc::SYS_eventfd2),
        ("munmap", NATIVE.munmap, libc::SYS_munmap),
        ("madvise", NATIVE.madvise, libc::SYS_madvise),
        ("kill", NATIVE.kill, libc::SYS_kill),
        ("getpid", NATIVE.getpid, libc::SYS_getpid),
        ("read", NATIVE.read, libc::SYS_read),
        ("write", NATIVE.write, libc::SYS_write),
        ("close", NATIVE.close, libc::SYS_close),
        ("openat", NATIVE.openat, libc::SYS_openat),
    ] {
        assert_eq!(i64::from(ours), i64::from(theirs), "{name}");
    }
}

/// riscv32 has none of these three, and 32-bit architectures have mmap2.
#[cfg(target_pointer_width = "64")]
#[test]
fn system_call_numbers_of_64_bit_architectures_are_those_of_libc() {
    let number = |theirs: libc::c_long| u32::try_from(theirs).ok();
    assert_eq!(NATIVE.io_getevents, number(libc::SYS_io_getevents));
    assert_eq!(NATIVE.futex, number(libc::SYS_futex));
    #[cfg(not(target_arch = "powerpc64"))]
    assert_eq!(NATIVE.sync_file_range, number(libc::SYS_sync_file_range));
    assert_eq!(Some(NATIVE.mmap), number(libc::SYS_mmap));
    assert_eq!(NATIVE.io_pgetevents_time64, None);
    assert_eq!(NATIVE.futex_time64, None);
}

/// Of the targets that Rust has a std for, `libc` names the call only on these.
#[cfg(all(target_pointer_width = "64", target_env = "musl"))]
#[test]
fn io_pgetevents_is_that_of_libc() {
    assert_eq!(NATIVE.io_pgetevents, u32::try_from(libc::SYS_io_pgetevents).ok());
}

#[cfg(any(target_arch = "x86", target_arch = "arm"))]
#[test]
fn mmap_of_32_bit_architectures_is_mmap2() {
    assert_eq!(i64::from(NATIVE.mmap), i64::from(libc::SYS_mmap2));
}

#[test]
fn flags_are_those_of_libc() {
    for (name, ours, theirs) in [
        ("RWF_HIPRI", linux_aio_abi::RWF_HIPRI, libc::RWF_HIPRI),
        ("RWF_DSYNC", linux_aio_abi::RWF_DSYNC, libc::RWF_DSYNC),
        ("RWF_SYNC", linux_aio_abi::RWF_SYNC, libc::RWF_SYNC),
        ("RWF_NOWAIT", linux_aio_abi::RWF_NOWAIT, libc::RWF_NOWAIT),
        ("RWF_APPEND", linux_aio_abi::RWF_APPEND, libc::RWF_APPEND),
        ("RWF_NOAPPEND", linux_aio_abi::RWF_NOAPPEND, libc::RWF_NOAPPEND),
        ("RWF_ATOMIC", linux_aio_abi::RWF_ATOMIC, libc::RWF_ATOMIC),
        ("RWF_DONTCACHE", linux_aio_abi::RWF_DONTCACHE, libc::RWF_DONTCACHE),
    ] {
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
fn helper_constants_are_those_of_libc() {
    for (name, ours, theirs) in [
        ("O_CLOEXEC", helper::O_CLOEXEC, libc::O_CLOEXEC),
        ("O_RDONLY", helper::O_RDONLY, libc::O_RDONLY),
        ("AT_FDCWD", helper::AT_FDCWD, libc::AT_FDCWD),
        ("EFD_CLOEXEC", helper::EFD_CLOEXEC, libc::EFD_CLOEXEC),
        ("EFD_NONBLOCK", helper::EFD_NONBLOCK, libc::EFD_NONBLOCK),
        ("PROT_NONE", helper::PROT_NONE, libc::PROT_NONE),
        ("PROT_READ", helper::PROT_READ, libc::PROT_READ),
        ("PROT_WRITE", helper::PROT_WRITE, libc::PROT_WRITE),
        ("MAP_PRIVATE", helper::MAP_PRIVATE, libc::MAP_PRIVATE),
        ("MAP_ANONYMOUS", helper::MAP_ANONYMOUS, libc::MAP_ANONYMOUS),
        ("MADV_DONTFORK", helper::MADV_DONTFORK, libc::MADV_DONTFORK),
        ("MADV_DOFORK", helper::MADV_DOFORK, libc::MADV_DOFORK),
        ("MADV_WIPEONFORK", helper::MADV_WIPEONFORK, libc::MADV_WIPEONFORK),
        ("MADV_KEEPONFORK", helper::MADV_KEEPONFORK, libc::MADV_KEEPONFORK),
        ("SIGKILL", helper::SIGKILL, libc::SIGKILL),
        ("FUTEX_WAIT", helper::FUTEX_WAIT, libc::FUTEX_WAIT),
        ("FUTEX_WAKE", helper::FUTEX_WAKE, libc::FUTEX_WAKE),
        ("FUTEX_PRIVATE_FLAG", helper::FUTEX_PRIVATE_FLAG, libc::FUTEX_PRIVATE_FLAG),
    ] {
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
fn poll_bits_are_those_of_libc() {
    for (name, ours, theirs) in [
        ("POLLIN", linux_aio_abi::POLLIN, libc::POLLIN),
        ("POLLPRI", linux_aio_abi::POLLPRI, libc::POLLPRI),
        ("POLLOUT", linux_aio_abi::POLLOUT, libc::POLLOUT),
        ("POLLERR", linux_aio_abi::POLLERR, libc::POLLERR),
        ("POLLHUP", linux_aio_abi::POLLHUP, libc::POLLHUP),
        ("POLLNVAL", linux_aio_abi::POLLNVAL, libc::POLLNVAL),
        ("POLLRDNORM", linux_aio_abi::POLLRDNORM, libc::POLLRDNORM),
        ("POLLRDBAND", linux_aio_abi::POLLRDBAND, libc::POLLRDBAND),
        ("POLLWRNORM", linux_aio_abi::POLLWRNORM, libc::POLLWRNORM),
        ("POLLWRBAND", linux_aio_abi::POLLWRBAND, libc::POLLWRBAND),
    ] {
        assert_eq!(i64::from(ours), i64::from(theirs), "{name}");
    }
}

/// Not all C libraries' modules of `libc` have it.
#[cfg(target_env = "gnu")]
#[test]
fn pollrdhup_is_that_of_libc() {
    assert_eq!(i64::from(linux_aio_abi::POLLRDHUP), i64::from(libc::POLLRDHUP));
}

#[test]
fn io_vector_has_the_layout_of_libc() {
    use linux_aio_abi::iovec;

    assert_eq!(size_of::<iovec>(), size_of::<libc::iovec>());
    assert_eq!(align_of::<iovec>(), align_of::<libc::iovec>());
    assert_eq!(
        core::mem::offset_of!(iovec, iov_base),
        core::mem::offset_of!(libc::iovec, iov_base)
    );
    assert_eq!(core::mem::offset_of!(iovec, iov_len), core::mem::offset_of!(libc::iovec, iov_len));
}

/// `aio_reserved2` is private in `libc`, so its place follows from its neighbours'.
#[cfg(target_env = "gnu")]
#[test]
fn request_has_the_layout_of_libc() {
    use linux_aio_abi::iocb;

    assert_eq!(size_of::<iocb>(), size_of::<libc::iocb>());
    assert_eq!(align_of::<iocb>(), align_of::<libc::iocb>());
    macro_rules! same_place {
        ($($field:ident)*) => {$(
            assert_eq!(
                core::mem::offset_of!(iocb, $field),
                core::mem::offset_of!(libc::iocb, $field),
                stringify!($field),
            );
        )*};
    }
    same_place!(aio_data aio_key aio_rw_flags aio_lio_opcode aio_reqprio aio_fildes aio_buf
        aio_nbytes aio_offset aio_flags aio_resfd);
}

/// The kernel's set must not be mistaken for the C library's, which is larger.
#[test]
fn kernel_signal_set_is_smaller_than_libc_s() {
    assert_eq!(size_of::<linux_aio_abi::sigset_t>(), linux_aio_abi::SIGSET_SIZE);
    assert!(linux_aio_abi::SIGSET_SIZE <= size_of::<libc::sigset_t>());
}
