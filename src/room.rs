//! [`Room`], the memory that a read fills, and [`Filled`], how much of it has been filled.
//!
//! # Why the count can be trusted
//!
//! Memory that is not initialised is lent together with a record, a [`Filled`]. The engine adds the
//! kernel's count to the record when it takes the event, before the loan ends. So the count goes
//! the way of the bytes, and no code of the user's is between the two. Nothing is handed out that
//! could be kept, forged or given to another buffer. An operation that wraps another needs to know
//! nothing of it. If the event never comes, the count is not added, and the bytes stay hidden.
//!
//! The record is counted only through the pointer that was lent, for as long as the loan lasts. So
//! neither the memory nor the record can be freed, moved or replaced before. After the event they
//! move together.
//!
//! A read to several rooms has one count, and a record for each room. [`Rooms`] chains the records:
//! each says which bytes of the read are its own, and which record is the next. A record that is
//! added is the end of its chain, whatever it was before. So a chain leads only to records that are
//! lent with its first one, to the same operation and for as long.

use crate::IoSliceMut;
use crate::abi::iovec;
use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU8;
#[cfg(feature = "std")]
use core::sync::atomic::Ordering;

/// Counts the bytes that reads have filled in memory that was not initialised.
///
/// It is lent with the memory ([`Room::uninit`]), and only the library counts in it. A
/// [`Spare`](crate::Spare) has its own, and is what programs use. A buffer type of one's own may
/// trust the count if it lends the record together with the same memory each time.
///
/// ```
/// use linux_aio::{Filled, Room};
/// use std::mem::MaybeUninit;
///
/// let (mut memory, mut filled) = ([MaybeUninit::uninit(); 64], Filled::new());
/// let room = Room::uninit(&mut memory, &mut filled);
/// assert_eq!(room.len(), 64);
/// assert_eq!(filled.count(), 0); // Nothing was read.
/// ```
#[derive(Default)]
pub struct Filled {
    count: usize,
    /// The place at which the room that was lent last begins, from the start of the memory.
    base: usize,
    /// The number of bytes that the read fills before that room, and in it.
    before: usize,
    len: usize,
    /// The record of the next room. It is there while that room is lent to the same read.
    next: Option<NonNull<Filled>>,
}

// SAFETY: A record whose chain may be followed is lent, with the whole chain, to an operation. Like
// every loan of a record, which is a number, it may be sent. No other chain is followed.
unsafe impl Send for Filled {}
// SAFETY: Through `&` only the count can be had, which nothing changes while it is borrowed.
unsafe impl Sync for Filled {}

impl Filled {
    /// Nothing has been filled.
    pub const fn new() -> Self {
        Self { count: 0, base: 0, before: 0, len: 0, next: None }
    }

    /// Returns how many bytes have been filled, from the start of the memory.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Starts again: nothing has been filled.
    pub const fn clear(&mut self) {
        self.count = 0;
    }

    /// Counts the bytes of a read that the kernel has written to the room that was lent last, of
    /// `bytes` in all its rooms. A room that begins behind what has been filled would leave a gap,
    /// so its bytes are not counted.
    fn add(&mut self, bytes: usize) {
        // Never more than the kernel was asked for.
        let bytes = bytes.saturating_sub(self.before).min(self.len);
        if self.base <= self.count {
            self.count = self.count.max(self.base.saturating_add(bytes));
        }
    }

    /// Counts `bytes` of a read in its first record, and in those of its other rooms.
    ///
    /// # Safety
    /// The rooms of the read are lent, `first` is that of [`Rooms::filled`], and nobody else refers
    /// to their records. The kernel has written the first `bytes` bytes of the rooms.
    pub(crate) unsafe fn add_to_all(first: NonNull<Self>, bytes: usize) {
        let mut next = Some(first);
        while let Some(mut filled) = next {
            // SAFETY: Each record that `Rooms::push` adds is the end of the chain, until the same
            // `Rooms` gets another one. So this is a record of the read. The caller promises that
            // its rooms are lent, each with its record, and that nobody else refers to these.
            let filled = unsafe { filled.as_mut() };
            filled.add(bytes);
            next = filled.next.take();
        }
    }
}

