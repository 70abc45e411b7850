//! `Stream` of `futures-core`.

use super::{Chunk, FileDriver, FileReader, RangeBytes, ReadRanges};
use core::pin::Pin;
use core::task::{Context, Poll};
use futures_core::Stream;
use std::io;

/// The chunks of [`next_chunk`](FileReader::next_chunk). The stream goes on after an error, which
/// a new attempt may not meet, and after its end if the file has grown.
impl<D: FileDriver> Stream for FileReader<D> {
    type Item = io::Result<Chunk>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_chunk(cx).map(Result::transpose)
    }
}

/// The ranges of [`next_range`](ReadRanges::next_range).
impl<D: FileDriver> Stream for ReadRanges<D> {
    type Item = io::Result<RangeBytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_range(cx).map(Result::transpose)
    }
}
