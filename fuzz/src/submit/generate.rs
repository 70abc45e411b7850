//! What inputs become: iocbs, valid and nonsense, within the model's domain.

use super::{STRIDE, Submit};
use crate::input::Source;
use crate::memory::page;
use crate::model::{Descriptor, KERNEL_ADDRESS, Kind};
use linux_aio::abi::{
    IOCB_CMD_FDSYNC, IOCB_CMD_FSYNC, IOCB_CMD_POLL, IOCB_CMD_PREAD, IOCB_CMD_PREADV,
    IOCB_CMD_PWRITE, IOCB_CMD_PWRITEV, IOCB_FLAG_IOPRIO, IOCB_FLAG_RESFD, RWF_ATOMIC,
    RWF_DONTCACHE, RWF_DSYNC, RWF_NOWAIT, RWF_SYNC, iocb, iovec,
};
use std::ptr;

/// Where an iocb lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It can be read and written.
    Good,
    /// It can be read.
    ReadOnly,
    /// Not all of it is mapped.
    Bad,
}

impl Place {
    pub(super) fn is_readable(self) -> bool {
        self != Self::Bad
    }
}

/// An iocb and where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    pub(super) iocb: iocb,
    pub(super) place: Place,
    pub(super) at: u64,
}

impl Spec {
    pub(super) fn is_poll(&self) -> bool {
        self.iocb.aio_lio_opcode == IOCB_CMD_POLL
    }
}

/// Whether the model knows what an address of the kernel's gives.
const KERNEL_IS_KNOWN: bool = cfg!(target_arch = "x86_64");

const OPCODES: [u16; 16] = [
    IOCB_CMD_PREAD,
    IOCB_CMD_PREAD,
    IOCB_CMD_PREAD,
    IOCB_CMD_PWRITE,
    IOCB_CMD_PWRITE,
    IOCB_CMD_PWRITE,
    IOCB_CMD_PREADV,
    IOCB_CMD_PREADV,
    IOCB_CMD_PWRITEV,
    IOCB_CMD_PWRITEV,
    IOCB_CMD_POLL,
    IOCB_CMD_POLL,
    IOCB_CMD_POLL,
    IOCB_CMD_FSYNC,
    IOCB_CMD_FDSYNC,
    u16::MAX,
];

impl Submit {
    /// One iocb, in its place.
    pub(super) fn generate(&mut self, source: &mut Source<'_>) -> Spec {
        let file = source.pick(&self.table.descriptors);
        let opcode = match source.pick(&OPCODES) {
            u16::MAX => source.word() as u16,
            opcode => opcode,
        };
        let mut iocb = iocb {
            aio_data: source.word(),
            aio_key: if source.once_in(8) { source.word() as u32 } else { 0 },
            aio_lio_opcode: opcode,
            aio_fildes: file.number as u32,
            ..iocb::ZERO
        };
        match opcode {
            IOCB_CMD_FSYNC | IOCB_CMD_FDSYNC => {}
            IOCB_CMD_POLL => iocb.aio_buf = poll_events(source),
            IOCB_CMD_PREADV | IOCB_CMD_PWRITEV => {
                (iocb.aio_buf, iocb.aio_nbytes) = self.vector(source, &file);
                iocb.aio_offset = self.offset(source, &file);
            }
            _ => {
                (iocb.aio_buf, iocb.aio_nbytes) = self.buffer(source, &file);
                iocb.aio_offset = self.offset(source, &file);
            }
        }
        let is_transfer =
            matches!(opcode, IOCB_CMD_PREAD | IOCB_CMD_PWRITE | IOCB_CMD_PREADV | IOCB_CMD_PWRITEV);
        if is_transfer && source.once_in(4) {
            iocb.aio_rw_flags = rw_flags(source, &file);
        }
        if source.once_in(16) {
            self.spoil(source, &mut iocb, is_transfer);
        }
        self.add_flags(source, &mut iocb);
        self.put(source, iocb)
    }

    /// `aio_flags` and what they bring in.
    fn add_flags(&self, source: &mut Source<'_>, iocb: &mut iocb) {
        if source.once_in(8) {
            iocb.aio_flags |= IOCB_FLAG_RESFD;
            iocb.aio_resfd = self.table.signalled as u32;
            if source.once_in(4) {
                // Not one whose count the model keeps.
                let other = source.pick(&self.table.descriptors);
                if !matches!(other.kind, Kind::EventFd(_)) {
                    iocb.aio_resfd = other.number as u32;
                }
            }
        }
        if source.once_in(8) {
            iocb.aio_flags |= IOCB_FLAG_IOPRIO;
            let class = source.pick(&[0u16, 1, 2, 2, 2, 3, 3, 4, 7]);
            let level = source.pick(&[0u16, 0, 1, 4, 7, 8, 0x1fff]);
            iocb.aio_reqprio = (class << 13 | level) as i16;
        }
        if source.once_in(16) {
            iocb.aio_flags |= source.word() as u32 & !(IOCB_FLAG_RESFD | IOCB_FLAG_IOPRIO);
        }
        if source.once_in(16) && iocb.aio_flags & IOCB_FLAG_IOPRIO == 0 {
            iocb.aio_reqprio = source.word() as i16;
        }
    }

