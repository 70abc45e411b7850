//! A log of records, framed by the codecs of [`tokio_util`], through [`linux_aio::File`].
//!
//! A [`FileReader`](linux_aio::FileReader) is an `AsyncRead` and a [`FileWriter`] an `AsyncWrite`,
//! so every codec works on them as it is. Nothing here is needed for that, but for what a log wants
//! more: the end of the last whole record, after a crash.

use bytes::BytesMut;
use futures::StreamExt;
use linux_aio::{Errno, File, FileWriter};
use std::io;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

/// The number of bytes before a record, which are its length.
pub const HEADER: u64 = 4;

/// The longest record, in bytes. A longer length is taken for the end of the log.
pub const LONGEST: usize = 1 << 20;

/// Returns the codec of a log: a record comes behind its length, in four bytes.
pub fn codec() -> LengthDelimitedCodec {
    let length = HEADER as usize;
    LengthDelimitedCodec::builder()
        .length_field_length(length)
        .max_frame_length(LONGEST)
        .new_codec()
}

/// Calls `each` with every whole record, and returns the offset behind the last of them.
///
/// A crash leaves a part of the last record, and behind that zeros: a
/// [`FileWriter`] allocates ahead of itself. So a part, a length of 0 and a length above
/// [`LONGEST`] are the end of the log. Add a checksum to your records: the crash may also have torn
/// a record whose length is right.
///
/// # Errors
/// Those of reading.
pub async fn recover(file: &File, mut each: impl FnMut(BytesMut)) -> io::Result<u64> {
    let mut records = FramedRead::new(file.reader(..), codec());
    let mut end = 0;
    while let Some(record) = records.next().await {
        match record {
            Ok(record) if !record.is_empty() => {
                end += HEADER + record.len() as u64;
                each(record);
            }
            Err(error) if !is_of_codec(&error) => return Err(error),
            Ok(_) | Err(_) => break,
        }
    }
    Ok(end)
}

/// Tells an error of the codec, about what is in the file, from one of reading it.
fn is_of_codec(error: &io::Error) -> bool {
    let is_kind = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::Other);
    is_kind && Errno::from_io_error(error).is_none()
}

/// The number of bytes that a sink collects before it flushes by itself.
///
/// Without this number `FramedWrite` flushes after 8 KiB, and each flush waits for the disk.
pub const BETWEEN_FLUSHES: usize = 4 << 20;

/// Cuts what lies behind `end`, and returns a sink of further records.
///
/// `feed` collects records, and `send` also flushes, which waits for the disk. After a flush,
/// [`File::sync_data`] makes them durable. `close` does both, and cuts what was allocated ahead. A
/// record must not be empty.
///
/// # Errors
/// Those of [`File::set_len`].
pub async fn append(
    file: &File,
    end: u64,
) -> io::Result<FramedWrite<FileWriter, LengthDelimitedCodec>> {
    file.set_len(end).await?;
    let mut sink = FramedWrite::new(file.writer(end), codec());
    sink.set_backpressure_boundary(BETWEEN_FLUSHES);
    Ok(sink)
}
