//! The device or file of the operations. Whatever is made for it goes away with it. Files have no
//! names. Loop devices let go by themselves when nobody has them open. A zram device is removed by
//! a process that waits for the end of this one, however it ends.

use crate::load::Target;
use anyhow::{Context, Result, bail, ensure};
use linux_aio::AlignedBuf;
use rustix::fs::{Advice, MemfdFlags, OFlags};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// Names a kind of device.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// /dev/zero: what is left is the cost of the calls.
    Zero,
    /// /dev/null: the same, for writes.
    Null,
    /// A compressed disk in memory.
    Zram,
    /// A loop device over a file in memory.
    LoopMemory,
    /// A loop device over a file in the directory.
    LoopFile,
    /// A file in the directory.
    File,
}

impl Kind {
    /// Lists all of them.
    pub const ALL: [Self; 6] =
        [Self::Zero, Self::Null, Self::Zram, Self::LoopMemory, Self::LoopFile, Self::File];

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Null => "null",
            Self::Zram => "zram",
            Self::LoopMemory => "loop-memory",
            Self::LoopFile => "loop-file",
            Self::File => "file",
        }
    }

    /// Returns the name in a heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Zero => "/dev/zero",
            Self::Null => "/dev/null",
            Self::Zram => "zram",
            Self::LoopMemory => "loop device on tmpfs",
            Self::LoopFile => "loop device on a file",
            Self::File => "file",
        }
    }
}

const BLOCK: usize = 4096;
/// Sets the block on /dev/zero and /dev/null, where more would measure the copying.
const SMALL_BLOCK: usize = 512;
const MIB: u64 = 1 << 20;

/// Something to read and write.
#[derive(Debug)]
pub struct Device {
    /// Its kind.
    pub kind: Kind,
    /// The file, or the device, open with `O_DIRECT` where it has that.
    file: Arc<File>,
    path: PathBuf,
    size: u64,
    block: usize,
    read_returns: usize,
    /// Ends after `file`.
    _keeper: Option<Keeper>,
    /// The file below a loop device.
    _under: Option<File>,
    /// Another one like it, for what goes through the page cache. If pages of a disk are cached,
    /// the kernel looks for some to be written before each operation that goes around the cache.
    cached: Option<Box<Self>>,
}

impl Device {
    /// Opens it, or makes it: in `directory`, if it is one of files, `small` for a quick try.
    pub fn new(kind: Kind, directory: &Path, small: bool) -> Result<Self> {
        let mut device = Self::alone(kind, directory, small)?;
        if !matches!(kind, Kind::Zero | Kind::Null) {
            device.cached = Some(Box::new(Self::alone(kind, directory, small)?));
        }
        Ok(device)
    }

    fn alone(kind: Kind, directory: &Path, small: bool) -> Result<Self> {
        let size = if small { 8 } else { 64 } * MIB;
        match kind {
            Kind::Zero => Self::character(kind, "/dev/zero", SMALL_BLOCK),
            Kind::Null => Self::character(kind, "/dev/null", 0),
            Kind::Zram => Self::zram(size),
            Kind::LoopMemory => {
                let memory = rustix::fs::memfd_create("linux-aio-benches", MemfdFlags::CLOEXEC)?;
                Self::on_loop(kind, memory.into(), size)
            }
            Kind::LoopFile => Self::on_loop(kind, tempfile::tempfile_in(directory)?, 4 * size),
            Kind::File => {
                let file = tempfile::tempfile_in(directory)?;
                fill(&file, 4 * size)?;
                let flags = rustix::fs::fcntl_getfl(&file)?;
                rustix::fs::fcntl_setfl(&file, flags | OFlags::DIRECT).context("no O_DIRECT")?;
                let path = path_of(&file);
                Ok(Self::disk(kind, file, path, 4 * size))
            }
        }
    }

