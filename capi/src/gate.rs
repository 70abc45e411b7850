//! [`Gate`]: the state machine that keeps readers of a ring and the kernel's `io_getevents` apart.
//! The essay is in [`reap`](super).
//!
//! It must never block, and never hold anything that a thread could take away with it: threads may
//! leave at every instruction, for a while or for good.

use super::primitive::{
    ATTEMPTS, AtomicU32, AtomicU64, AtomicUsize, Ordering, PATIENCE, TAG_BITS, pause, wait,
};
use Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

/// One thread that may look at the ring. 24 bits: more than a machine has threads, and than will
/// ever jump out of the few instructions between entering and leaving.
const READER: u64 = 1;
const READERS: u64 = (1 << 24) - 1;
/// Enough lost readers to give the ring up; the bits above leave room for every thread of the
/// machine.
const TOO_MANY_READERS: u64 = 1 << 23;

/// One thread in the system call, or about to be. Jumping out of a call that waits is a habit of
/// some programs; the highest bit, once set, stays and ends the counting.
const CALLER: u64 = 1 << 24;
const CALLERS: u64 = ((1 << 25) - 1) << 24;
const CALLERS_SPENT: u64 = 1 << 48;

/// The number of the reader that entered last, in the highest bits: adding to it carries into
/// nothing.
const TAG: u64 = 1 << TAG_SHIFT;
const TAG_SHIFT: u32 = 64 - TAG_BITS;

/// The most events of a ring for which every mark, [`marked`], has 32 bits.
pub(crate) const MAX_EVENTS: u32 = 1 << 16;
const _: () = assert!(CALLERS < TAG && marked(MAX_EVENTS - 1, MAX_EVENTS, (1 << TAG_BITS) - 1) > 0);

/// A ring, and where its events go.
pub(crate) trait Ring {
    /// How many events there is room for: 1 to [`MAX_EVENTS`], or nothing may be taken.
    fn room(&self) -> u32;

    /// Where the next event is.
    fn head(&self) -> &AtomicU32;

    /// Where the kernel puts the next event.
    fn tail(&self) -> &AtomicU32;

    /// Copies `count` events from `place` on. They may be overwritten meanwhile.
    fn copy(&self, place: u32, count: u32);
}

/// What all contexts whose numbers meet in a table share; one of them may be open for reading.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// The context that may be read; 0 if none.
    context: AtomicUsize,
    /// READERS, CALLERS and the last tag.
    word: AtomicU64,
}

impl Gate {
    /// Whether `context` may be read, at a first glance.
    #[inline]
    pub(crate) fn is_open_for(&self, context: usize) -> bool {
        // Acquire: what `open` was called after comes before, and for whoever sees this thread as a
        // reader then, too.
        self.context.load(Acquire) == context
    }

    /// Lets `context`, which is new, be read, if the place is free.
    pub(crate) fn open(&self, context: usize) {
        // Acquire: the readers of the last context are out of its ring. No others come before the
        // next line.
        if self.word.load(Acquire) & READERS == 0 {
            // Release: the ring is there.
            let _ = self.context.compare_exchange(0, context, Release, Relaxed);
        }
    }

    /// Takes at least `min` and at most `max` events; `None` if the kernel is to be asked.
    #[inline]
    pub(crate) fn take(&self, context: usize, ring: &impl Ring, min: u32, max: u32) -> Option<u32> {
        if !self.is_open_for(context) {
            return None;
        }
        let tag = self.enter_ring()?;
        let taken = self.take_under(tag, context, ring, min, max);
        self.leave_ring();
        taken
    }