    /// One field, to something that it should not be.
    fn spoil(&self, source: &mut Source<'_>, iocb: &mut iocb, is_transfer: bool) {
        match source.below(5) {
            0 => iocb.aio_reserved2 = source.pick(&[1, 1 << 63, u64::MAX]),
            1 => iocb.aio_nbytes |= 1 << 63,
            2 if !is_transfer => iocb.aio_nbytes = source.pick(&[1, 4096, u64::MAX]),
            3 if !is_transfer => iocb.aio_offset = source.pick(&[1, -1, i64::MIN]),
            4 if !is_transfer => iocb.aio_rw_flags = source.word() as i32,
            _ if !is_transfer => iocb.aio_buf = source.pick(&[1, 1 << 16, u64::MAX]),
            _ => iocb.aio_offset = source.pick(&[-1, i64::MIN, i64::MAX]),
        }
    }

    fn is_direct(file: &Descriptor) -> bool {
        matches!(file.kind, Kind::Regular { direct: true, .. })
    }

    fn buffer(&self, source: &mut Source<'_>, file: &Descriptor) -> (u64, u64) {
        let aligned = Self::is_direct(file) && !source.once_in(4);
        let at = self.address(source, aligned);
        (at, length(source, aligned) as u64)
    }

    fn address(&self, source: &mut Source<'_>, aligned: bool) -> u64 {
        let edges = self.arena.edges();
        let at = match source.below(16) {
            0..=7 => edges[1] + source.below(12 * page()),
            8 | 9 => edges[1] + source.below(15) * page(),
            10..=12 => source.pick(&edges[1..]) - source.below(600),
            13 => edges[2] + source.below(page()),
            14 => source.pick(&edges) + source.below(64),
            _ if KERNEL_IS_KNOWN && source.once_in(2) => {
                return source.pick(&[KERNEL_ADDRESS, u64::MAX, 1 << 63]);
            }
            _ => 0,
        };
        (if aligned { at & !511 } else { at }) as u64
    }

    /// An array of iovecs, and how many are asked for.
    fn vector(&mut self, source: &mut Source<'_>, file: &Descriptor) -> (u64, u64) {
        let odd_count = source.pick(&[0u64, 1, 8, 9, 1024, 1025, 1 << 31, 1 << 32, (1 << 32) + 2]);
        match source.below(24) {
            0 => return (self.arena.readonly() as u64, odd_count),
            1 => return (self.vectors.end() as u64, odd_count),
            2 if KERNEL_IS_KNOWN => return (KERNEL_ADDRESS, odd_count),
            3 => return (0, odd_count),
            _ => {}
        }
        let count = source.pick(&[1, 1, 2, 2, 3, 4, 7, 8, 9, 12]);
        let aligned = Self::is_direct(file) && !source.once_in(4);
        let segments: Vec<iovec> = (0..count).map(|_| self.segment(source, aligned)).collect();
        let size = size_of_val(&segments[..]);
        if self.next_vector - self.vectors.start() < size {
            return (0, odd_count);
        }
        self.next_vector = self.vectors.put_before(self.next_vector, &segments);
        let asked = if source.once_in(16) { odd_count } else { count as u64 };
        (self.next_vector as u64, asked)
    }

    fn segment(&self, source: &mut Source<'_>, aligned: bool) -> iovec {
        let iov_base = self.address(source, aligned) as usize;
        let iov_len = match source.below(24) {
            0 => 0,
            1 if KERNEL_IS_KNOWN => source.pick(&[usize::MAX, 1 << 63, (1 << 63) - 1]),
            _ => length(source, aligned),
        };
        iovec { iov_base, iov_len }
    }

