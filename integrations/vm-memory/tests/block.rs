//! A guest's requests to a disk, by the crates that hypervisors use.

use linux_aio::EventFd;
use linux_aio_with_vm_memory::guest::{self, Answer, DATA, Guest, Piece};
use linux_aio_with_vm_memory::{Disk, LARGEST, SECTOR, serve};
use rustix::fs::OFlags;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD,
    VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const MIB: usize = 1 << 20;
const OK: u8 = VIRTIO_BLK_S_OK as u8;
const IOERR: u8 = VIRTIO_BLK_S_IOERR as u8;
/// Between them is a hole of no memory.
const REGIONS: [(u64, usize); 2] = [(0, 4 * MIB), (4 << 20, 28 * MIB)];

/// A disk with a guest, and the directory of its image.
struct Machine {
    guest: Guest,
    disk: Disk,
    memory: Arc<GuestMemoryMmap>,
    image: PathBuf,
    _directory: tempfile::TempDir,
}

impl Machine {
    fn new(content: &[u8]) -> io::Result<Self> {
        Self::with_depth(content, 32)
    }

    fn with_depth(content: &[u8], depth: u32) -> io::Result<Self> {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let image = directory.path().join("image");
        fs::write(&image, content)?;
        let memory = guest::memory(&REGIONS)?;
        let guest = Guest::new(Arc::clone(&memory), 64);
        let disk = Disk::new(open(&image)?, Arc::clone(&memory), guest.virtqueue(), depth)?;
        Ok(Self { guest, disk, memory, image, _directory: directory })
    }

    /// Makes one request and serves it.
    fn ask(&mut self, kind: u32, sector: u64, data: &[Piece]) -> io::Result<Answer> {
        self.guest.request(0, kind, sector, data);
        self.serve_one()
    }

    fn serve_one(&mut self) -> io::Result<Answer> {
        self.disk.take_requests()?;
        loop {
            if let Some((_, answer)) = self.guest.next_answer() {
                return Ok(answer);
            }
            self.disk.complete()?;
        }
    }

    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).expect("memory");
        bytes
    }
}

/// Opens with `O_DIRECT` where the file system has it.
fn open(image: &PathBuf) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let direct = options.clone().custom_flags(OFlags::DIRECT.bits() as i32).open(image);
    direct.or_else(|_| {
        println!("SKIPPED O_DIRECT: the file system refuses it");
        options.open(image)
    })
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 512 * 31 + i % 251) as u8).collect()
}

/// Goal: one request scatters to several pieces in their order, and its bytes are those of the
/// image. Method: pieces out of order, one across the border of two regions.
#[test]
fn a_read_fills_the_guests_pieces() -> io::Result<()> {
    let content = pattern(MIB);
    let mut machine = Machine::new(&content)?;
    let border = 4 << 20;
    let pieces = [(DATA + 8192, 4096, true), (border - 4096, 8192, true), (DATA, 4096, true)];
    assert_eq!(machine.ask(VIRTIO_BLK_T_IN, 16, &pieces)?, (OK, 16385));
    let read: Vec<u8> =
        pieces.iter().flat_map(|&(at, len, _)| machine.bytes(at, len as usize)).collect();
    assert!(read == content[8192..][..16384]);
    assert!(machine.bytes(DATA + 4096, 4096) == [0; 4096], "a piece nobody named was written");
    Ok(())
}

