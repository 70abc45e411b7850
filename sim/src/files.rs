//! The calls of a file that are no asynchronous operations: open, `preadv2`, `fsync` and others.
//!
//! They block for as long as they take on the clock of the simulation. Operations that are due
//! meanwhile complete.

use crate::calls::check;
use crate::context::{InFlight, On};
use crate::descriptor::{Found, Target};
use crate::disk::FileNumber;
use crate::memory::of_vectors;
use crate::world::{Stop, World, foreign, negative, outcome, stale};
use linux_aio::Errno;
use linux_aio::abi::{
    IOCB_CMD_FDSYNC, IOCB_CMD_FSYNC, IOCB_CMD_PREADV, IOCB_CMD_PWRITEV, RWF_NOWAIT,
    helper::{SYNC_FILE_RANGE_WAIT_AFTER, SYNC_FILE_RANGE_WAIT_BEFORE, SYNC_FILE_RANGE_WRITE},
    iocb, iovec,
};
use linux_aio::sys::sim::FileCall;
use rustix::fd::{IntoRawFd, OwnedFd};
use rustix::fs::{FallocateFlags, OFlags};

/// The directory of all simulated files. No machine has it, and none can make it, so what bypasses
/// the simulation fails.
pub(crate) const ROOT: &str = "/dev/null/linux-aio-sim";

