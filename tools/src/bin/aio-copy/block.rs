//! A piece of a file on its way, and the memory that holds it.

use linux_aio::AlignedBuf;
use std::ops::Range;

/// What `O_DIRECT` wants addresses, lengths and offsets to be a multiple of. (A file system that
/// wants more than this is used through the page cache.)
pub(crate) const ALIGNMENT: usize = 4096;

/// A part of a file. The offset is a multiple of [`ALIGNMENT`]; the length is, too, but at the end
/// of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) len: usize,
}

/// Cuts ranges of a file into pieces of `block` bytes or less.
pub(crate) fn pieces(
    ranges: impl IntoIterator<Item = Range<u64>>,
    block: usize,
) -> impl Iterator<Item = Piece> {
    ranges.into_iter().flat_map(move |range| {
        let end = range.end;
        range.step_by(block).map(move |offset| {
            let rest = usize::try_from(end - offset).unwrap_or(usize::MAX);
            Piece { offset, len: rest.min(block) }
        })
    })
}

/// How far an operation has come.
pub(crate) enum Advance {
    /// All of the piece is done.
    Whole,
    /// There is a rest, for another operation of the same kind.
    Part,
    /// Less than one aligned unit was done: `O_DIRECT` cannot go on from there.
    Unaligned,
    /// Nothing was done.
    Nothing,
}

/// The buffer of the operations: the part of a piece that is not yet read, or not yet written.
pub(crate) struct Block {
    memory: AlignedBuf,
    piece: Piece,
    /// How much of the piece the present operation finds done, in whole aligned units.
    done: usize,
}

impl Block {
    /// `memory` has room for every piece, rounded up to the alignment.
    pub(crate) fn new(memory: AlignedBuf, piece: Piece) -> Self {
        Self { memory, piece, done: 0 }
    }

    /// The same memory for another piece.
    pub(crate) fn reuse(self, piece: Piece) -> Self {
        Self::new(self.memory, piece)
    }

    pub(crate) fn piece(&self) -> Piece {
        self.piece
    }

    /// Where in the file the next operation goes on.
    pub(crate) fn position(&self) -> u64 {
        self.piece.offset + self.done as u64
    }

    /// The bytes of the piece, when all are there.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[..self.piece.len]
    }

    /// Takes note of what an operation did. Reads and writes may be short; the rest starts at an
    /// aligned place, so a few bytes may be done twice.
    pub(crate) fn advance(&mut self, count: u32) -> Advance {
        let reached = self.done + count as usize;
        if reached >= self.piece.len {
            self.done = 0;
            return Advance::Whole;
        }
        let before = self.done;
        self.done = reached - reached % ALIGNMENT;
        match count {
            0 => Advance::Nothing,
            _ if self.done == before => Advance::Unaligned,
            _ => Advance::Part,
        }
    }

    /// The bytes of the piece behind the `count` that an operation did, and where they belong. They
    /// are done by other means, and the piece is whole then.
    pub(crate) fn finish_after(&mut self, count: u32) -> (&mut [u8], u64) {
        let reached = self.done + count as usize;
        self.done = 0;
        (&mut self.memory[reached..self.piece.len], self.piece.offset + reached as u64)
    }

    /// What the next operation is about: whole aligned units, also at the end of the file, where
    /// a read stops by itself and a write is cut off later.
    fn rest(&self) -> Range<usize> {
        self.done..self.piece.len.next_multiple_of(ALIGNMENT)
    }
}

impl AsMut<[u8]> for Block {
    fn as_mut(&mut self) -> &mut [u8] {
        let rest = self.rest();
        &mut self.memory[rest]
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.rest()]
    }
}
