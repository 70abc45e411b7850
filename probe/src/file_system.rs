//! [`FileSystem`], by its number.

use core::fmt;
use linux_aio::Errno;
use linux_aio::fd::BorrowedFd;

/// The file system that a file is on.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let report = linux_aio_probe::file(std::fs::File::open("Cargo.toml")?)?;
/// if let Some(file_system) = report.file_system {
///     println!("{:#x}: {:?}", file_system.magic, file_system.name());
///     assert!(!file_system.is_interface());
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct FileSystem {
    /// The number by which the kernel names its type (`f_type` of `statfs(2)`,
    /// `include/uapi/linux/magic.h`).
    pub magic: u32,
}

/// Says whether the files of a file system hold data or are the kernel's own interfaces, where a
/// read may wait or have effects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Data,
    Interface,
}

use Content::{Data, Interface};

const KNOWN: [(u32, &str, Content); 56] = [
    (0xef53, "ext2/3/4", Data),
    (0x5846_5342, "xfs", Data),
    (0x9123_683e, "btrfs", Data),
    (0x2fc1_2fc1, "zfs", Data),
    (0xf2f5_2010, "f2fs", Data),
    (0xca45_1a4e, "bcachefs", Data),
    (0x3153_464a, "jfs", Data),
    (0x5265_4973, "reiserfs", Data),
    (0x3434, "nilfs2", Data),
    (0x0102_1994, "tmpfs", Data),
    (0x8584_58f6, "ramfs", Data),
    (0x9584_58f6, "hugetlbfs", Data),
    (0x794c_7630, "overlayfs", Data),
    (0xf15f, "ecryptfs", Data),
    (0x6573_5546, "FUSE", Data),
    (0x6969, "nfs", Data),
    (0xff53_4d42, "cifs", Data),
    (0xfe53_4d42, "smb2", Data),
    (0x517b, "smb", Data),
    (0x0102_1997, "9p", Data),
    (0x00c3_6400, "ceph", Data),
    (0x5346_414f, "afs", Data),
    (0x0bd0_0bd0, "lustre", Data),
    (0x4750_4653, "gpfs", Data),
    (0x0116_1970, "gfs2", Data),
    (0x7461_636f, "ocfs2", Data),
    (0x786f_4256, "vboxsf", Data),
    (0xbacb_acbc, "vmhgfs", Data),
    (0x4d44, "vfat", Data),
    (0x2011_bab0, "exfat", Data),
    (0x5346_544e, "ntfs", Data),
    (0x7366_746e, "ntfs3", Data),
    (0x9660, "iso9660", Data),
    (0x1501_3346, "udf", Data),
    (0x7371_7368, "squashfs", Data),
    (0xe0f5_e1e2, "erofs", Data),
    (0x28cd_3d45, "cramfs", Data),
    (0x9fa0, "proc", Interface),
    (0x6265_6572, "sysfs", Interface),
    (0x6462_6720, "debugfs", Interface),
    (0x7472_6163, "tracefs", Interface),
    (0x0027_e0eb, "cgroup", Interface),
    (0x6367_7270, "cgroup2", Interface),
    (0x6265_6570, "configfs", Interface),
    (0x7363_6673, "securityfs", Interface),
    (0xf97c_ff8c, "selinuxfs", Interface),
    (0x4341_5d53, "smackfs", Interface),
    (0xcafe_4a11, "bpf", Interface),
    (0xde5e_81e4, "efivarfs", Interface),
    (0x6165_676c, "pstore", Interface),
    (0x6573_5543, "fusectl", Interface),
    (0x4249_4e4d, "binfmt_misc", Interface),
    (0x6759_6969, "rpc_pipefs", Interface),
    (0x0765_5821, "resctrl", Interface),
    (0x1980_0202, "mqueue", Interface),
    (0x6e73_6673, "nsfs", Interface),
];

impl FileSystem {
    /// Returns the usual name, where the number is a known one.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let file = linux_aio_probe::file(std::fs::File::open("Cargo.toml")?)?;
    /// let name = file.file_system.and_then(|file_system| file_system.name());
    /// println!("on {}", name.unwrap_or("a file system without a name"));
    /// # Ok(()) }
    /// ```
    pub fn name(self) -> Option<&'static str> {
        self.entry().map(|(_, name, _)| name)
    }

    /// Returns whether its files are the kernel's own interfaces (`/proc`, `/sys` and the like),
    /// whose reads may wait or have effects.
    pub fn is_interface(self) -> bool {
        self.entry().is_some_and(|(_, _, content)| content == Interface)
    }

    fn entry(self) -> Option<(u32, &'static str, Content)> {
        KNOWN.into_iter().find(|&(magic, _, _)| magic == self.magic)
    }

    pub(super) fn of(fd: BorrowedFd<'_>) -> Result<Self, Errno> {
        let stat = rustix::fs::fstatfs(fd)?;
        // The field is signed or of 64 bits on some architectures; the number has 32.
        Ok(Self { magic: stat.f_type as u32 })
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "file system {:#x}", self.magic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FileSystem, KNOWN};

    #[test]
    fn every_number_is_there_once() {
        for (at, (magic, name, _)) in KNOWN.into_iter().enumerate() {
            assert_eq!(FileSystem { magic }.name(), Some(name));
            assert!(KNOWN[..at].iter().all(|&(_, earlier, _)| earlier != name), "{name}");
        }
        assert_eq!(FileSystem { magic: 1 }.name(), None);
    }
}
