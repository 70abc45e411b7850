//! The device mapper's calls, of which `dmsetup` makes the same.

use crate::guest;
use crate::report::{Outcome, at, ensure};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use std::fs::File;

const DEV_CREATE: Opcode = opcode::read_write::<Header>(0xfd, 3);
const DEV_SUSPEND: Opcode = opcode::read_write::<Header>(0xfd, 6);
const TABLE_LOAD: Opcode = opcode::read_write::<Header>(0xfd, 9);
/// Among the flags of `DEV_SUSPEND`; without it, the call resumes.
const SUSPEND_FLAG: u32 = 1 << 1;

/// `struct dm_ioctl`.
#[repr(C)]
struct Header {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_nr: u32,
    padding: u32,
    dev: u64,
    name: [u8; 128],
    uuid: [u8; 129],
    data: [u8; 7],
}

const HEADER: usize = size_of::<Header>();
const _: () = assert!(HEADER == 312);

/// `struct dm_target_spec` without the text that follows it: two u64, an i32, a u32, and a name.
const SPEC: usize = 40;
/// Bytes of a table.
const TABLE: usize = 1024;

#[repr(C)]
struct Request {
    header: Header,
    table: [u8; TABLE],
}

/// What a run of sectors is.
pub struct Target {
    /// Of 512 bytes.
    pub sectors: u64,
    /// The name of the target.
    pub kind: &'static str,
    /// As in a line of `dmsetup`.
    pub parameters: String,
}

/// A mapped device.
pub struct Mapped {
    control: File,
    name: String,
    /// Its node.
    pub path: String,
}

impl Mapped {
    /// A device of that name, which is there when this returns.
    pub fn new(name: String, table: &[Target]) -> Result<Self, String> {
        let control = File::options().read(true).write(true).open("/dev/mapper/control");
        let control = control.map_err(at("/dev/mapper/control"))?;
        let mut mapped = Self { control, name, path: String::new() };
        let dev = mapped.call::<DEV_CREATE>(0, &[]).map_err(at("DM_DEV_CREATE"))?;
        mapped.path = format!("/dev/dm-{}", dev & 0xff | dev >> 12 & !0xff);
        mapped.load(table)?;
        mapped.resume()?;
        guest::wait_for(&mapped.path)?;
        Ok(mapped)
    }

    /// The table that the device has from its next resumption on.
    pub fn load(&self, table: &[Target]) -> Outcome {
        self.call::<TABLE_LOAD>(0, table).map(drop).map_err(at("DM_TABLE_LOAD"))
    }

    /// What is asked of the device waits from now on.
    pub fn suspend(&self) -> Outcome {
        self.call::<DEV_SUSPEND>(SUSPEND_FLAG, &[]).map(drop).map_err(at("DM_DEV_SUSPEND"))
    }

    /// It does no longer, and the table is the one that was loaded last.
    pub fn resume(&self) -> Outcome {
        self.call::<DEV_SUSPEND>(0, &[]).map(drop).map_err(at("DM_DEV_SUSPEND to resume"))
    }

    /// Whether it has a cache, which is there to be flushed.
    pub fn has_cache(&self) -> Result<bool, String> {
        let path = format!("/sys/block/{}/queue/write_cache", &self.path[5..]);
        let cache = std::fs::read_to_string(&path).map_err(at(&path))?;
        ensure(["write back\n", "write through\n"].contains(&&*cache), || cache.clone())?;
        Ok(cache == "write back\n")
    }

    /// Makes a call, and gives the device's number.
    fn call<const CALL: Opcode>(&self, flags: u32, table: &[Target]) -> Result<u64, Errno> {
        let header = Header {
            version: [4, 0, 0],
            data_size: size_of::<Request>() as u32,
            data_start: HEADER as u32,
            target_count: table.len() as u32,
            open_count: 0,
            flags,
            event_nr: 0,
            padding: 0,
            dev: 0,
            name: padded(&self.name),
            uuid: [0; 129],
            data: [0; 7],
        };
        let mut request = Request { header, table: encode(table) };
        // SAFETY: Each of these calls reads and writes a `dm_ioctl` and what follows it, in all as
        // many bytes as `data_size` says.
        let call = unsafe { Updater::<CALL, Request>::new(&mut request) };
        // SAFETY: The descriptor is the device mapper's, so the number means that call.
        unsafe { ioctl(&self.control, call) }?;
        Ok(request.header.dev)
    }
}

fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes
}

/// The targets, one behind the other, each aligned for the next.
fn encode(targets: &[Target]) -> [u8; TABLE] {
    let mut table = Vec::new();
    let mut start = 0_u64;
    for target in targets {
        let text = target.parameters.len() + 1;
        let next = (SPEC + text).next_multiple_of(8);
        table.extend(start.to_ne_bytes());
        table.extend(target.sectors.to_ne_bytes());
        table.extend(0_i32.to_ne_bytes());
        table.extend((next as u32).to_ne_bytes());
        table.extend(padded::<16>(target.kind));
        table.extend(target.parameters.as_bytes());
        table.resize(table.len() + next - SPEC - (text - 1), 0);
        start += target.sectors;
    }
    let mut bytes = [0; TABLE];
    bytes[..table.len()].copy_from_slice(&table);
    bytes
}
