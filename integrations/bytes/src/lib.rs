//! Buffers of the crate [`bytes`], read and written through [`linux_aio::File`].
//!
//! The crates of the other integrations exchange [`Bytes`], and take these functions from here.

use bytes::{Bytes, BytesMut};
use linux_aio::{File, RangesOptions, Spare};
use std::io;
use std::ops::Range;

/// Reads ranges at once, in whole blocks around them, and cuts the ranges out of that. No byte is
/// copied on a direct file.
///
/// The ranges come in the order in which they were asked for. All of them are in memory together.
///
/// # Errors
/// Those of [`File::read_ranges`]: `InvalidInput` for a range that ends behind the end of the file.
pub async fn read_ranges(file: &File, ranges: Vec<Range<u64>>) -> io::Result<Vec<Bytes>> {
    let mut all = Vec::with_capacity(ranges.len());
    // The caller wants all of them in memory.
    let options = RangesOptions::new().memory_limit(u64::MAX);
    let mut ranges = file.read_ranges_with(ranges, options)?;
    while let Some(bytes) = ranges.next_range().await? {
        all.push(Bytes::from_owner(bytes));
    }
    Ok(all)
}

/// Reads `len` bytes behind those that `buf` has. Memory that is added for them is not zeroed.
///
/// Direct reads of any alignment are possible. [`read_ranges`] avoids a copy, but always takes new
/// memory.
///
/// # Errors
/// Those of [`File::read_exact_at`]. The buffer is lost then. `UnexpectedEof`: the file ends before
/// `offset + len`.
pub async fn read_behind(
    file: &File,
    mut buf: BytesMut,
    len: usize,
    offset: u64,
) -> io::Result<BytesMut> {
    // To have no room is an error for a read.
    if len == 0 {
        return Ok(buf);
    }
    buf.reserve(len);
    let (result, spare) = file.read_exact_at(Spare::with_limit(buf, len), offset).await;
    result?;
    Ok(spare.into_inner())
}
