//! The other side of the queue: a driver as the guest has it, for tests and measurements.

use std::io;
use std::num::Wrapping;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use virtio_bindings::virtio_ring::{VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// The number of descriptors that a request may have.
const CHAIN: u16 = 16;
const DESCRIPTORS: u64 = 0;
const AVAILABLE: u64 = 0x1_0000;
const USED: u64 = 0x2_0000;
const HEADERS: u64 = 0x3_0000;
/// The first address that is free for data.
pub const DATA: u64 = 0x10_0000;

/// A driver with `requests` requests, each of which has a number of its own.
#[derive(Debug)]
pub struct Guest {
    memory: Arc<GuestMemoryMmap>,
    size: u16,
    requests: u16,
    available: Wrapping<u16>,
    used: Wrapping<u16>,
}

/// A piece of guest memory, and whether the device writes to it.
pub type Piece = (u64, u32, bool);

/// The status of a request that was answered, and the number of bytes that the guest has got.
pub type Answer = (u8, u32);

impl Guest {
    /// Makes a driver for up to 64 requests at a time.
    pub fn new(memory: Arc<GuestMemoryMmap>, requests: u16) -> Self {
        assert!((1..=64).contains(&requests));
        let size = (requests * CHAIN).next_power_of_two();
        Self { memory, size, requests, available: Wrapping(0), used: Wrapping(0) }
    }

    /// Returns the device's side of the queue.
    pub fn virtqueue(&self) -> Queue {
        let mut queue = Queue::new(self.size).expect("a power of two");
        queue.set_desc_table_address(Some(DESCRIPTORS as u32), Some(0));
        queue.set_avail_ring_address(Some(AVAILABLE as u32), Some(0));
        queue.set_used_ring_address(Some(USED as u32), Some(0));
        queue.set_ready(true);
        queue
    }

    /// Makes a request available that has a header, data and a status.
    pub fn request(&mut self, number: u16, kind: u32, sector: u64, data: &[Piece]) {
        let header = HEADERS + u64::from(number) * 32;
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        bytes[8..].copy_from_slice(&sector.to_le_bytes());
        self.memory.write_slice(&bytes, GuestAddress(header)).expect("memory");
        let status = header + 16;
        self.memory.write_obj(0xffu8, GuestAddress(status)).expect("memory");
        let mut chain = vec![(header, 16, false)];
        chain.extend_from_slice(data);
        chain.push((status, 1, true));
        self.chain(number, &chain);
    }

    /// Makes any chain of descriptors available.
    pub fn chain(&mut self, number: u16, pieces: &[Piece]) {
        assert!(number < self.requests && pieces.len() <= CHAIN.into());
        let first = number * CHAIN;
        for (i, &(start, len, written)) in pieces.iter().enumerate() {
            let at = first + i as u16;
            let next = if i + 1 < pieces.len() { VRING_DESC_F_NEXT } else { 0 };
            let write = if written { VRING_DESC_F_WRITE } else { 0 };
            let descriptor = Descriptor::new(start, len, (next | write) as u16, at + 1);
            let address = GuestAddress(DESCRIPTORS + u64::from(at) * 16);
            self.memory.write_obj(RawDescriptor::from(descriptor), address).expect("memory");
        }
        let entry = AVAILABLE + 4 + u64::from(self.available.0 % self.size) * 2;
        self.memory.write_obj(first.to_le(), GuestAddress(entry)).expect("memory");
        self.available += 1;
        let index = GuestAddress(AVAILABLE + 2);
        self.memory.store(self.available.0.to_le(), index, Ordering::Release).expect("memory");
    }

    /// Returns the number of the next request that was answered, if there is one.
    pub fn next_answer(&mut self) -> Option<(u16, Answer)> {
        let index = GuestAddress(USED + 2);
        let index: u16 = self.memory.load(index, Ordering::Acquire).expect("memory");
        if u16::from_le(index) == self.used.0 {
            return None;
        }
        let entry = USED + 4 + u64::from(self.used.0 % self.size) * 8;
        let [head, len]: [u32; 2] = self.memory.read_obj(GuestAddress(entry)).expect("memory");
        self.used += 1;
        let number = u32::from_le(head) as u16 / CHAIN;
        let status = GuestAddress(HEADERS + u64::from(number) * 32 + 16);
        let status = self.memory.read_obj(status).expect("memory");
        Some((number, (status, u32::from_le(len))))
    }
}

/// Makes guest memory in regions that begin at these addresses.
///
/// # Errors
/// Those of `mmap(2)`.
pub fn memory(regions: &[(u64, usize)]) -> io::Result<Arc<GuestMemoryMmap>> {
    let regions: Vec<_> = regions.iter().map(|&(at, len)| (GuestAddress(at), len)).collect();
    GuestMemoryMmap::from_ranges(&regions).map(Arc::new).map_err(io::Error::other)
}
