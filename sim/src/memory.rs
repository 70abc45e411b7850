//! [`Segment`], memory of an operation.

use linux_aio::abi::{
    IOCB_CMD_PREAD, IOCB_CMD_PREADV, IOCB_CMD_PWRITE, IOCB_CMD_PWRITEV, iocb, iovec,
};
use std::ptr;

/// Memory that an operation in flight has lent to the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    address: usize,
    pub(crate) len: usize,
}

impl Segment {
    pub(crate) fn address(self) -> usize {
        self.address
    }

    pub(crate) fn is_aligned(self, to: usize) -> bool {
        self.address % to == 0 && self.len % to == 0
    }
}

/// Returns the memory that an operation names, which the kernel copies at submission.
///
/// # Safety
/// `operation` is one that `io_submit` may be given: its array of vectors is valid for reads.
pub(crate) unsafe fn segments(operation: &iocb) -> Vec<Segment> {
    let (address, count) = (operation.aio_buf as usize, operation.aio_nbytes as usize);
    match operation.aio_lio_opcode {
        IOCB_CMD_PREAD | IOCB_CMD_PWRITE => vec![Segment { address, len: count }],
        IOCB_CMD_PREADV | IOCB_CMD_PWRITEV => {
            let vectors = ptr::with_exposed_provenance::<iovec>(address);
            let vector = |index| {
                // SAFETY: The caller's promise: `count` vectors are there.
                let vector = unsafe { vectors.add(index) };
                // SAFETY: The same, and the kernel asks for no alignment.
                let vector = unsafe { vector.read_unaligned() };
                Segment { address: vector.iov_base as usize, len: vector.iov_len as usize }
            };
            (0..count).map(vector).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns the memory that vectors name.
pub(crate) fn of_vectors(vectors: &[iovec]) -> Vec<Segment> {
    let segment = |it: &iovec| Segment { address: it.iov_base, len: it.iov_len };
    vectors.iter().map(segment).collect()
}

/// Copies the first `length` bytes out of the segments.
///
/// # Safety
/// The segments are memory of an operation in flight, hence valid for reads.
pub(crate) unsafe fn gather(segments: &[Segment], length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut rest = &mut bytes[..];
    for segment in segments {
        let count = segment.len.min(rest.len());
        let (now, later) = rest.split_at_mut(count);
        let from = ptr::with_exposed_provenance::<u8>(segment.address);
        if count > 0 {
            // SAFETY: The caller's promise; `now` is memory of this function's own.
            unsafe { from.copy_to_nonoverlapping(now.as_mut_ptr(), count) };
        }
        rest = later;
    }
    bytes
}

/// Copies bytes into the segments, as many as find room.
///
/// # Safety
/// The segments are memory of a read in flight, hence valid for writes.
pub(crate) unsafe fn scatter(segments: &[Segment], mut bytes: &[u8]) {
    for segment in segments {
        let (now, later) = bytes.split_at(segment.len.min(bytes.len()));
        let to = ptr::with_exposed_provenance_mut::<u8>(segment.address);
        if !now.is_empty() {
            // SAFETY: The caller's promise; `now` is memory of the caller's own.
            unsafe { to.copy_from_nonoverlapping(now.as_ptr(), now.len()) };
        }
        bytes = later;
    }
}
