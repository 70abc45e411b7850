//! Requests a second of a disk, beside a device that calls `preadv` for each request.

use linux_aio_with_vm_memory::guest::{self, DATA, Guest};
use linux_aio_with_vm_memory::{Disk, SECTOR};
use measure::{Result, Work, compare};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use virtio_bindings::virtio_blk::VIRTIO_BLK_T_IN;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

const IMAGE: u64 = 256 << 20;
const BLOCK: u32 = 4096;
const REQUESTS: u32 = 20_000;

/// A device, as far as a measurement needs it.
trait Device {
    /// Takes the guest's requests, and returns when some were answered.
    fn serve(&mut self) -> io::Result<()>;
}

impl Device for Disk {
    fn serve(&mut self) -> io::Result<()> {
        self.take_requests()?;
        poll(&mut [PollFd::new(&self.completion_fd()?, PollFlags::IN)], None)?;
        self.complete().map(drop)
    }
}

/// A device that waits for the disk in each request.
struct Blocking {
    image: File,
    memory: Arc<GuestMemoryMmap>,
    virtqueue: Queue,
}

impl Device for Blocking {
    fn serve(&mut self) -> io::Result<()> {
        loop {
            let memory = Arc::clone(&self.memory);
            let chain = self.virtqueue.iter(memory).map_err(io::Error::other)?.next();
            let Some(mut chain) = chain else { return Ok(()) };
            let head = chain.head_index();
            let [header, data, status] = [(); 3].map(|()| chain.next().expect("a piece"));
            let sector = GuestAddress(header.addr().0 + 8);
            let sector: u64 = self.memory.read_obj(sector).map_err(io::Error::other)?;
            let slice = self.memory.get_slice(data.addr(), data.len() as usize);
            let slice = slice.map_err(io::Error::other)?;
            let guard = slice.ptr_guard_mut();
            let iovec = libc::iovec { iov_base: guard.as_ptr().cast(), iov_len: guard.len() };
            let (fd, offset) = (self.image.as_raw_fd(), (sector * SECTOR) as libc::off_t);
            // SAFETY: The vector names one piece of guest memory, which is mapped until `slice`
            // ends, and which nobody holds a reference to.
            let count = unsafe { libc::preadv(fd, &iovec, 1, offset) };
            assert_eq!(count, data.len() as isize);
            self.memory.write_obj(0u8, status.addr()).map_err(io::Error::other)?;
            let len = data.len() + 1;
            self.virtqueue.add_used(&*self.memory, head, len).map_err(io::Error::other)?;
        }
    }
}

/// Asks for blocks anywhere in the image, `depth` at a time.
fn drive(guest: &mut Guest, depth: u16, device: &mut dyn Device) -> Result {
    let mut free: Vec<u16> = (0..depth).collect();
    let (mut asked, mut answered) = (0u32, 0);
    while answered < REQUESTS {
        while let Some(number) = free.pop().filter(|_| asked < REQUESTS) {
            asked += 1;
            let block = u64::from(asked).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            let sector = block % (IMAGE / u64::from(BLOCK)) * u64::from(BLOCK) / SECTOR;
            let at = DATA + u64::from(number) * u64::from(BLOCK);
            guest.request(number, VIRTIO_BLK_T_IN, sector, &[(at, BLOCK, true)]);
        }
        device.serve()?;
        while let Some((number, answer)) = guest.next_answer() {
            assert_eq!(answer, (0, BLOCK + 1));
            free.push(number);
            answered += 1;
        }
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    let direct = OFlags::DIRECT.bits() as i32;
    OpenOptions::new().read(true).write(true).custom_flags(direct).open(path)
}

fn main() -> Result {
    let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
    let path = directory.path().join("image");
    std::fs::write(&path, vec![1; IMAGE as usize])?;
    measure::make_cold(&File::open(&path)?)?;
    for depth in [1, 32] {
        let memory = guest::memory(&[(0, 4 << 20)])?;
        let mut guest = Guest::new(Arc::clone(&memory), 64);
        let mut disk = Disk::new(open(&path)?, memory, guest.virtqueue(), 64)?;

        let memory = guest::memory(&[(0, 4 << 20)])?;
        let mut other = Guest::new(Arc::clone(&memory), 64);
        let virtqueue = other.virtqueue();
        let mut blocking = Blocking { image: open(&path)?, memory, virtqueue };

        let what = format!("4 KiB random reads of a guest, {depth} at a time");
        let work = Work {
            with: "vm-memory 0.18",
            what: &what,
            amount: f64::from(REQUESTS),
            unit: "requests",
        };
        let theirs = || drive(&mut other, depth, &mut blocking);
        compare(work, ("`preadv` in turn", theirs), || drive(&mut guest, depth, &mut disk))?;
    }
    Ok(())
}
