//! Memory with known edges: [`Guarded`] and the [`Arena`] that operations' buffers come from.
//!
//! Addresses are handed out as numbers. What the kernel may be given lies in here, where nothing
//! else of the process does.

use std::io;
use std::ptr;

/// Where the big reservations are asked for: far from the program, the heap and the stack, and far
/// below the end of the user's half, so that no length up to 4 GiB crosses it.
const PREFERRED: usize = 0x2000_0000_0000;

/// The size of a page.
pub fn page() -> usize {
    rustix::param::page_size()
}

/// Reserves address space in which every access faults.
fn reserve(near: usize, len: usize) -> usize {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let near = ptr::without_provenance_mut(near);
    // SAFETY: A new mapping, not at a fixed address, replaces nothing.
    let at = unsafe { libc::mmap(near, len, libc::PROT_NONE, flags, -1, 0) };
    assert!(at != libc::MAP_FAILED, "mmap: {}", io::Error::last_os_error());
    at.expose_provenance()
}

/// Sets the protection of pages that this module has reserved.
fn protect(at: usize, len: usize, protection: i32) {
    let start = ptr::with_exposed_provenance_mut(at);
    // SAFETY: The pages are a part of a reservation of this module, to which nothing refers yet.
    let done = unsafe { libc::mprotect(start, len, protection) };
    assert_eq!(done, 0, "mprotect: {}", io::Error::last_os_error());
}

/// Zeroed memory with a page on each side that cannot be accessed. It is never unmapped.
#[derive(Clone, Copy, Debug)]
pub struct Guarded {
    start: usize,
    len: usize,
}

impl Guarded {
    /// `len` bytes, rounded up to whole pages.
    pub fn new(len: usize) -> Self {
        let len = len.next_multiple_of(page());
        let at = reserve(0, len + 2 * page());
        protect(at + page(), len, libc::PROT_READ | libc::PROT_WRITE);
        Self { start: at + page(), len }
    }

    /// The first byte's address.
    pub fn start(self) -> usize {
        self.start
    }

    /// The address behind the last byte, which cannot be accessed.
    pub fn end(self) -> usize {
        self.start + self.len
    }

    /// Puts values where they end at `end`, which lies inside, and says where they begin.
    pub fn put_before<T: Copy>(self, end: usize, values: &[T]) -> usize {
        let at = end - size_of_val(values);
        assert!(self.start <= at && end <= self.end(), "it must fit");
        let place = ptr::with_exposed_provenance_mut::<u8>(at);
        // SAFETY: The range lies in memory of this object, to which nobody has references; bytes
        // need no alignment.
        unsafe { place.copy_from(values.as_ptr().cast(), size_of_val(values)) };
        at
    }
}

/// The same page twice: where it can be written, and where it can only be read.
#[derive(Clone, Copy, Debug)]
pub struct TwoViews {
    /// Where it can be written.
    pub writable: usize,
    /// Where it can only be read.
    pub readonly: usize,
}

impl TwoViews {
    /// One page, seen twice.
    pub fn new() -> io::Result<Self> {
        use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
        use std::os::fd::AsRawFd;
        let file = memfd_create("two-views", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, page() as u64)?;
        let map = |protection| {
            let (fd, flags) = (file.as_raw_fd(), libc::MAP_SHARED);
            // SAFETY: A new mapping, not at a fixed address, replaces nothing.
            let at = unsafe { libc::mmap(ptr::null_mut(), page(), protection, flags, fd, 0) };
            assert!(at != libc::MAP_FAILED, "mmap: {}", io::Error::last_os_error());
            at.expose_provenance()
        };
        Ok(Self {
            writable: map(libc::PROT_READ | libc::PROT_WRITE),
            readonly: map(libc::PROT_READ),
        })
    }
}

/// How the pages of a part of the arena may be accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    ReadWrite,
    ReadOnly,
    None,
}

/// What operations' buffers come from: parts that can be written, only read, and not accessed, in
/// a reservation so large that no transfer which begins in it leaves it.
///
/// ```text
///  none (16 pages) │ read-write (16) │ read-only (4) │ none (4) │ read-write (4) │ none (4 GiB)
/// ```
#[derive(Debug)]
pub struct Arena {
    parts: [(usize, Access); 6],
    end: usize,
}

/// More than the kernel transfers at a time (`MAX_RW_COUNT`, 2 GiB less a page).
const TAIL: usize = 4 << 30;

impl Arena {
    /// A new one. It is never unmapped.
    pub fn new() -> Self {
        let layout = [
            (16, Access::None),
            (16, Access::ReadWrite),
            (4, Access::ReadOnly),
            (4, Access::None),
            (4, Access::ReadWrite),
        ];
        let pages: usize = layout.iter().map(|(count, _)| count).sum();
        let start = reserve(PREFERRED, pages * page() + TAIL);
        let mut at = start;
        let mut parts = [(0, Access::None); 6];
        for (part, (count, access)) in parts.iter_mut().zip(layout) {
            *part = (at, access);
            match access {
                Access::ReadWrite => {
                    protect(at, count * page(), libc::PROT_READ | libc::PROT_WRITE);
                }
                Access::ReadOnly => protect(at, count * page(), libc::PROT_READ),
                Access::None => {}
            }
            at += count * page();
        }
        parts[5] = (at, Access::None);
        Self { parts, end: at + TAIL }
    }

    /// Where the parts begin.
    pub fn edges(&self) -> [usize; 6] {
        self.parts.map(|(at, _)| at)
    }

    /// Where the part begins that can be read, but not written. It stays zero.
    pub fn readonly(&self) -> usize {
        self.parts[2].0
    }

    /// Whether the arena reaches over all of it.
    pub fn contains(&self, at: usize, len: usize) -> bool {
        at >= self.parts[0].0 && len <= TAIL && at + len <= self.end
    }

    /// How many bytes from `at` on, of `len`, the kernel can access before it faults. Outside of
    /// the arena none.
    pub fn accessible(&self, at: usize, len: usize, to_write: bool) -> usize {
        if at < self.parts[0].0 || at >= self.end {
            return 0;
        }
        let mut reached = at;
        for (i, &(start, access)) in self.parts.iter().enumerate() {
            let end = self.parts.get(i + 1).map_or(self.end, |&(next, _)| next);
            if reached < start || reached >= end {
                continue;
            }
            let allowed = match access {
                Access::ReadWrite => true,
                Access::ReadOnly => !to_write,
                Access::None => false,
            };
            if !allowed {
                break;
            }
            reached = end;
        }
        len.min(reached - at)
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{Arena, page};

    #[test]
    fn a_transfer_stops_at_the_first_page_that_faults() {
        let arena = Arena::new();
        let [none, both, readonly, hole, both_again, _] = arena.edges();
        assert_eq!(arena.accessible(none, 1, false), 0);
        assert_eq!(arena.accessible(both, 10, true), 10);
        assert_eq!(arena.accessible(both, 1 << 30, true), 16 * page());
        assert_eq!(arena.accessible(both, 1 << 30, false), 20 * page());
        assert_eq!(arena.accessible(readonly, 1, true), 0);
        assert_eq!(arena.accessible(hole - 1, 2, false), 1);
        assert_eq!(arena.accessible(both_again, 1 << 30, true), 4 * page());
        assert_eq!(arena.accessible(0, 1, false), 0);
    }
}
