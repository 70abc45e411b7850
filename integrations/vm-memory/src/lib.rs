//! A virtio block device over [`linux_aio::Queue`]: guest memory is read and written where it is.
//!
//! The kernel gets the guest's own buffers, by one vectored operation a request. An epoll loop
//! waits for the guest and for the disk by two descriptors.

mod event_loop;
pub mod guest;
mod guest_bytes;
mod transfer;

pub use event_loop::serve;
pub use guest_bytes::GuestBytes;

use guest_bytes::Pieces;
use linux_aio::geometry::Geometry;
use linux_aio::op::Fdsync;
use linux_aio::{Errno, Fd, Queue};
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::io;
use std::sync::Arc;
use transfer::{Alignment, Transfer};
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD,
    VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
};
use virtio_queue::{Queue as VirtQueue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// The length of a sector of virtio, whatever the sectors of the disk are.
pub const SECTOR: u64 = 512;

/// The number of bytes that one request may transfer: what a copy of it takes.
pub const LARGEST: u64 = 16 << 20;

/// A request whose operation is in flight, or has completed.
#[derive(Debug)]
struct Pending {
    head: u16,
    status: GuestAddress,
    /// The count that the operation completes with if all was done.
    expected: u32,
    /// The number of bytes that the guest has got then, without the status.
    to_guest: u32,
}

/// A block device: an image, the guest's memory, and a queue that the guest fills.
#[derive(Debug)]
pub struct Disk {
    image: Arc<File>,
    sectors: u64,
    align: Alignment,
    memory: Arc<GuestMemoryMmap>,
    virtqueue: VirtQueue,
    queue: Queue<(Transfer, Pending)>,
}

impl Disk {
    /// Takes an image, which is open for reading and writing, at best with `O_DIRECT`. Up to
    /// `depth` requests are in flight.
    ///
    /// # Errors
    /// Those of `fstat(2)`, of `eventfd(2)`, and of [`Queue::with_capacity`].
    pub fn new(
        image: File,
        memory: Arc<GuestMemoryMmap>,
        virtqueue: VirtQueue,
        depth: u32,
    ) -> io::Result<Self> {
        let direct = Geometry::of(&image).direct_io;
        let align = Alignment { memory: direct.memory(), len: direct.offset() };
        let sectors = image.metadata()?.len() / SECTOR;
        let queue = Queue::with_capacity(depth)?;
        // Before the first submission, so that each completion signals it.
        queue.completion_fd()?;
        Ok(Self { image: Arc::new(image), sectors, align, memory, virtqueue, queue })
    }

    /// Returns the descriptor that is readable while there are completions. Call
    /// [`complete`](Self::complete) then.
    ///
    /// # Errors
    /// [`Errno::FORKED`] in a forked child.
    pub fn completion_fd(&self) -> Result<Fd<'_>, Errno> {
        self.queue.completion_fd()
    }

    /// Takes the guest's requests, as many as fit, and submits them together. Returns whether the
    /// guest must be interrupted. Call it when the guest kicks.
    ///
    /// # Errors
    /// Those of `io_submit(2)`, and `InvalidData` if the guest has broken its queue.
    pub fn take_requests(&mut self) -> io::Result<bool> {
        let mut answered = false;
        while self.queue.in_flight() + self.queue.queued() < self.queue.capacity() {
            let memory = Arc::clone(&self.memory);
            let mut chains = self.virtqueue.iter(memory).map_err(broken)?;
            let Some(chain) = chains.next() else { break };
            let head = chain.head_index();
            let pieces = |writable| {
                let chain = chain.clone();
                let rw = if writable { chain.writable() } else { chain.readable() };
                rw.map(|piece| (piece.addr(), piece.len() as usize)).collect::<Pieces>()
            };
            let (from_guest, mut to_guest) = (pieces(false), pieces(true));
            let Some(status) = to_guest.pop_last_byte() else {
                // There is no room for an answer.
                self.virtqueue.add_used(&*self.memory, head, 0).map_err(broken)?;
                answered = true;
                continue;
            };
            match self.start(head, status, from_guest, to_guest) {
                Ok(request) => {
                    let pushed = self.queue.push(request);
                    pushed.map_err(|error| io::Error::from(error.errno()))?;
                }
                Err(code) => {
                    self.answer(head, status, code, 0)?;
                    answered = true;
                }
            }
        }
        self.queue.submit()?;
        Ok(answered && self.must_interrupt()?)
    }

    /// Answers the requests that the disk has completed, and takes others in their place. Returns
    /// whether the guest must be interrupted.
    ///
    /// # Errors
    /// As [`take_requests`](Self::take_requests).
    pub fn complete(&mut self) -> io::Result<bool> {
        let mut answered = false;
        while let Some(done) = self.queue.try_next()? {
            let (transfer, Pending { head, status, expected, to_guest }) = done.op;
            if done.result == Ok(expected) {
                transfer.finish();
                self.answer(head, status, VIRTIO_BLK_S_OK, to_guest)?;
            } else {
                self.answer(head, status, VIRTIO_BLK_S_IOERR, 0)?;
            }
            answered = true;
        }
        let interrupt = answered && self.must_interrupt()?;
        Ok(self.take_requests()? || interrupt)
    }

    /// Makes the operation of a request, or returns the status with which it has ended at once.
    fn start(
        &self,
        head: u16,
        status: GuestAddress,
        mut from_guest: Pieces,
        to_guest: Pieces,
    ) -> Result<(Transfer, Pending), u32> {
        let header: [u8; 16] = from_guest.take(&self.memory).ok_or(VIRTIO_BLK_S_IOERR)?;
        let (kind, rest) = header.split_at(4);
        let kind = u32::from_le_bytes(kind.try_into().expect("4 bytes"));
        let sector = u64::from_le_bytes(rest[4..].try_into().expect("8 bytes"));
        let pending = |expected, to_guest| Pending { head, status, expected, to_guest };
        let image = || Arc::clone(&self.image);
        match kind {
            VIRTIO_BLK_T_IN | VIRTIO_BLK_T_OUT => {
                let is_read = kind == VIRTIO_BLK_T_IN;
                let pieces = if is_read { to_guest } else { from_guest };
                let (offset, len) = self.range(sector, pieces.len())?;
                let memory = pieces.resolve(&self.memory).ok_or(VIRTIO_BLK_S_IOERR)?;
                let make = if is_read { Transfer::read } else { Transfer::write };
                let transfer = make(image(), memory, offset, self.align);
                let transfer = transfer.ok_or(VIRTIO_BLK_S_IOERR)?;
                Ok((transfer, pending(len, if is_read { len } else { 0 })))
            }
            VIRTIO_BLK_T_FLUSH => Ok((Transfer::Flush(Fdsync::new(image())), pending(0, 0))),
            VIRTIO_BLK_T_DISCARD => Err(self.discard(from_guest)),
            _ => Err(VIRTIO_BLK_S_UNSUPP),
        }
    }

    /// Returns the offset and the length of a transfer in the image, in bytes.
    fn range(&self, sector: u64, len: u64) -> Result<(u64, u32), u32> {
        let end = sector.checked_add(len.div_ceil(SECTOR)).ok_or(VIRTIO_BLK_S_IOERR)?;
        if len == 0 || len % SECTOR != 0 || len > LARGEST || end > self.sectors {
            return Err(VIRTIO_BLK_S_IOERR);
        }
        Ok((sector * SECTOR, len as u32))
    }

    /// Gives back the blocks of each segment. AIO has no operation for that, so the loop waits.
    fn discard(&self, mut segments: Pieces) -> u32 {
        while segments.len() > 0 {
            let Some(segment) = segments.take::<16>(&self.memory) else {
                return VIRTIO_BLK_S_IOERR;
            };
            let (sector, rest) = segment.split_at(8);
            let (sectors, flags) = rest.split_at(4);
            let sector = u64::from_le_bytes(sector.try_into().expect("8 bytes"));
            let sectors = u64::from(u32::from_le_bytes(sectors.try_into().expect("4 bytes")));
            if flags != [0; 4] {
                return VIRTIO_BLK_S_UNSUPP;
            }
            if sector.checked_add(sectors).is_none_or(|end| end > self.sectors) || sectors == 0 {
                return VIRTIO_BLK_S_IOERR;
            }
            let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let (offset, len) = (sector * SECTOR, sectors * SECTOR);
            if rustix::fs::fallocate(&self.image, mode, offset, len).is_err() {
                return VIRTIO_BLK_S_IOERR;
            }
        }
        VIRTIO_BLK_S_OK
    }

    fn answer(&mut self, head: u16, at: GuestAddress, code: u32, to_guest: u32) -> io::Result<()> {
        // The guest may have named memory that it does not have: that is its own loss.
        let written = self.memory.write_obj(code as u8, at).is_ok();
        let len = to_guest + u32::from(written);
        self.virtqueue.add_used(&*self.memory, head, len).map_err(broken)
    }

    fn must_interrupt(&mut self) -> io::Result<bool> {
        self.virtqueue.needs_notification(&*self.memory).map_err(broken)
    }
}

fn broken(error: virtio_queue::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
