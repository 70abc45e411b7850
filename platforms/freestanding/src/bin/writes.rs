//! How a block device takes writes with each flag of an operation, through `O_DIRECT` and through
//! the page cache.
//!
//! ```text
//! writes DEVICE
//! ```
//!
//! writes the first 4096 bytes of the device again and again. One line each, `NAME LATER WITHIN
//! ERRNO`: of 32 writes, how many were done after `io_submit` had returned and how many within
//! it, and the errno of the one that failed, or 0; no more are tried then.
#![no_std]
#![no_main]

use core::ffi::CStr;
use core::mem::MaybeUninit;

use linux_aio::{Errno, IoContext, Iocb, RwFlags};
use linux_aio_freestanding::Arguments;
use linux_aio_freestanding::kernel::{self, O_DIRECT, flag};
use linux_aio_freestanding::print::{print, print_number};
use linux_aio_freestanding::transfer::{Failure, context};

const TIMES: i64 = 32;
const FLAGS: [(&str, RwFlags); 6] = [
    ("plain", RwFlags::empty()),
    ("nowait", RwFlags::NOWAIT),
    ("atomic", RwFlags::ATOMIC),
    ("dsync", RwFlags::DSYNC),
    ("append", RwFlags::APPEND),
    ("dontcache", RwFlags::DONTCACHE),
];

/// Memory that O_DIRECT takes. Written from only, so that it may be shared with the kernel.
#[repr(C, align(4096))]
struct Block([u8; 4096]);

static BLOCK: Block = Block([0x5a; 4096]);

/// How a write was done.
enum Done {
    Later,
    Within,
}

fn write(context: &mut IoContext, file: i32, flags: RwFlags) -> Result<Done, Errno> {
    let data = (&raw const BLOCK.0).cast_mut().cast();
    let mut iocb = Iocb::pwrite(file, data, BLOCK.0.len(), 0).rw_flags(flags);
    let (submitter, mut reaper) = context.split();
    // SAFETY: The iocb is a local that is valid during the call, and never cancelled. The kernel
    // only reads the data, which is static.
    unsafe { submitter.submit(&[&raw mut iocb]) }?;
    let mut events = [MaybeUninit::uninit()];
    if let [event] = reaper.reap(&mut events)? {
        return event.result().map(|_| Done::Within);
    }
    loop {
        if let [event] = reaper.wait(1, None, &mut events)? {
            return event.result().map(|_| Done::Later);
        }
    }
}

fn measure(context: &mut IoContext, file: i32, flags: RwFlags) {
    let (mut later, mut within, mut error) = (0, 0, 0);
    while later + within < TIMES && error == 0 {
        match write(context, file, flags) {
            Ok(Done::Later) => later += 1,
            Ok(Done::Within) => within += 1,
            Err(errno) => error = errno.as_raw(),
        }
    }
    for number in [later, within, i64::from(error)] {
        print(" ");
        print_number(number);
    }
    print("\n");
}

fn work(path: &CStr) -> Result<(), Failure> {
    let mut context = context()?;
    for (how, open_flags) in [("direct_", O_DIRECT), ("buffered_", 0)] {
        let file = kernel::open(path, flag::O_RDWR | open_flags, 0)
            .map_err(|errno| Failure::System("open", errno))?;
        let device =
            kernel::is_block_device(file).map_err(|errno| Failure::System("statx", errno))?;
        if !device {
            return Err(Failure::Wrong("this is not a block device"));
        }
        for (name, flags) in FLAGS {
            print(how);
            print(name);
            measure(&mut context, file, flags);
        }
    }
    Ok(())
}

// SAFETY: The only function of this name, with the signature that the entry point declares.
#[unsafe(no_mangle)]
fn program(arguments: Arguments) -> i32 {
    let Some(path) = arguments.get(1) else {
        print("usage: writes DEVICE\n");
        return 2;
    };
    if let Err(failure) = work(path) {
        failure.print();
        return 1;
    }
    0
}
