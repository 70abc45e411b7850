//! Loop devices, and mounts that nobody else sees.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a program of the system; why it failed.
fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

/// A block device over a file, until it is dropped.
pub(crate) struct LoopDevice {
    pub(crate) path: PathBuf,
}

impl LoopDevice {
    /// The device, or why there is none here.
    pub(crate) fn over(file: &Path) -> Result<Self, String> {
        Self::with_sectors(file, 512)
    }

    /// One whose sectors, and so the blocks of `O_DIRECT`, have that many bytes.
    pub(crate) fn with_sectors(file: &Path, bytes: u32) -> Result<Self, String> {
        let sector = bytes.to_string();
        let path = run("losetup", &["--find", "--show", "--sector-size", &sector, text(file)])?;
        Ok(Self { path: path.into() })
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = run("losetup", &["--detach", text(&self.path)]);
    }
}

/// A mounted file system, until it is dropped.
pub(crate) struct Mount {
    at: PathBuf,
}

impl Mount {
    /// Gives the calling thread mounts of its own, which go with it.
    pub(crate) fn unshare() -> Result<(), String> {
        // SAFETY: A number; concerns this thread alone.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            return Err(format!("unshare: {}", std::io::Error::last_os_error()));
        }
        run("mount", &["--make-rprivate", "/"]).map(drop)
    }

    pub(crate) fn tmpfs(at: &Path, options: &str) -> Result<Self, String> {
        run("mount", &["-t", "tmpfs", "-o", options, "none", text(at)])?;
        Ok(Self { at: at.into() })
    }

    /// A new file system on a device.
    pub(crate) fn ext4(device: &Path, at: &Path) -> Result<Self, String> {
        Self::made(EXT4.0, EXT4.1, device, at)
    }

    /// A new file system of a kind, by `mkfs.KIND` with these arguments.
    pub(crate) fn made(
        kind: &str,
        arguments: &[&str],
        device: &Path,
        at: &Path,
    ) -> Result<Self, String> {
        run(&format!("mkfs.{kind}"), &[arguments, &[text(device)]].concat())?;
        run("mount", &["-t", kind, text(device), text(at)])?;
        Ok(Self { at: at.into() })
    }

    /// An overlay whose layers are new directories below `layers`.
    pub(crate) fn overlay(layers: &Path, at: &Path) -> Result<Self, String> {
        let below = ["lower", "upper", "work"].map(|name| layers.join(name));
        for layer in &below {
            std::fs::create_dir(layer).expect("a directory");
        }
        let [lower, upper, work] = below.each_ref().map(|layer| text(layer));
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        run("mount", &["-t", "overlay", "-o", &options, "overlay", text(at)])?;
        Ok(Self { at: at.into() })
    }

    /// Freezes the file system until the value is dropped.
    pub(crate) fn freeze(&self) -> Result<Frozen<'_>, String> {
        run("fsfreeze", &["--freeze", text(&self.at)])?;
        Ok(Frozen(self))
    }

    pub(crate) fn remount(&self, options: &str) -> Result<(), String> {
        run("mount", &["-o", &format!("remount,{options}"), text(&self.at)]).map(drop)
    }
}

/// A file system that takes no writes for now.
pub(crate) struct Frozen<'a>(&'a Mount);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        run("fsfreeze", &["--unfreeze", text(&self.0.at)]).expect("unfrozen");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = run("umount", &["--lazy", text(&self.at)]);
    }
}

/// Runs a test in a directory that is a new file system of a kind, made with these arguments, on a
/// disk of so many bytes. Says so if there can be none.
pub(crate) fn on_new_disk(
    (kind, arguments): (&str, &[&str]),
    bytes: u64,
    test: impl FnOnce(&Mount, &Path) + Send,
) {
    if !super::is_root() {
        return super::say_skipped("only root can mount");
    }
    let on_disk = || -> Result<(), String> {
        let dir = super::files::scratch();
        let (image, at) = (dir.path().join("image"), dir.path().join("mount"));
        std::fs::create_dir(&at).expect("a directory");
        std::fs::File::create_new(&image).expect("a file").set_len(bytes).expect("a length");
        Mount::unshare()?;
        let device = LoopDevice::over(&image)?;
        let mount = Mount::made(kind, arguments, &device.path, &at)?;
        test(&mount, &at);
        Ok(())
    };
    // The mount belongs to the thread.
    let ended = std::thread::scope(|scope| scope.spawn(on_disk).join());
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(why)) => super::say_skipped(&why),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// What makes an ext4 file system without a reserve.
pub(crate) const EXT4: (&str, &[&str]) = ("ext4", &["-q", "-F", "-m", "0"]);