/// Goal: memory that `O_DIRECT` does not take is served as well, and the layout of header, data
/// and status is free, as virtio 1.0 says.
#[test]
fn memory_of_any_alignment_and_layout_is_served() -> io::Result<()> {
    let content = pattern(MIB);
    let mut machine = Machine::new(&content)?;
    let odd = [(DATA + 1, 1000, true), (DATA + 5001, 7192, true)];
    assert_eq!(machine.ask(VIRTIO_BLK_T_IN, 8, &odd)?, (OK, 8193));
    let read = [machine.bytes(DATA + 1, 1000), machine.bytes(DATA + 5001, 7192)].concat();
    assert!(read == content[4096..][..8192]);

    // A header in two pieces, the second with the first data; the status behind the last data.
    let mut header = [0u8; 16 + 100];
    header[..4].copy_from_slice(&VIRTIO_BLK_T_OUT.to_le_bytes());
    header[8..16].copy_from_slice(&4u64.to_le_bytes());
    header[16..].fill(7);
    let at = DATA + 0x1_0000;
    machine.memory.write_slice(&header, GuestAddress(at)).expect("memory");
    machine.memory.write_slice(&[9; 412], GuestAddress(at + 4096)).expect("memory");
    machine.guest.chain(
        1,
        &[(at, 3, false), (at + 3, 113, false), (at + 4096, 412, false), (at + 8191, 1, true)],
    );
    assert_eq!(machine.serve_one()?.1, 1);
    assert_eq!(machine.bytes(at + 8191, 1), [OK]);
    let written = fs::read(&machine.image)?;
    assert!(written[..2048] == content[..2048] && written[2560..] == content[2560..]);
    assert_eq!(written[2048..2560], [&[7; 100][..], &[9; 412]].concat());
    Ok(())
}

/// Goal: what was written is in the image after the flush; a discard gives blocks back, and its
/// range reads as zeros.
#[test]
fn writes_flushes_and_discards_reach_the_image() -> io::Result<()> {
    let mut machine = Machine::new(&vec![1; 4 * MIB])?;
    let bytes = pattern(2 * 65536);
    machine.memory.write_slice(&bytes, GuestAddress(DATA)).expect("memory");
    let pieces = [(DATA, 65536, false), (DATA + 65536, 65536, false)];
    assert_eq!(machine.ask(VIRTIO_BLK_T_OUT, 128, &pieces)?, (OK, 1));
    assert_eq!(machine.ask(VIRTIO_BLK_T_FLUSH, 0, &[])?, (OK, 1));
    let mut written = vec![0; bytes.len()];
    File::open(&machine.image)?.read_exact_at(&mut written, 65536)?;
    assert!(written == bytes);

    let before = fs::metadata(&machine.image)?.blocks();
    let mut segments = Vec::new();
    for (sector, sectors) in [(2048u64, 1024u32), (4096, 2048)] {
        segments.extend(sector.to_le_bytes());
        segments.extend(sectors.to_le_bytes());
        segments.extend([0; 4]);
    }
    let at = DATA + 0x8_0000;
    machine.memory.write_slice(&segments, GuestAddress(at)).expect("memory");
    let answer = machine.ask(VIRTIO_BLK_T_DISCARD, 0, &[(at, 32, false)])?;
    assert_eq!(answer, (OK, 1));
    assert!(fs::metadata(&machine.image)?.blocks() < before);
    let content = fs::read(&machine.image)?;
    assert!(content[1 << 20..][..1 << 19].iter().all(|&byte| byte == 0));
    assert_eq!(content[(1 << 20) - 1], 1);
    Ok(())
}

