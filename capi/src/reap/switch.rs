//! The switch at run time: the environment variable `LINUX_AIO_REAP`, as it was when the program started.
//!
//! It must never need more of /proc than there is: without it the default holds.

use core::mem::MaybeUninit;
use core::slice;

use linux_aio_raw::sys::helper;

/// What turns it off, with the end of the string.
const OFF: &[u8] = b"LINUX_AIO_REAP=0\0";

/// Whether the variable is anything but "0", or not there.
pub(crate) fn is_on() -> bool {
    let fd = helper::open_for_reading(c"/proc/self/environ");
    if fd < 0 {
        return true;
    }
    let fd = fd as i32;
    let mut search = Search { matched: Some(0) };
    let mut buffer = MaybeUninit::<[u8; 256]>::uninit();
    let start = buffer.as_mut_ptr().cast::<u8>();
    let found = loop {
        // SAFETY: `start` is the room of 256 bytes.
        let length = unsafe { helper::read_to(fd, start, 256) };
        if length <= 0 {
            break false;
        }
        // SAFETY: The kernel says that it has written so many bytes there.
        let text = unsafe { slice::from_raw_parts(start, length as usize) };
        if text.iter().any(|&byte| search.ends_with(byte)) {
            break true;
        }
    };
    // SAFETY: Opened above, and known to nobody else.
    unsafe { helper::close(fd) };
    !found
}

/// Looks for [`OFF`] among strings that come in pieces.
struct Search {
    /// How much of it this string begins with; `None` once the string is another.
    matched: Option<usize>,
}

impl Search {
    /// Whether the string is complete with this byte.
    fn ends_with(&mut self, byte: u8) -> bool {
        self.matched = match self.matched {
            Some(at) if OFF.get(at) == Some(&byte) => Some(at + 1),
            _ if byte == 0 => Some(0),
            _ => None,
        };
        self.matched == Some(OFF.len())
    }
}
