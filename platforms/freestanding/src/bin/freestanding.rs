//! Asynchronous disk I/O without a C library: writes a file and reads it back through
//! `IoContext::scope`, with completions taken off the ring, and checks every byte.
//!
//! ```text
//! freestanding FILE
//! ```
#![no_std]
#![no_main]

use core::ffi::CStr;

use linux_aio_freestanding::Arguments;
use linux_aio_freestanding::print::{print, print_number};
use linux_aio_freestanding::transfer::{BLOCKS, Failure, context, out_and_back};

fn work(path: &CStr) -> Result<(), Failure> {
    let mut context = context()?;
    if !context.uses_ring() {
        return Err(Failure::Wrong("the ring cannot be read"));
    }
    out_and_back(&mut context, path)
}

// SAFETY: The only function of this name, with the signature that the entry point declares.
#[unsafe(no_mangle)]
fn program(arguments: Arguments) -> i32 {
    let Some(path) = arguments.get(1) else {
        print("usage: freestanding FILE\n");
        return 2;
    };
    if let Err(failure) = work(path) {
        failure.print();
        return 1;
    }
    print_number(BLOCKS as i64);
    print(" blocks written, read back and checked\n");
    0
}