/// Goal: a hostile guest gets an error, or nothing, and the device goes on.
#[test]
fn requests_that_cannot_be_fail_alone() -> io::Result<()> {
    let mut machine = Machine::new(&pattern(MIB))?;
    let last = (MIB as u64) / SECTOR;
    let block = (DATA, 4096, true);
    let beyond = (REGIONS[1].0 + REGIONS[1].1 as u64 - 512, 4096, true);
    let endless = (u64::MAX - 511, 1024, true);
    let huge = (DATA, LARGEST as u32 + 512, true);
    for (kind, sector, pieces) in [
        (VIRTIO_BLK_T_IN, last, &[block][..]),
        (VIRTIO_BLK_T_IN, last - 7, &[block]),
        (VIRTIO_BLK_T_IN, u64::MAX, &[block]),
        (VIRTIO_BLK_T_IN, u64::MAX / SECTOR, &[block]),
        (VIRTIO_BLK_T_IN, 0, &[]),
        (VIRTIO_BLK_T_IN, 0, &[(DATA, 513, true)]),
        (VIRTIO_BLK_T_IN, 0, &[(DATA, 4096, false)]),
        (VIRTIO_BLK_T_IN, 0, &[beyond]),
        (VIRTIO_BLK_T_IN, 0, &[endless]),
        (VIRTIO_BLK_T_IN, 0, &[huge]),
        (VIRTIO_BLK_T_OUT, 0, &[(1 << 40, 512, false)]),
        (VIRTIO_BLK_T_DISCARD, 0, &[(DATA, 17, false)]),
    ] {
        assert_eq!(machine.ask(kind, sector, pieces)?, (IOERR, 1), "{kind} {sector} {pieces:?}");
    }
    assert_eq!(machine.ask(77, 0, &[block])?.0, VIRTIO_BLK_S_UNSUPP as u8);
    // No header; a header cut short; no status; a status where there is no memory.
    machine.guest.chain(1, &[(DATA, 1, true)]);
    assert_eq!((machine.serve_one()?.1, machine.bytes(DATA, 1)), (1, vec![IOERR]));
    machine.guest.chain(1, &[(DATA, 15, false), (DATA + 64, 1, true)]);
    assert_eq!((machine.serve_one()?.1, machine.bytes(DATA + 64, 1)), (1, vec![IOERR]));
    machine.guest.chain(1, &[(DATA, 16, false)]);
    assert_eq!(machine.serve_one()?.1, 0);
    machine.guest.chain(1, &[(DATA, 16, false), (1 << 40, 1, true)]);
    assert_eq!(machine.serve_one()?.1, 0);
    // The same bytes twice, and as header and status: whatever it reads, nothing else is hit.
    assert_eq!(machine.ask(VIRTIO_BLK_T_IN, 0, &[block, block])?, (OK, 8193));
    Ok(())
}

/// Goal: a loop that waits for two descriptors serves every request once, with fewer operations in
/// flight than the guest has requests. Method: 4000 reads, 64 at a time, each checked.
#[test]
fn an_event_loop_serves_every_request_once() -> io::Result<()> {
    let content = pattern(4 * MIB);
    let Machine { mut guest, mut disk, memory, image: _, _directory } =
        Machine::with_depth(&content, 8)?;
    let (kick, interrupt, stop) = (EventFd::new()?, EventFd::new()?, AtomicBool::new(false));
    thread::scope(|threads| {
        let device = threads.spawn(|| serve(&mut disk, &kick, &interrupt, &stop));
        let (mut asked, mut answered) = (0u64, 0);
        let mut sectors = [0u64; 64];
        let mut free: Vec<u16> = (0..64).collect();
        while answered < 4000 {
            while let Some(number) = free.pop().filter(|_| asked < 4000) {
                asked += 1;
                let sector = asked * 8 * 7919 % 8192;
                sectors[usize::from(number)] = sector;
                let at = DATA + u64::from(number) * 4096;
                guest.request(number, VIRTIO_BLK_T_IN, sector, &[(at, 4096, true)]);
            }
            kick.add(1)?;
            while let Some((number, answer)) = guest.next_answer() {
                assert_eq!(answer, (OK, 4097));
                let mut read = [0; 4096];
                let at = GuestAddress(DATA + u64::from(number) * 4096);
                memory.read_slice(&mut read, at).expect("memory");
                let sector = sectors[usize::from(number)];
                assert!(read == content[(sector * SECTOR) as usize..][..4096], "{sector}");
                free.push(number);
                answered += 1;
            }
            rustix::event::poll(
                &mut [rustix::event::PollFd::new(&interrupt.fd(), rustix::event::PollFlags::IN)],
                Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 1_000_000 }),
            )?;
            interrupt.take()?;
        }
        stop.store(true, Ordering::Release);
        kick.add(1)?;
        device.join().expect("the device")
    })
}
