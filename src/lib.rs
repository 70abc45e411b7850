//! Asynchronous disk I/O.
#![no_std]

#[cfg(not(any(target_os = "linux", target_os = "android")))]
compile_error!(
    "linux-aio makes Linux system calls and has nothing to offer on another system; \
     `linux-aio-abi` builds everywhere"
);

pub use linux_aio_abi as abi;