    /// Goes to the system call: from here on nobody takes events off the ring of `context`, and who
    /// was about to will not succeed. Ends with [`Gate::leave_call`].
    #[inline]
    pub(crate) fn enter_call(&self, context: usize, ring: &impl Ring) {
        let mut word = self.word.load(Relaxed);
        loop {
            if word & CALLERS_SPENT != 0 {
                return;
            }
            let others = word & READERS != 0;
            let next = word + CALLER + if others { READER } else { 0 };
            // SeqCst with `take_under`; and acquire: what the readers knew of the context.
            match self.word.compare_exchange_weak(word, next, SeqCst, Relaxed) {
                Ok(_) if others => break,
                // Nobody is at the ring, and who comes sees the caller.
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
        // Relaxed: the readers that matter have seen it open before they entered. While there are
        // readers, this one among them, `close` waits.
        if self.context.load(Relaxed) == context {
            evict(ring);
        }
        self.leave_ring();
    }

    /// Comes back from the system call.
    #[inline]
    pub(crate) fn leave_call(&self) {
        // Release: what the kernel did to the ring comes before.
        // No callers in a forked child, whose word was wiped.
        let _ = self.word.fetch_update(Release, Relaxed, |word| {
            let counted = word & CALLERS != 0 && word & CALLERS_SPENT == 0;
            counted.then(|| word - CALLER)
        });
    }

    /// Ends the reading of `context`, before its end: [`Gate::enter_call`], then waits within
    /// bounds for the readers to leave. `false` if some did not.
    pub(crate) fn close(&self, context: usize, ring: &impl Ring) -> bool {
        self.enter_call(context, ring);
        // Relaxed: this thread is a caller, which the next reader sees gone before it enters.
        let closed = self.context.compare_exchange(context, 0, Relaxed, Relaxed);
        // Another one is open: then nobody is left at this ring.
        if closed.is_err_and(|open| open != 0) {
            return true;
        }
        let mut round = 0;
        // Acquire: what the readers read comes before the ring is unmapped. Once there are none,
        // none come: no reader enters while there is a caller, and no caller reads while there is
        // no reader.
        while self.word.load(Acquire) & READERS != 0 {
            if !wait(round) {
                return false;
            }
            round += 1;
        }
        true
    }

    /// Becomes a reader, with a tag of its own.
    #[inline]
    fn enter_ring(&self) -> Option<u32> {
        let mut word = self.word.load(Relaxed);
        loop {
            if word & (CALLERS | TOO_MANY_READERS) != 0 {
                return None;
            }
            let next = word.wrapping_add(TAG + READER);
            let tag = next >> TAG_SHIFT;
            // All tags are used up. They start again when nobody is left who has an old one.
            if tag == 0 && word & READERS != 0 {
                return None;
            }
            // Acquire: what callers did to the ring, and whether the context was closed. Release:
            // that it was open.
            match self.word.compare_exchange_weak(word, next, AcqRel, Relaxed) {
                Ok(_) => return Some(tag as u32),
                Err(now) => word = now,
            }
        }
    }

    #[inline]
    fn leave_ring(&self) {
        // Release: all reading comes before.
        let _ = self.word.fetch_update(Release, Relaxed, |word| {
            // No readers in a forked child, whose word was wiped.
            (word & READERS != 0).then(|| word - READER)
        });
    }

    /// Whether `context` may be read, says a reader.
    ///
    /// Relaxed: `close` changes the word before the context. Either it finds this reader there, and
    /// waits; or this reader has found in the word that it was there, and with that what it did.
    #[inline]
    fn is_still_open_for(&self, context: usize) -> bool {
        self.context.load(Relaxed) == context
    }

    /// Takes events as the reader that has `tag`.
    #[inline]
    fn take_under(
        &self,
        tag: u32,
        context: usize,
        ring: &impl Ring,
        min: u32,
        max: u32,
    ) -> Option<u32> {
        let mut patience = PATIENCE;
        for _ in 0..ATTEMPTS {
            if !self.is_still_open_for(context) {
                return None;
            }
            let room = ring.room();
            if room == 0 || room > MAX_EVENTS {
                return None;
            }
            let marked = |place| marked(place, room, tag);
            let mut head = ring.head().load(Relaxed);
            while head >= room && patience > 0 {
                patience -= 1;
                pause();
                head = ring.head().load(Relaxed);
            }
            let place = if head < room { head } else { head % room };
            let there = available(place, ring, room)?;
            if there == 0 || there < min {
                return (min == 0).then_some(0);
            }
            // SeqCst with `enter_call`: either this reader sees the caller below, or the caller
            // sees the mark. And acquire: what is read now is not older than the mark.
            if ring.head().compare_exchange(head, marked(place), SeqCst, Relaxed).is_err() {
                continue;
            }
            let count = available(place, ring, room)?.min(max);
            if count > 0 && count >= min {
                ring.copy(place, count);
            }
            let word = self.word.load(SeqCst);
            if word & READERS == 0 {
                // A forked child: not a word to its parent's ring.
                return None;
            }
            // If `close` gave up waiting for this reader, another ring may be at the address by
            // now.
            let out = word & CALLERS != 0 || !self.is_still_open_for(context);
            let kept = if out || count == 0 || count < min { 0 } else { count };
            let after = place + kept;
            let after = if after < room { after } else { after - room };
            // Release: the copy comes before the kernel can write there again.
            let unchanged =
                ring.head().compare_exchange(marked(place), after, Release, Relaxed).is_ok();
            if out {
                return None;
            }
            if unchanged && kept > 0 {
                return Some(count);
            }
        }
        None
    }
}

/// The head while the reader with `tag` copies from `place` on. To the kernel it is the same place,
/// since it takes head modulo the room; to a compare-and-swap it is nobody else's.
const fn marked(place: u32, room: u32, tag: u32) -> u32 {
    place + room * (tag + 1)
}

/// Takes the ring from whoever is copying: the mark goes, and the store that depends on it fails.
#[inline]
fn evict(ring: &impl Ring) {
    let head = ring.head().load(SeqCst);
    let room = ring.room();
    if head >= room && room > 0 {
        let _ = ring.head().compare_exchange(head, head % room, AcqRel, Relaxed);
    }
}

/// How many events there are from `place` on; `None` if the tail is nowhere.
#[inline]
fn available(place: u32, ring: &impl Ring, room: u32) -> Option<u32> {
    // Acquire: pairs with the kernel's smp_wmb() between an event and the tail.
    let tail = ring.tail().load(Acquire);
    if tail >= room {
        return None;
    }
    Some(if tail >= place { tail - place } else { tail + room - place })
}
