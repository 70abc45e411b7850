//! [`Buffers`], where a stream has its memory from.

use super::{DirectState, File};
use crate::{BufferPool, PoolBuf};
use alloc::format;
use alloc::string::String;
use std::io;

/// The buffers of one stream: those of a pool that others use as well, or of one of its own.
pub(super) struct Buffers {
    pool: BufferPool,
    is_own: bool,
    /// The part of a buffer that is used: as many whole blocks as it has.
    pub(super) len: usize,
    align: usize,
}

impl Buffers {
    /// Takes a pool, or makes one of `count` buffers of `len` bytes. A buffer must hold a block of
    /// `block` bytes, at an address that the file takes.
    pub(super) fn new(
        file: &File,
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
            None => BufferPool::new(count, len.next_multiple_of(block), align.max(4096))?,
        };
        let have = pool.buffer_len();
        if have < block {
            return Err(unsuitable(format!(
                "buffers of {have} bytes are too small for a stream of this file, which needs \
                 {block}: {}",
                file.direct()
            )));
        }
        Ok(Self { pool, is_own, len: have - have % block, align })
    }

    pub(super) fn pool(&self) -> &BufferPool {
        &self.pool
    }

    pub(super) fn try_take(&self) -> io::Result<Option<PoolBuf>> {
        self.pool.try_take().map(|buf| self.check(buf)).transpose()
    }

    /// Takes a buffer that there always is, if the pool is the stream's own: the user keeps the
    /// others.
    pub(super) fn one_more(&self) -> Option<io::Result<PoolBuf>> {
        let more = || {
            let pool = BufferPool::new(1, self.pool.buffer_len(), self.align.max(4096))?;
            Ok(pool.try_take().expect("a new pool has its buffer"))
        };
        self.is_own.then(more)
    }

    /// Refuses a buffer that would be copied at each use.
    pub(super) fn check(&self, buf: PoolBuf) -> io::Result<PoolBuf> {
        if buf.as_ptr().addr() % self.align == 0 {
            return Ok(buf);
        }
        Err(unsuitable(format!(
            "the pool's buffers are not aligned to {} bytes, which O_DIRECT needs of this file",
            self.align
        )))
    }
}

fn unsuitable(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