impl fmt::Debug for Filled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filled").field("count", &self.count).finish_non_exhaustive()
    }
}

/// Lends memory to a read for `'op`.
///
/// [`Prepared::read_to`](crate::Prepared::read_to) takes it. A buffer type of one's own makes one
/// in [`ReadTo::lend`](crate::ReadTo::lend).
///
/// ```
/// use linux_aio::Room;
///
/// let mut bytes = [0; 64];
/// let room = Room::new(&mut bytes).skip(16).first(32);
/// assert_eq!(room.len(), 32);
/// ```
pub struct Room<'op> {
    start: NonNull<u8>,
    len: usize,
    filled: Option<NonNull<Filled>>,
    /// True if other threads may use the memory meanwhile.
    #[cfg_attr(not(feature = "std"), allow(dead_code, reason = "only a `File` copies to a room"))]
    shared: bool,
    loan: PhantomData<(&'op mut [u8], &'op mut Filled)>,
}

// SAFETY: It is a mutable borrow of bytes and of a record, which may be sent, or a shared one of
// atomics, which may, too.
unsafe impl Send for Room<'_> {}
// SAFETY: Through `&` only the length can be had, which nothing changes while it is borrowed.
unsafe impl Sync for Room<'_> {}

impl<'op> Room<'op> {
    /// Lends all of `bytes`.
    #[inline]
    pub fn new(bytes: &'op mut [u8]) -> Self {
        let len = bytes.len();
        let start = NonNull::from(bytes).cast();
        Self { start, len, filled: None, shared: false, loan: PhantomData }
    }

    /// Lends memory that is not initialised, and the record of how much of it has been filled. The
    /// record counts from the start of `memory`.
    #[inline]
    pub fn uninit(memory: &'op mut [MaybeUninit<u8>], filled: &'op mut Filled) -> Self {
        filled.base = 0;
        let len = memory.len();
        let start = NonNull::from(memory).cast();
        let filled = Some(NonNull::from(filled));
        Self { start, len, filled, shared: false, loan: PhantomData }
    }

    /// Lends memory that other threads may use meanwhile.
    ///
    /// The kernel counts as one more thread that stores each byte, at some time and in any order.
    ///
    /// ```
    /// use linux_aio::Room;
    /// use std::sync::atomic::AtomicU8;
    ///
    /// let memory = [const { AtomicU8::new(0) }; 64];
    /// assert_eq!(Room::shared(&memory).len(), 64);
    /// ```
    #[inline]
    pub fn shared(bytes: &'op [AtomicU8]) -> Self {
        // An atomic may be written through a shared reference, so this pointer may be written, too.
        let start = NonNull::from(bytes).cast();
        Self { start, len: bytes.len(), filled: None, shared: true, loan: PhantomData }
    }

    /// Returns the number of bytes.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no byte.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Leaves out the first `count` bytes.
    ///
    /// # Panics
    /// If there are fewer.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_aio::Room;
    ///
    /// let mut frame = [0; 4096];
    /// let room = Room::new(&mut frame).skip(16).first(512); // bytes 16 to 527
    /// assert_eq!(room.len(), 512);
    /// ```
    #[inline]
    #[track_caller]
    pub fn skip(self, count: usize) -> Self {
        assert!(count <= self.len, "{count} bytes to skip in a room of {}", self.len);
        // SAFETY: `count` is at most the length, so this stays in the memory or at its end.
        let start = unsafe { self.start.add(count) };
        if let Some(mut filled) = self.filled {
            // SAFETY: It was lent exclusively to this room, for longer than this call.
            unsafe { filled.as_mut() }.base += count;
        }
        Self { start, len: self.len - count, ..self }
    }

    /// Keeps the first `count` bytes alone.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline]
    #[track_caller]
    pub fn first(self, count: usize) -> Self {
        assert!(count <= self.len, "the first {count} bytes of a room of {}", self.len);
        Self { len: count, ..self }
    }

