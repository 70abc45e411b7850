//! Files as bodies of [`hyper`], in whole or by a range, through [`linux_aio::File`].
//!
//! A body is a stream of buffers of a pool, which bounds the memory of all bodies together. Nothing
//! is copied between the disk and the socket's system call.
//!
//! A client that stops to read keeps [`PER_CLIENT`] buffers of the pool. So have a pool for more
//! clients than may stop at a time, and hang up those that have stopped for too long.

use bytes::Bytes;
use futures::stream::{Stream, TryStreamExt};
use http_body_util::{BodyExt, Empty, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE};
use hyper::http::response::Builder;
use hyper::server::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use linux_aio::{BufferPool, File, ReaderOptions};
use std::io;
use std::ops::Range;

/// The body of a response.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The number of buffers that a body reads ahead of its client.
const AHEAD: usize = 2;

/// The number of buffers that a client keeps at most: those that are read ahead, and the one that
/// is being sent.
pub const PER_CLIENT: usize = AHEAD + 1;

/// Returns the settings of connections. By default hyper takes 400 KiB of a body ahead, which would
/// be buffers of the pool that others wait for.
pub fn connections() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(8 << 10);
    builder
}

/// Answers a request for a file. `GET` and `HEAD` are known, and ranges of one piece.
///
/// A body waits for a buffer when all of the pool are in use, and gives its own back when the
/// client is gone. Buffers of 256 KiB that are aligned to 4096 bytes suit most disks.
///
/// # Errors
/// Those of `fstat(2)`. An error while the body is sent ends the connection, so that the client
/// does not take a part for the whole.
pub fn respond<B>(
    request: &Request<B>,
    file: &File,
    pool: &BufferPool,
) -> io::Result<Response<Body>> {
    let len = file.metadata()?.len();
    let response = Response::builder().header(ACCEPT_RANGES, "bytes");
    let is_head = request.method() == Method::HEAD;
    if !is_head && request.method() != Method::GET {
        return finish(response.status(StatusCode::METHOD_NOT_ALLOWED), 0, empty());
    }
    let (response, range) = match wanted(request.headers().get(RANGE), len) {
        Wanted::Whole => (response, 0..len),
        Wanted::Part(range) => {
            let text = format!("bytes {}-{}/{len}", range.start, range.end - 1);
            let response = response.status(StatusCode::PARTIAL_CONTENT);
            (response.header(CONTENT_RANGE, text), range)
        }
        Wanted::Nothing => {
            let response = response.status(StatusCode::RANGE_NOT_SATISFIABLE);
            return finish(response.header(CONTENT_RANGE, format!("bytes */{len}")), 0, empty());
        }
    };
    let count = range.end - range.start;
    let body = if is_head { empty() } else { body(file, pool.clone(), range) };
    finish(response, count, body)
}

fn finish(response: Builder, len: u64, body: Body) -> io::Result<Response<Body>> {
    response.header(CONTENT_LENGTH, len).body(body).map_err(io::Error::other)
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Returns the bytes of a range as a body.
pub fn body(file: &File, pool: BufferPool, range: Range<u64>) -> Body {
    StreamBody::new(chunks(file, pool, range).map_ok(Frame::data)).boxed_unsync()
}

/// Returns the bytes of a range, in the buffers of the pool that the disk has written to.
pub fn chunks(
    file: &File,
    pool: BufferPool,
    range: Range<u64>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let options = ReaderOptions::new().pool(pool).depth(AHEAD);
    // A buffer goes back to its pool when the last part of it was sent.
    file.reader_with(range, options).map_ok(Bytes::from_owner)
}

enum Wanted {
    Whole,
    Part(Range<u64>),
    /// The range is not in the file.
    Nothing,
}

/// Says what a request asks for. A header that cannot be read is left out, and so are several
/// ranges at once, as RFC 9110 allows.
fn wanted(header: Option<&HeaderValue>, len: u64) -> Wanted {
    let Some(ranges) = header
        .and_then(|header| header.to_str().ok())
        .and_then(|text| http_range_header::parse_range_header(text).ok())
    else {
        return Wanted::Whole;
    };
    match ranges.validate(len).as_deref() {
        Ok([range]) => Wanted::Part(*range.start()..*range.end() + 1),
        Ok(_) => Wanted::Whole,
        Err(http_range_header::RangeUnsatisfiableError::Unsatisfiable) => Wanted::Nothing,
        Err(_) => Wanted::Whole,
    }
}
