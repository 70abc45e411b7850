//! [`Buffers`], where a stream has its memory from.

use super::{DirectState, File, FileDriver};
use crate::{BufferPool, PoolBuf};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;

/// The buffers of one stream: those of a pool that others use as well, or of one of its own.
pub(super) struct Buffers {
    pool: BufferPool,
    is_own: bool,
    /// The part of a buffer that is used: as many whole blocks as it has.
    pub(super) len: usize,
    align: usize,
    /// A future that waits for a buffer of a pool.
    taking: Option<Pin<Box<dyn Future<Output = PoolBuf> + Send>>>,
}

impl Buffers {
    /// Takes a pool, or makes one of `count` buffers of `len` bytes. A buffer must hold a block of
    /// `block` bytes, at an address that the file takes.
    pub(super) fn new<D: FileDriver>(
        file: &File<D>,
        block: usize,
        pool: Option<BufferPool>,
        len: usize,
        count: usize,
    ) -> io::Result<Self> {
        let align = match file.direct() {
            DirectState::Direct { alignment, .. } => alignment.memory as usize,
            _ => 1,
        };
        let is_own = pool.is_none();
        let pool = match pool {
            Some(pool) => pool,
            // An alignment of a page costs nothing, and suits whatever has the chunks next.
            None => {
                let len = len.checked_next_multiple_of(block).unwrap_or(len);
                BufferPool::new(count, len, align.max(4096))?
            }
        };
        let have = pool.buffer_len();
        if have < block {
            return Err(unsuitable(format!(
                "buffers of {have} bytes are too small for a stream of this file, which needs \
                 {block}: {}",
                file.direct()
            )));
        }
        Ok(Self { pool, is_own, len: have - have % block, align, taking: None })
    }

    pub(super) fn try_take(&self) -> io::Result<Option<PoolBuf>> {
        self.pool.try_take().map(|buf| self.check(buf)).transpose()
    }

    /// Takes a buffer, for a stream that has no other. If the pool is the stream's own, the user
    /// has the others, and there is one more.
    pub(super) fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<PoolBuf>> {
        // If a waker panics in the poll, the stream leaves the queue.
        let mut taking = match self.taking.take() {
            Some(taking) => taking,
            None => {
                if let Some(buf) = self.try_take()? {
                    return Poll::Ready(Ok(buf));
                }
                let pool = match self.is_own {
                    true => BufferPool::new(1, self.pool.buffer_len(), self.align.max(4096))?,
                    false => self.pool.clone(),
                };
                Box::pin(async move { pool.take().await })
            }
        };
        if let Poll::Ready(buf) = taking.as_mut().poll(cx) {
            return Poll::Ready(self.check(buf));
        }
        self.taking = Some(taking);
        Poll::Pending
    }

    /// Refuses a buffer that would be copied at each use.
    fn check(&self, buf: PoolBuf) -> io::Result<PoolBuf> {
        if buf.as_ptr().addr() % self.align == 0 {
            return Ok(buf);
        }
        Err(unsuitable(format!(
            "the pool's buffers are not aligned to {} bytes, which O_DIRECT needs of this file",
            self.align
        )))
    }
}

/// A stream whose future waits. When the future is dropped, the stream leaves the queue of its
/// pool, in which it would hold up others.
pub(super) struct InQueue<'s, S: HasBuffers>(pub(super) &'s mut S);

/// A stream that has buffers once it was polled.
pub(super) trait HasBuffers {
    fn buffers(&mut self) -> &mut Option<Buffers>;
}

impl<S: HasBuffers> Drop for InQueue<'_, S> {
    fn drop(&mut self) {
        if let Some(buffers) = self.0.buffers() {
            buffers.taking = None;
        }
    }
}

fn unsuitable(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
