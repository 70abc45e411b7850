//! [`Transfer`], the memory that a read or write names.

use super::max_rw_count;
use crate::memory::Arena;
use libc::{EFAULT, EINVAL};
use linux_aio::abi::iovec;

/// The end of the user's half of the address space, where the architecture keeps the two apart by
/// the address alone.
#[cfg(target_arch = "x86_64")]
const USER_END: Option<u64> = Some((1 << 47) - 4096);
/// Not known here: whether an address of the kernel's is refused at once or faults later is left
/// open.
#[cfg(not(target_arch = "x86_64"))]
const USER_END: Option<u64> = None;

/// The memory of a read or write as the kernel takes it in before the transfer begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// How many bytes are asked for, after the kernel's own limit.
    pub total: usize,
    /// How many of them, from the first on, can be reached before a fault.
    pub prefix: usize,
    /// Every address is a multiple of it, and so is every length but those of empty segments: the
    /// bits that are set in any of them.
    pub addresses: usize,
    /// The bits that are set in any length.
    pub lengths: usize,
}

/// `access_ok` of the kernel.
fn is_users(at: u64, len: u64) -> bool {
    match USER_END {
        Some(end) => at.checked_add(len).is_some_and(|sum| sum <= end),
        None => true,
    }
}

impl Transfer {
    const NONE: Self = Self { total: 0, prefix: 0, addresses: 0, lengths: 0 };

    /// One buffer (`import_ubuf`).
    pub fn of_buffer(arena: &Arena, at: u64, len: u64, to_write: bool) -> Result<Self, i32> {
        let len = (len as usize).min(max_rw_count());
        if !is_users(at, len as u64) {
            return Err(EFAULT);
        }
        let mut transfer = Self::NONE;
        transfer.add(arena, at as usize, len, to_write);
        Ok(transfer)
    }

    /// Several buffers (`__import_iovec`). The count is a C `unsigned` there.
    ///
    /// `at` is the address of `known` if the kernel can read them all, of which more may be asked
    /// for than there are.
    pub fn of_vector(
        arena: &Arena,
        known: &[iovec],
        at: u64,
        count: u64,
        to_write: bool,
    ) -> Result<Self, i32> {
        let count = count as u32 as usize;
        if count == 0 {
            return Ok(Self::NONE);
        }
        if count > libc::UIO_MAXIOV as usize {
            return Err(EINVAL);
        }
        if !is_users(at, 16 * count as u64) {
            return Err(EFAULT);
        }
        for i in 0..count {
            let segment = known.get(i).ok_or(EFAULT)?;
            if (segment.iov_len as isize) < 0 {
                return Err(EINVAL);
            }
        }
        if let [one] = known[..count] {
            return Self::of_buffer(arena, one.iov_base as u64, one.iov_len as u64, to_write);
        }
        Self::of_segments(arena, &known[..count], to_write)
    }

    fn of_segments(arena: &Arena, segments: &[iovec], to_write: bool) -> Result<Self, i32> {
        let mut transfer = Self::NONE;
        for segment in segments {
            // Before the limit on the total, which a buffer of its own has applied by now.
            if !is_users(segment.iov_base as u64, segment.iov_len as u64) {
                return Err(EFAULT);
            }
            let len = segment.iov_len.min(max_rw_count() - transfer.total);
            transfer.add(arena, segment.iov_base, len, to_write);
        }
        Ok(transfer)
    }

    fn add(&mut self, arena: &Arena, at: usize, len: usize, to_write: bool) {
        if len == 0 {
            return;
        }
        if self.prefix == self.total {
            self.prefix += arena.accessible(at, len, to_write);
        }
        self.total += len;
        self.addresses |= at;
        self.lengths |= len;
    }

    /// How many of `count` bytes, after the first `done`, can be reached before a fault.
    pub fn reachable(&self, done: usize, count: usize) -> usize {
        count.min(self.prefix.saturating_sub(done))
    }

    /// A transfer of `count` bytes that stops where it faults: what it gives.
    pub fn up_to(&self, count: usize) -> i64 {
        let moved = self.reachable(0, count.min(self.total));
        if moved == 0 && count > 0 && self.total > 0 {
            return -i64::from(EFAULT);
        }
        moved as i64
    }
}
