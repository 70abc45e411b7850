//! Carries an operation out when it completes.

use crate::context::{InFlight, On};
use crate::descriptor::Target;
use crate::disk::FileNumber;
use crate::inode::{EVERYWHERE, Inode};
use crate::memory::{gather, scatter};
use crate::world::World;
use linux_aio::Errno;
use linux_aio::abi::{
    IOCB_CMD_FDSYNC, IOCB_CMD_FSYNC, IOCB_CMD_PREAD, IOCB_CMD_PREADV, RWF_APPEND, RWF_DSYNC,
    RWF_NOAPPEND, RWF_NOWAIT, RWF_SYNC,
};
use rustix::fs::OFlags;

/// The result of an operation: a count of bytes, or an error.
type Done = Result<usize, Errno>;

impl World {
    /// Does what an operation says, and returns its result as the kernel does.
    pub(crate) fn execute(&mut self, operation: &InFlight) -> i64 {
        let On::Simulated(target) = operation.on else { return 0 };
        let opcode = operation.iocb.aio_lio_opcode;
        let direct = target.has(OFlags::DIRECT);
        let done = match (target, opcode) {
            (Target::Directory, _) => self.sync_directory(operation),
            (Target::File { file, .. }, IOCB_CMD_FSYNC | IOCB_CMD_FDSYNC) => {
                self.sync(file, direct, operation.covers)
            }
            (Target::File { file, .. }, IOCB_CMD_PREAD | IOCB_CMD_PREADV) => {
                self.read(file, direct, operation)
            }
            (Target::File { file, .. }, _) => self.write(file, target, operation),
        };
        match done {
            Ok(count) => count as i64,
            Err(errno) => -i64::from(errno.as_raw()),
        }
    }

    fn sync_directory(&mut self, operation: &InFlight) -> Done {
        if self.faults.failed_syncs && self.random.one_in(8) {
            return Err(Errno::EIO);
        }
        self.disk.force_names(operation.covers);
        Ok(0)
    }

    fn sync(&mut self, file: FileNumber, direct: bool, covers: u64) -> Done {
        let size = self.faults.sector;
        let inode = self.disk.inode_mut(file);
        if self.faults.failed_syncs && self.random.one_in(8) {
            let lost = inode.lose(covers, EVERYWHERE, size, &mut self.random);
            if direct {
                // There is no cache that would hide what the disk has.
                inode.drop_lost(&self.faults, &mut self.random);
            }
            self.note(|world| format!("{}: {lost} sectors lost", world.disk.label(file)));
            return Err(Errno::EIO);
        }
        inode.force(covers, size);
        Ok(0)
    }

    /// Checks an operation, and returns its offset and length.
    fn extent(&mut self, direct: bool, operation: &InFlight) -> Result<(u64, usize), Errno> {
        let size = self.faults.sector;
        let at = operation.iocb.aio_offset as u64;
        let length = operation.segments.iter().map(|segment| segment.len).sum();
        if direct {
            let aligned = operation.segments.iter().all(|segment| segment.is_aligned(size));
            if !aligned || at % size as u64 != 0 {
                return Err(Errno::EINVAL);
            }
        }
        let nowait = operation.iocb.aio_rw_flags & RWF_NOWAIT != 0;
        if nowait && self.faults.reordering && self.random.one_in(4) {
            return Err(Errno::EAGAIN);
        }
        Ok((at, length))
    }

    /// Cuts a transfer short, or not.
    fn shorten(&mut self, direct: bool, length: usize) -> usize {
        let unit = if direct { self.faults.sector } else { 1 };
        let units = length / unit;
        if !self.faults.short_transfers || units < 2 || !self.strikes(true, 16, 8) {
            return length;
        }
        unit * (1 + self.random.index(units - 1))
    }

    fn read(&mut self, file: FileNumber, direct: bool, operation: &InFlight) -> Done {
        let size = self.faults.sector;
        let (at, asked) = self.extent(direct, operation)?;
        let length = self.disk.inode(file).len().saturating_sub(at).min(asked as u64) as usize;
        let length = self.shorten(direct, length);
        if length == 0 {
            return Ok(0);
        }
        if self.strikes(self.faults.failed_transfers, 64, 16) {
            return Err(Errno::EIO);
        }
        if self.faults.latent_errors && self.random.one_in(64) {
            let sector = (at + self.random.below(length as u64)) / size as u64;
            self.disk.inode_mut(file).make_unreadable(sector);
            self.note(|world| format!("{}: sector {sector} is bad", world.disk.label(file)));
        }
        if self.faults.bit_rot && self.random.one_in(64) {
            let byte = at + self.random.below(length as u64);
            let bit = self.random.below(8) as u8;
            self.disk.inode_mut(file).rot(byte, bit);
            self.note(|world| format!("{}: byte {byte} rots", world.disk.label(file)));
        }
        let inode = self.disk.inode(file);
        let length = inode.readable(at, length, size);
        if length == 0 {
            return Err(Errno::EIO);
        }
        let bytes = &inode.content()[at as usize..at as usize + length];
        // SAFETY: The operation is a read that completes now, so its memory is lent to the kernel.
        unsafe { scatter(&operation.segments, bytes) };
        Ok(length)
    }

