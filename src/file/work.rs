//! [`Work`], what a stream has its driver do, as futures that the stream keeps.

use super::File;
use core::future::Future;
use core::ops::Range;
use std::io;

/// The work of streams. Each driver makes the same futures, in its own kind of box: one that can be
/// sent to other threads if the driver can. Nobody else can implement it.
pub trait Work: Sized + Unpin {
    /// A future in a box.
    type Boxed<T: Send + 'static>: Future<Output = T> + Unpin;

    /// Reads to all of `buf`, or to the end of the file.
    fn read<B>(file: File<Self>, buf: B, offset: u64) -> Self::Boxed<(io::Result<usize>, B)>
    where
        B: AsMut<[u8]> + Send + 'static;

    /// Writes a part of `buf`. Gives the number of bytes that were written before an error.
    fn write<B>(
        file: File<Self>,
        buf: B,
        part: Range<usize>,
        offset: u64,
    ) -> Self::Boxed<(usize, io::Result<()>)>
    where
        B: AsRef<[u8]> + Send + 'static;

    /// Allocates the blocks of a range.
    fn allocate(file: File<Self>, range: Range<u64>) -> Self::Boxed<io::Result<()>>;

    /// Cuts a file as far as `cut` says so, and brings it to stable storage if `sync`.
    fn finish(file: File<Self>, cut: Option<Cut>, sync: bool) -> Self::Boxed<io::Result<()>>;
}

/// Says how to cut a file: to `exact`, unless it is longer than `most`.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub(super) exact: u64,
    pub(super) most: u64,
}
