//! What the traits of the runtimes ask of a reader: bytes, and seeks as `std` has them.

use super::FileReader;
use crate::file::FileDriver;
use core::task::{Context, Poll};
use std::io;

impl<D: FileDriver> FileReader<D> {
    /// Gives bytes that were not given yet; none at the end.
    pub(in crate::file) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        if self.current.as_ref().is_none_or(|(chunk, given)| *given == chunk.len()) {
            // Its buffer may be the one that is needed.
            self.current = None;
            match self.poll_next_chunk(cx) {
                Poll::Ready(Ok(Some(chunk))) => self.current = Some((chunk, 0)),
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(&[])),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        let (chunk, given) = self.current.as_ref().expect("a chunk");
        Poll::Ready(Ok(&chunk[*given..]))
    }

    /// Notes that so many of these bytes are used.
    pub(in crate::file) fn use_up(&mut self, count: usize) {
        if let Some((chunk, given)) = &mut self.current {
            let count = count.min(chunk.len() - *given);
            *given += count;
            self.position += count as u64;
        }
    }

    /// Goes to a position, and returns it. One before the start of the range is an error.
    pub(in crate::file) fn seek(&mut self, seek: io::SeekFrom) -> io::Result<u64> {
        let position = match seek {
            io::SeekFrom::Start(position) => Some(position),
            io::SeekFrom::Current(by) => self.position().checked_add_signed(by),
            io::SeekFrom::End(by) => {
                let end = self.range.end.min(self.file.access.open.end()?);
                end.saturating_sub(self.range.start).checked_add_signed(by)
            }
        };
        let position = position.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a seek to before the start of the range")
        })?;
        self.set_position(position);
        Ok(self.position())
    }
}