    fn write(&mut self, file: FileNumber, target: Target, operation: &InFlight) -> Done {
        let (size, direct) = (self.faults.sector, target.has(OFlags::DIRECT));
        let flags = operation.iocb.aio_rw_flags;
        let is_durable = flags & (RWF_DSYNC | RWF_SYNC) != 0 || target.has(OFlags::DSYNC);
        let appends = flags & RWF_NOAPPEND == 0 && target.has(OFlags::APPEND);
        let (mut at, asked) = self.extent(direct, operation)?;
        if appends || flags & RWF_APPEND != 0 {
            at = self.disk.inode(file).len();
        }
        let mut length = self.shorten(direct, asked);
        if length == 0 {
            return Ok(0);
        }
        let fits = at.checked_add(length as u64).is_some_and(Inode::may_be_so_long);
        if !fits {
            return Err(Errno::EFBIG);
        }
        length = self.room_for(file, direct, at, length)?;
        // SAFETY: The operation is a write that completes now, so its memory is lent to the kernel.
        let bytes = unsafe { gather(&operation.segments, length) };
        let before = self.disk.inode(file).len();
        let done = if self.strikes(self.faults.failed_transfers, 64, 16) {
            // What an error leaves is undefined: some of the bytes.
            let part = self.random.index(length + 1);
            let part = if direct { part / size * size } else { part };
            self.disk.inode_mut(file).write(at, &bytes[..part], size);
            Err(Errno::EIO)
        } else if self.faults.misdirected_writes && self.random.one_in(128) {
            self.misdirect(file, at, &bytes);
            Ok(length)
        } else {
            self.disk.inode_mut(file).write(at, &bytes, size);
            Ok(length)
        };
        if done.is_ok() && is_durable {
            if self.faults.failed_syncs && self.random.one_in(8) {
                let inode = self.disk.inode_mut(file);
                inode.lose(inode.next_number(), EVERYWHERE, size, &mut self.random);
                return Err(Errno::EIO);
            }
            self.disk.inode_mut(file).force_newest(size);
        }
        let after = self.disk.inode(file).len();
        if after != before {
            self.descriptors.set_len(file, after);
        }
        done
    }

    /// Returns how many bytes of a write the disk has room for.
    fn room_for(&mut self, file: FileNumber, direct: bool, at: u64, length: usize) -> Done {
        let unit = if direct { self.faults.sector } else { 1 };
        let present = self.disk.inode(file).len();
        let more = (at + length as u64).saturating_sub(present);
        let mut free = self.faults.capacity.saturating_sub(self.disk.used());
        if more > 0 && self.faults.full_disk && self.random.one_in(64) {
            free = free.min(self.random.below(more));
        }
        if more <= free {
            return Ok(length);
        }
        let fits = (present + free).saturating_sub(at).min(length as u64) as usize / unit * unit;
        if fits == 0 { Err(Errno::ENOSPC) } else { Ok(fits) }
    }

    /// Writes a sector of a write to another place, where the file has one.
    fn misdirect(&mut self, file: FileNumber, at: u64, bytes: &[u8]) {
        let size = self.faults.sector;
        let sectors = bytes.len() / size;
        let targets = self.disk.inode(file).len() / size as u64;
        if sectors == 0 || targets == 0 {
            self.disk.inode_mut(file).write(at, bytes, size);
            return;
        }
        let strayed = self.random.index(sectors) * size;
        let target = self.random.below(targets) * size as u64;
        let inode = self.disk.inode_mut(file);
        inode.write(at, &bytes[..strayed], size);
        inode.write(target, &bytes[strayed..strayed + size], size);
        inode.write(at + (strayed + size) as u64, &bytes[strayed + size..], size);
        let end = at + bytes.len() as u64;
        if end > inode.len() {
            inode.set_len(end);
        }
        let name = self.disk.label(file).to_owned();
        self.note(|_| format!("{name}: the sector for {} lands at {target}", at + strayed as u64));
    }
}