    fn character(kind: Kind, path: &str, read_returns: usize) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self {
            size: 64 * MIB,
            block: SMALL_BLOCK,
            read_returns,
            ..Self::disk(kind, file, path.into(), 0)
        })
    }

    fn disk(kind: Kind, file: File, path: PathBuf, size: u64) -> Self {
        Self {
            kind,
            file: Arc::new(file),
            path,
            size,
            block: BLOCK,
            read_returns: BLOCK,
            _keeper: None,
            _under: None,
            cached: None,
        }
    }

    fn zram(size: u64) -> Result<Self> {
        let control = Path::new("/sys/class/zram-control");
        ensure!(control.exists(), "the kernel has no zram (modprobe zram)");
        // A new one, so that nobody else's is taken.
        let number = std::fs::read_to_string(control.join("hot_add"))
            .context("adding a zram device takes root")?;
        let number = number.trim();
        let keeper = Keeper::of_zram(number)?;
        std::fs::write(format!("/sys/block/zram{number}/disksize"), size.to_string())?;
        let path = PathBuf::from(format!("/dev/zram{number}"));
        let file = open_direct(&path)?;
        fill(&file, size)?;
        Ok(Self { _keeper: Some(keeper), ..Self::disk(Kind::Zram, file, path, size) })
    }

    fn on_loop(kind: Kind, under: File, size: u64) -> Result<Self> {
        fill(&under, size)?;
        let mut losetup = Command::new("losetup");
        losetup.args(["--find", "--show", "--direct-io=on"]).arg(path_of(&under));
        let path = PathBuf::from(output(&mut losetup)?.trim());
        let opened = open_direct(&path);
        // It goes when the last that has it open lets go; at once, if it could not be opened.
        output(Command::new("losetup").arg("--detach").arg(&path))?;
        Ok(Self { _under: Some(under), ..Self::disk(kind, opened?, path, size) })
    }

    /// Returns the device as the target of a load, opened `files` times.
    pub fn target(&self, files: usize) -> Result<Target> {
        let reopen = |number| {
            if number == 0 {
                return Ok(Arc::clone(&self.file));
            }
            let file = OpenOptions::new().read(true).write(true).open(&self.path);
            Ok(Arc::new(file.context("opening many files (see ulimit -n)")?))
        };
        Ok(Target {
            files: (0..files).map(reopen).collect::<Result<_>>()?,
            cached: self.cached.as_ref().map_or(&self.path, |device| &device.path).clone(),
            size: self.size,
            block: self.block,
            read_returns: self.read_returns,
        })
    }

    /// Describes it, and what it is on.
    pub fn about(&self) -> String {
        let size = self.size / MIB;
        let block = self.block;
        let under = self.under().map(|under| format!(", on {under}")).unwrap_or_default();
        match self.kind {
            Kind::Zero | Kind::Null => format!("{} in {block} bytes", self.kind.title()),
            _ => format!("{} of {size} MiB in blocks of {block} bytes{under}", self.kind.title()),
        }
    }

    /// Returns the file system that it is on, if it is on one.
    fn under(&self) -> Option<String> {
        let file = match (&self._under, self.kind) {
            (Some(under), _) => under.as_fd(),
            (None, Kind::File) => self.file.as_fd(),
            _ => return None,
        };
        Some(match rustix::fs::fstatfs(file).ok()?.f_type as u32 {
            0xef53 => "ext4".into(),
            0x0102_1994 => "tmpfs".into(),
            0x5846_5342 => "xfs".into(),
            0x9123_683e => "btrfs".into(),
            0x794c_7630 => "overlayfs".into(),
            other => format!("a file system of type {other:#x}"),
        })
    }
}

/// Returns the name by which this process can open a file that has none.
fn path_of(file: &File) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
}

fn open_direct(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).custom_flags(libc::O_DIRECT).open(path);
    file.with_context(|| format!("opening {}", path.display()))
}

/// Random bytes: a hole, or zeros, would be read without the device. None of them stays in the page
/// cache, except of a file that is nowhere else.
fn fill(file: &File, size: u64) -> Result<()> {
    if !file.metadata()?.file_type().is_block_device() {
        file.set_len(size)?;
    }
    let mut chunk = AlignedBuf::new(MIB as usize)?;
    for offset in (0..size).step_by(chunk.len()) {
        fastrand::fill(&mut chunk);
        file.write_all_at(&chunk, offset)?;
    }
    file.sync_all()?;
    Ok(rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?)
}

/// Returns what a command printed.
fn output(command: &mut Command) -> Result<String> {
    let ran = command.output().with_context(|| format!("{command:?}"))?;
    if !ran.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&ran.stderr).trim());
    }
    Ok(String::from_utf8(ran.stdout)?)
}

/// Removes a zram device when its standard input ends: a process. That happens when this
/// process drops it or ends in any way.
#[derive(Debug)]
struct Keeper(Child);

impl Keeper {
    fn of_zram(number: &str) -> Result<Self> {
        // The device is open until the other process is gone.
        let script = "trap '' INT TERM HUP; read -r _; for _ in 1 2 3 4 5 6 7 8 9 10; do \
                      echo \"$0\" >/sys/class/zram-control/hot_remove 2>/dev/null && exit; \
                      sleep 0.2; done";
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", script, number]).stdin(Stdio::piped());
        Ok(Self(shell.spawn().context("sh")?))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
