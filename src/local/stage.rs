//! [`Stage`] and [`Outcome`], what an entry has in one word each: how far its operation is, and how
//! it ended.

use crate::{Errno, EventResult};

/// Says what is in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phase(u8);

impl Phase {
    /// No operation.
    pub(super) const VACANT: Self = Self(0);
    /// One whose future has not been polled.
    pub(super) const NEW: Self = Self(1);
    /// One that waits for a slot.
    pub(super) const WAITING: Self = Self(2);
    /// One that is prepared, or about to be: the queue or the kernel has it, or will.
    pub(super) const FLYING: Self = Self(3);
    /// The same, and the future has been dropped.
    pub(super) const ABANDONED: Self = Self(4);
    /// One that has ended, for its future.
    pub(super) const ENDED: Self = Self(5);
    /// The same of one that is measured.
    pub(super) const MEASURED: Self = Self(6);
    /// One whose `prepare` or `goes_on` has panicked, for its future.
    pub(super) const PANICKED: Self = Self(7);
}

/// Notes what a prepared operation needs at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note(pub(super) u8);

impl Note {
    /// A read or a write that names no eventfd, and never goes on.
    pub(super) const NONE: Self = Self(0);
    /// Its end makes the watched eventfd readable.
    pub(super) const NAMED: u8 = 1;
    /// It is neither a read nor a write: it may take any time.
    pub(super) const LASTING: u8 = 2;
    /// It is to be asked whether it goes on.
    pub(super) const ASKED: u8 = 4;
    /// It is measured.
    pub(super) const MEASURED: u8 = 8;

    pub(super) fn is_measured(self) -> bool {
        self.0 & Self::MEASURED != 0
    }

    /// Returns the note of one that is measured.
    pub(super) fn measured(self) -> Self {
        Self(self.0 | Self::MEASURED)
    }

    /// Returns whether the operation is to be asked whether it goes on.
    pub(super) fn is_asked(self) -> bool {
        self.0 & Self::ASKED != 0
    }
}

/// The phase of an entry, and what is noted of a prepared operation. In one word, so that one
/// comparison tells the common case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stage(u16);

impl Stage {
    #[inline(always)]
    pub(super) const fn new(phase: Phase, note: Note) -> Self {
        Self(phase.0 as u16 | (note.0 as u16) << 8)
    }

    #[inline(always)]
    pub(super) fn phase(self) -> Phase {
        Phase(self.0 as u8)
    }

    #[inline(always)]
    pub(super) fn note(self) -> Note {
        Note((self.0 >> 8) as u8)
    }

    /// Returns the stage of an operation that is measured.
    pub(super) fn measured(self) -> Self {
        Self::new(self.phase(), self.note().measured())
    }
}

/// Says how an operation ended: a result, in one word.
///
/// It is the number of an event, or one of our own for an error that no event has.
#[derive(Clone, Copy)]
pub(super) struct Outcome(i64);

const FORKED: i64 = i64::MIN;
const EXHAUSTED: i64 = i64::MIN + 1;

impl Outcome {
    /// That of an operation that has not ended.
    pub(super) const NONE: Self = Self(0);

    #[inline(always)]
    pub(super) fn of_event(event: EventResult) -> Self {
        Self(event.as_res())
    }

    /// Returns the result.
    #[inline(always)]
    pub(super) fn result(self) -> Result<u32, Errno> {
        if self.0 >= 0 { Ok(self.0 as u32) } else { Err(self.errno()) }
    }

    #[cold]
    fn errno(self) -> Errno {
        match self.0 {
            FORKED => Errno::FORKED,
            EXHAUSTED => Errno::EXHAUSTED,
            res => EventResult::of_event(res).result().err().unwrap_or(Errno::EIO),
        }
    }
}

impl From<Errno> for Outcome {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::FORKED => Self(FORKED),
            Errno::EXHAUSTED => Self(EXHAUSTED),
            errno => Self(-i64::from(errno.as_raw())),
        }
    }
}