    /// What the kernel can read at `at`, as iovecs, where arrays of them lie: at most `count`.
    pub(super) fn vectors_at(&self, at: u64, count: u64) -> Vec<iovec> {
        let at = at as usize;
        let readonly = self.arena.readonly();
        let in_arrays = at >= self.vectors.start() && at < self.vectors.end();
        let room = if in_arrays {
            self.vectors.end() - at
        } else if at == readonly {
            self.arena.accessible(at, 1 << 20, false).min(4 * page())
        } else {
            return Vec::new();
        };
        let count = (room / size_of::<iovec>()).min(count as u32 as usize).min(1024);
        let first = ptr::with_exposed_provenance::<iovec>(at);
        let read = |i| {
            // SAFETY: `i` is below the number of iovecs that the area has room for from `at` on.
            let place = unsafe { first.add(i) };
            // SAFETY: The area is mapped and has no references into it; any bytes are an iovec.
            unsafe { place.read_unaligned() }
        };
        (0..count).map(read).collect()
    }

    fn offset(&self, source: &mut Source<'_>, file: &Descriptor) -> i64 {
        if matches!(file.kind, Kind::Socket { .. }) && !source.once_in(8) {
            return 0;
        }
        let Kind::Regular { file, direct, .. } = file.kind else {
            return source.pick(&[0, 0, 0, 1, 4096, i64::MAX, -1]);
        };
        let known = &self.table.state.files[file];
        let offset = match source.below(12) {
            0..=6 => source.below(70_000) as i64,
            7 | 8 => known.size as i64 - source.below(4) as i64,
            9 => (known.max_size as i64).saturating_sub(source.below(8192) as i64 - 4),
            10 => 1 << 32,
            _ => source.pick(&[-1, i64::MIN, i64::MAX, i64::MAX - 4095]),
        };
        if direct && !source.once_in(4) { offset & !511 } else { offset }
    }

    /// Puts an iocb where it is to lie.
    fn put(&mut self, source: &mut Source<'_>, iocb: iocb) -> Spec {
        let place = self.iocbs.start() + self.next_place * STRIDE;
        let readonly = self.next_place * STRIDE % page();
        self.next_place += 1;
        let (place, at) = match source.below(64) {
            0 => (Place::Bad, 0),
            1 => (Place::Bad, self.iocbs.end() - 32),
            2 => (Place::Bad, self.iocbs.end()),
            3 if KERNEL_IS_KNOWN => (Place::Bad, KERNEL_ADDRESS as usize),
            4 => (Place::ReadOnly, self.readonly.readonly + readonly),
            5..=8 => (Place::Good, place + source.below(64)),
            _ => (Place::Good, place),
        };
        let written = match place {
            Place::Good => at,
            Place::ReadOnly => self.readonly.writable + readonly,
            Place::Bad => return Spec { iocb, place, at: at as u64 },
        };
        let target = ptr::with_exposed_provenance_mut::<linux_aio::abi::iocb>(written);
        // SAFETY: The place lies in an area for iocbs, is that of no operation in flight, and
        // nothing has references to it.
        unsafe { target.write_unaligned(iocb) };
        Spec { iocb, place, at: at as u64 }
    }
}

/// A number of bytes.
fn length(source: &mut Source<'_>, aligned: bool) -> usize {
    let len = match source.below(16) {
        0 => 0,
        1..=4 => source.below(64),
        5..=9 => source.below(5000),
        10 | 11 => source.below(4) * page() + page(),
        12 => source.pick(&[7, 8, 9, 511, 512, 4095, 4096, 4097, 65535, 65536, 65537]),
        13 => source.below(200_000),
        14 => source.pick(&[1 << 20, 1 << 31, (1 << 31) - 4096, (1 << 31) - 1, 1 << 32]),
        _ => 512,
    };
    if aligned { (len + 511) & !511 } else { len }
}

fn poll_events(source: &mut Source<'_>) -> u64 {
    match source.below(8) {
        0..=3 => source.pick(&[1u64, 4, 5, 2, 0, 0x41, 0x104, 0x2000]),
        // The bits that the kernel knows; what it drops of the others is not modelled.
        4..=6 => source.word() & 0x23ff,
        _ => source.pick(&[1 << 16, 1 << 32, 1 << 63]),
    }
}

/// Flags, mostly one or two that are known.
fn rw_flags(source: &mut Source<'_>, file: &Descriptor) -> i32 {
    let mut flags = 0;
    for _ in 0..1 + source.below(3) {
        flags |= 1 << source.below(9);
    }
    if source.once_in(16) {
        flags = source.word() as i32;
    }
    // A flush of the disk takes its time: seldom.
    if !source.once_in(32) {
        flags &= !(RWF_DSYNC | RWF_SYNC);
    }
    match file.kind {
        // What these say to flags cannot be measured by another call.
        Kind::Directory => flags & !(RWF_NOWAIT | RWF_DONTCACHE | RWF_ATOMIC),
        _ => flags,
    }
}