/// Returns the name of a file by its path, if it is one of a simulation.
pub(crate) fn name_of_path(path: &[u8]) -> Option<&str> {
    let rest = std::str::from_utf8(path).ok()?.strip_prefix(ROOT)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

impl World {
    pub(crate) fn open_file(&mut self, file: FileNumber, name: &str, flags: OFlags) -> OwnedFd {
        let length = self.disk.inode(file).len();
        let direct = if flags.contains(OFlags::DIRECT) { ", direct" } else { "" };
        self.note(|_| format!("open {name}{direct}"));
        let kept = OFlags::ACCMODE | OFlags::APPEND | OFlags::DIRECT | OFlags::SYNC | OFlags::DSYNC;
        let flags = (flags & kept).bits() as i32;
        self.descriptors.open(Target::File { file, flags }, name, length)
    }

    /// `open(2)`. The answer is a descriptor.
    pub(crate) fn open_path(&mut self, name: &str, flags: i32) -> Result<isize, Stop> {
        self.begin_call()?;
        let flags = OFlags::from_bits_retain(flags as _);
        if name.is_empty() {
            if flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
                return Ok(negative(Errno::EISDIR));
            }
            let fd = self.descriptors.open(Target::Directory, "the directory", 0);
            return Ok(fd.into_raw_fd() as isize);
        }
        let file = match self.disk.find(name) {
            Some(_) if flags.contains(OFlags::CREATE | OFlags::EXCL) => {
                return Ok(negative(Errno::EEXIST));
            }
            None if !flags.contains(OFlags::CREATE) => return Ok(negative(Errno::ENOENT)),
            Some(file) => file,
            None => self.disk.open(name),
        };
        if flags.contains(OFlags::TRUNC) {
            self.set_len(file, 0);
        }
        Ok(self.open_file(file, name, flags).into_raw_fd() as isize)
    }

    fn set_len(&mut self, file: FileNumber, length: u64) {
        self.disk.inode_mut(file).set_len(length);
        self.descriptors.set_len(file, length);
        self.note(|world| format!("truncate {} to {length}", world.disk.label(file)));
    }

    /// A call on an open file.
    ///
    /// # Safety
    /// As `sys::sim::file`.
    pub(crate) unsafe fn file_call(
        &mut self,
        number: i32,
        call: FileCall<'_>,
    ) -> Result<isize, Stop> {
        let target = match self.descriptors.find(number) {
            Found::Target(target) => target,
            Found::Closed => return Ok(negative(Errno::EBADF)),
            Found::Stale => return Err(stale(number)),
            Found::Foreign => {
                return Err(foreign(
                    number,
                    "the thread has entered it; open the file by Sim::path or Sim::file",
                ));
            }
        };
        match (call, target) {
            (FileCall::Flags, Target::File { flags, .. }) => return Ok(flags as isize),
            (FileCall::Flags, Target::Directory) => return Ok(0),
            (FileCall::Alignment, _) => return Ok(self.faults.sector as isize),
            _ => self.begin_call()?,
        }
        let (opcode, vectors, offset, flags) = match call {
            FileCall::Read { vectors, offset, flags } => (IOCB_CMD_PREADV, vectors, offset, flags),
            FileCall::Write { vectors, offset, flags } => {
                (IOCB_CMD_PWRITEV, vectors, offset, flags)
            }
            FileCall::Sync(true) => (IOCB_CMD_FDSYNC, &[][..], 0, 0),
            FileCall::Sync(false) => (IOCB_CMD_FSYNC, &[][..], 0, 0),
            FileCall::SyncRange { offset, len, flags } => {
                return Ok(self.sync_range(target, offset, len, flags).unwrap_or_else(negative));
            }
            FileCall::CachedPages { offset, len } => {
                return Ok(self.cached_pages(target, offset, len).unwrap_or_else(negative));
            }
            FileCall::SetFlags(flags) => return Ok(self.set_flags(number, target, flags)),
            _ => return Ok(self.change(target, call).unwrap_or_else(negative)),
        };
        Ok(self.transfer(target, opcode, vectors, offset, flags))
    }

    /// Does a read, a write or a sync as an operation is done, and waits for it.
    fn transfer(
        &mut self,
        target: Target,
        opcode: u16,
        vectors: &[iovec],
        offset: u64,
        flags: i32,
    ) -> isize {
        let operation = iocb {
            aio_lio_opcode: opcode,
            aio_offset: offset as i64,
            aio_rw_flags: flags,
            ..iocb::default()
        };
        let on = On::Simulated(target);
        if let Err(errno) = check(&operation, on) {
            return negative(errno);
        }
        let operation = InFlight {
            iocb: operation,
            address: 0,
            on,
            segments: of_vectors(vectors),
            due: self.due(opcode),
            order: self.operations,
            covers: self.covered(on),
            is_cancelled: false,
            number: 0,
        };
        if flags & RWF_NOWAIT == 0 {
            self.pass(operation.due - self.now);
        }
        let result = self.execute(&operation);
        self.note(|world| format!("call: {} -> {}", world.text(&operation), outcome(result)));
        result as isize
    }

    /// `sync_file_range(2)`: the disk gets the data, and need not keep it. So nothing becomes
    /// durable. A disk that fails loses some of the range, and no later sync hears of that.
    fn sync_range(
        &mut self,
        target: Target,
        offset: u64,
        len: u64,
        flags: u32,
    ) -> Result<isize, Errno> {
        const WAITS: u32 = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER;
        let end = if len == 0 { Some(u64::MAX) } else { offset.checked_add(len) };
        let end = end.filter(|&end| len == 0 || end <= i64::MAX as u64).ok_or(Errno::EINVAL)?;
        if flags & !(WAITS | SYNC_FILE_RANGE_WRITE) != 0 {
            return Err(Errno::EINVAL);
        }
        let Target::File { file, .. } = target else { return Ok(0) };
        let mut result = Ok(0);
        if flags & WAITS != 0 {
            let due = self.due(IOCB_CMD_PWRITEV);
            self.pass(due - self.now);
            if self.faults.failed_syncs && self.random.one_in(8) {
                let inode = self.disk.inode_mut(file);
                let size = self.faults.sector as u64;
                let sectors = offset / size..end.div_ceil(size);
                let number = inode.next_number();
                let lost = inode.lose(number, sectors, size as usize, &mut self.random);
                self.note(|world| format!("{}: {lost} sectors lost", world.disk.label(file)));
                result = Err(Errno::EIO);
            }
        }
        let text = result.err().map_or("0".into(), |errno| format!("{errno:?}"));
        self.note(|world| {
            let name = world.disk.label(file);
            format!("call: sync_file_range {name} {offset}+{len} -> {text}")
        });
        result
    }

    /// `cachestat(2)`: as many pages as the file has there, or by chance fewer.
    fn cached_pages(&mut self, target: Target, offset: u64, len: u64) -> Result<isize, Errno> {
        let Target::File { file, .. } = target else { return Ok(0) };
        let page = rustix::param::page_size() as u64;
        let end = offset.checked_add(len).ok_or(Errno::EINVAL)?.min(self.disk.inode(file).len());
        let mut pages = end.div_ceil(page).saturating_sub(offset / page);
        if self.faults.reordering && self.random.one_in(2) {
            pages = self.random.below(pages);
        }
        self.note(|world| {
            let name = world.disk.label(file);
            format!("call: cachestat {name} {offset}+{len} -> {pages}")
        });
        Ok(pages as isize)
    }

    /// `F_SETFL` of `fcntl(2)`, for this descriptor alone and not for its duplicates.
    fn set_flags(&mut self, number: i32, target: Target, flags: i32) -> isize {
        let Target::File { file, flags: before } = target else { return negative(Errno::EINVAL) };
        let changed = (OFlags::APPEND | OFlags::DIRECT).bits() as i32;
        let target = Target::File { file, flags: before & !changed | flags & changed };
        let (label, length) = (self.disk.label(file).to_owned(), self.disk.inode(file).len());
        self.note(|_| format!("fcntl(F_SETFL) {label}"));
        self.descriptors.replace(number, target, &label, length);
        0
    }

    /// Makes a call that changes a file, or opens it again.
    fn change(&mut self, target: Target, call: FileCall<'_>) -> Result<isize, Errno> {
        if matches!(call, FileCall::Reopen(_)) && self.faults.missing_proc {
            return Err(Errno::ENOENT);
        }
        let Target::File { file, .. } = target else {
            return match call {
                FileCall::Reopen(flags) if flags & OFlags::DIRECT.bits() as i32 == 0 => {
                    let fd = self.descriptors.open(target, "the directory", 0);
                    Ok(fd.into_raw_fd() as isize)
                }
                _ => Err(Errno::EINVAL),
            };
        };
        if let FileCall::Reopen(flags) = call {
            let name = self.disk.label(file).to_owned();
            let fd = self.open_file(file, &name, OFlags::from_bits_retain(flags as _));
            return Ok(fd.into_raw_fd() as isize);
        }
        if !target.is_writable() {
            // ftruncate(2) and fallocate(2) differ in that.
            return Err(match call {
                FileCall::SetLen(_) => Errno::EINVAL,
                _ => Errno::EBADF,
            });
        }
        match call {
            FileCall::SetLen(length) if !crate::inode::Inode::may_be_so_long(length) => {
                Err(Errno::EFBIG)
            }
            FileCall::SetLen(length) => {
                self.set_len(file, length);
                Ok(0)
            }
            FileCall::Allocate { mode, offset, len } => self.allocate(file, mode, offset, len),
            _ => Err(Errno::EINVAL),
        }
    }

    fn allocate(
        &mut self,
        file: FileNumber,
        mode: u32,
        offset: u64,
        len: u64,
    ) -> Result<isize, Errno> {
        let (size, present) = (self.faults.sector, self.disk.inode(file).len());
        let end = offset.checked_add(len).filter(|_| len > 0).ok_or(Errno::EINVAL)?;
        if !crate::inode::Inode::may_be_so_long(end) {
            return Err(Errno::EFBIG);
        }
        let mode = FallocateFlags::from_bits_retain(mode);
        if mode == FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE {
            let hole = end.min(present).saturating_sub(offset) as usize;
            self.disk.inode_mut(file).write(offset, &vec![0; hole], size);
            self.note(|world| format!("a hole in {} {offset}+{len}", world.disk.label(file)));
            return Ok(0);
        }
        if !mode.is_empty() {
            return Err(Errno::EOPNOTSUPP);
        }
        let more = end.saturating_sub(present);
        let is_full = more > 0 && self.strikes(self.faults.full_disk, 64, 16);
        if is_full || more > self.faults.capacity.saturating_sub(self.disk.used()) {
            return Err(Errno::ENOSPC);
        }
        if more > 0 {
            self.set_len(file, end);
        }
        Ok(0)
    }
}
