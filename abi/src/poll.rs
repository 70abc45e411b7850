//! Event bits of [`IOCB_CMD_POLL`](crate::IOCB_CMD_POLL), as `asm/poll.h` has them.
//!
//! It must never hold a bit that the kernel's header lacks. The type is `u16` because the kernel
//! refuses an event mask that does not fit into 16 bits.

/// Data can be read (`asm/poll.h`, `poll(2)`).
pub const POLLIN: u16 = 0x0001;
/// An exceptional condition, such as out-of-band data (`asm/poll.h`, `poll(2)`).
pub const POLLPRI: u16 = 0x0002;
/// Data can be written (`asm/poll.h`, `poll(2)`).
pub const POLLOUT: u16 = 0x0004;
/// An error; reported whether asked for or not (`asm/poll.h`, `poll(2)`).
pub const POLLERR: u16 = 0x0008;
/// The other end hung up; reported whether asked for or not (`asm/poll.h`, `poll(2)`).
pub const POLLHUP: u16 = 0x0010;
/// Not an open file (`asm/poll.h`, `poll(2)`). AIO says `EBADF` at submission instead.
pub const POLLNVAL: u16 = 0x0020;
/// Normal data can be read (`asm/poll.h`, `poll(2)`).
pub const POLLRDNORM: u16 = 0x0040;
/// Priority band data can be read (`asm/poll.h`, `poll(2)`).
pub const POLLRDBAND: u16 = 0x0080;

/// Normal data can be written (`asm/poll.h`, `poll(2)`): 0x100, but [`POLLOUT`] on MIPS, SPARC and
/// m68k.
#[cfg(not(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6",
    target_arch = "sparc",
    target_arch = "sparc64",
    target_arch = "m68k"
)))]
pub const POLLWRNORM: u16 = 0x0100;
/// Priority band data can be written (`asm/poll.h`, `poll(2)`): 0x200, but 0x100 on MIPS, SPARC and
/// m68k.
#[cfg(not(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6",
    target_arch = "sparc",
    target_arch = "sparc64",
    target_arch = "m68k"
)))]
pub const POLLWRBAND: u16 = 0x0200;

/// Normal data can be written (`asm/poll.h`, `poll(2)`): 0x100, but [`POLLOUT`] on MIPS, SPARC and
/// m68k.
#[cfg(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6",
    target_arch = "sparc",
    target_arch = "sparc64",
    target_arch = "m68k"
))]
pub const POLLWRNORM: u16 = POLLOUT;
/// Priority band data can be written (`asm/poll.h`, `poll(2)`): 0x200, but 0x100 on MIPS, SPARC and
/// m68k.
#[cfg(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6",
    target_arch = "sparc",
    target_arch = "sparc64",
    target_arch = "m68k"
))]
pub const POLLWRBAND: u16 = 0x0100;

/// In the header, but reported by no file (`asm/poll.h`): 0x400, but 0x200 on SPARC.
#[cfg(not(any(target_arch = "sparc", target_arch = "sparc64")))]
pub const POLLMSG: u16 = 0x0400;
/// In the header, but reported by no file (`asm/poll.h`): 0x1000, but 0x400 on SPARC.
#[cfg(not(any(target_arch = "sparc", target_arch = "sparc64")))]
pub const POLLREMOVE: u16 = 0x1000;
/// The other end shut down its writing half (`asm/poll.h`, `poll(2)`): 0x2000, but 0x800 on SPARC.
#[cfg(not(any(target_arch = "sparc", target_arch = "sparc64")))]
pub const POLLRDHUP: u16 = 0x2000;

/// In the header, but reported by no file (`asm/poll.h`): 0x400, but 0x200 on SPARC.
#[cfg(any(target_arch = "sparc", target_arch = "sparc64"))]
pub const POLLMSG: u16 = 0x0200;
/// In the header, but reported by no file (`asm/poll.h`): 0x1000, but 0x400 on SPARC.
#[cfg(any(target_arch = "sparc", target_arch = "sparc64"))]
pub const POLLREMOVE: u16 = 0x0400;
/// The other end shut down its writing half (`asm/poll.h`, `poll(2)`): 0x2000, but 0x800 on SPARC.
#[cfg(any(target_arch = "sparc", target_arch = "sparc64"))]
pub const POLLRDHUP: u16 = 0x0800;