    #[inline]
    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Copies bytes to the start of the room: as many as there are, or as it has room for.
    #[cfg(feature = "std")]
    pub(crate) fn fill_with(self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(self.len)];
        if self.shared {
            for (at, byte) in bytes.iter().enumerate() {
                // SAFETY: `at` is below the length, so this stays in the memory.
                let start = unsafe { self.start.add(at) };
                // SAFETY: The byte may be written for longer than this call, it is aligned as every
                // byte is, and everybody accesses it by atomics meanwhile.
                let shared = unsafe { AtomicU8::from_ptr(start.as_ptr()) };
                shared.store(*byte, Ordering::Relaxed);
            }
        } else {
            let (from, to) = (bytes.as_ptr(), self.start.as_ptr());
            // SAFETY: The memory was lent exclusively for longer than this call, so the bytes are
            // others. Both are at least this long.
            unsafe { from.copy_to_nonoverlapping(to, bytes.len()) };
        }
        // SAFETY: They were written just now.
        unsafe { Rooms::from(self).add_filled(bytes.len()) };
    }
}

impl<'op> From<&'op mut [u8]> for Room<'op> {
    fn from(bytes: &'op mut [u8]) -> Self {
        Self::new(bytes)
    }
}

impl<'op> From<IoSliceMut<'op>> for Room<'op> {
    fn from(mut slice: IoSliceMut<'op>) -> Self {
        let start = NonNull::new(slice.as_mut_ptr()).unwrap_or(NonNull::dangling());
        // It may be one of `IoSliceMut::shared`.
        Self { start, len: slice.len(), filled: None, shared: true, loan: PhantomData }
    }
}

/// Chains the records of the rooms that one read fills, one after the other, and keeps their loans.
pub(crate) struct Rooms<'op> {
    first: Option<NonNull<Filled>>,
    last: Option<NonNull<Filled>>,
    len: usize,
    loan: PhantomData<Room<'op>>,
}

impl<'op> Rooms<'op> {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self { first: None, last: None, len: 0, loan: PhantomData }
    }

    /// Adds a room behind the others. Returns its memory, for the kernel.
    #[inline(always)]
    pub(crate) fn push(&mut self, room: Room<'op>) -> iovec {
        if let Some(mut filled) = room.filled {
            // SAFETY: It was lent exclusively to this room, for longer than this call.
            let record = unsafe { filled.as_mut() };
            (record.before, record.len, record.next) = (self.len, room.len, None);
            match self.last.replace(filled) {
                None => self.first = Some(filled),
                // SAFETY: It was lent exclusively to a room that was pushed before, for 'op. Nobody
                // refers to it: that room is gone, and this is another record.
                Some(mut last) => unsafe { last.as_mut() }.next = Some(filled),
            }
        }
        self.len = self.len.saturating_add(room.len);
        iovec { iov_base: room.start().expose_provenance(), iov_len: room.len }
    }

    /// Returns the first of the records, which leads to the others. To keep up the loans is the
    /// caller's business.
    #[inline(always)]
    pub(crate) fn filled(&self) -> Option<NonNull<Filled>> {
        self.first
    }

    /// Counts the first `count` bytes in the records.
    ///
    /// # Safety
    /// They have been written since the rooms were lent, and there are that many.
    #[cfg(feature = "std")]
    pub(crate) unsafe fn add_filled(self, count: usize) {
        if let Some(first) = self.first {
            // SAFETY: This value has the rooms, which have lent their records exclusively for
            // longer than this call. The rest is the caller's promise.
            unsafe { Filled::add_to_all(first, count) };
        }
    }
}

impl<'op> From<Room<'op>> for Rooms<'op> {
    #[inline(always)]
    fn from(room: Room<'op>) -> Self {
        let mut rooms = Self::new();
        rooms.push(room);
        rooms
    }
}

impl fmt::Debug for Room<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("len", &self.len).finish_non_exhaustive()
    }
}
