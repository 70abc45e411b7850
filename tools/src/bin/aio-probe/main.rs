//! Says whether asynchronous I/O works here, what a file wants, and how a file system behaves.
//!
//! ```text
//! aio-probe                            this kernel and process
//! aio-probe data.db /dev/nvme0n1       and these files (never changed)
//! aio-probe --dir /var/lib/db          and writes, on temporary files there
//! producer | aio-probe -               and the standard input
//! ```
//!
//! The exit code is 0 where AIO is usable, 1 where it is not (the report says why and what to do),
//! and 2 where it is, but something that was named could not be probed.

mod json;
mod place;

use clap::Parser;
use linux_aio_probe::{self as probe, Directory, FileKind, Kernel};
use place::Place;
use rustix::fs::{Mode, OFlags};
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Tells whether Linux AIO works here, what files need, and how file systems behave.
///
/// Where AIO is refused or slow, the report names the cause and the setting to change.
#[derive(Parser)]
#[command(name = "aio-probe", version, max_term_width = 100)]
#[command(after_help = "Exit code: 0 AIO is usable, 1 it is not, 2 a path could not be probed.\n\
    Example: aio-probe /dev/nvme0n1 --dir /var/lib/db")]
struct Arguments {
    /// Files and block devices to look at, or - for the standard input. None is changed.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// A directory in which to try writes, on temporary files. Can be given several times.
    #[arg(long = "dir", value_name = "DIR")]
    directories: Vec<PathBuf>,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// All answers.
struct Report {
    kernel: Kernel,
    place: Place,
    files: Vec<(PathBuf, io::Result<probe::File>)>,
    directories: Vec<(PathBuf, io::Result<Directory>)>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let report = Report::make(&arguments);
    let mut output = io::stdout().lock();
    let printed = if arguments.json {
        writeln!(output, "{:#}", json::report(&report))
    } else {
        writeln!(output, "{report}")
    };
    match (report.kernel.usable(), report.is_complete() && printed.is_ok()) {
        (Ok(()), true) => ExitCode::SUCCESS,
        (Err(_), _) => ExitCode::from(1),
        (Ok(()), false) => ExitCode::from(2),
    }
}

impl Report {
    fn make(arguments: &Arguments) -> Self {
        let Arguments { paths, directories, .. } = arguments;
        Self {
            kernel: probe::kernel(),
            place: Place::look(),
            files: paths.iter().map(|path| (path.clone(), probe_file(path))).collect(),
            directories: directories
                .iter()
                .map(|path| (path.clone(), probe_directory(path)))
                .collect(),
        }
    }

    fn is_complete(&self) -> bool {
        let files = self.files.iter().all(|(_, answer)| answer.is_ok());
        files && self.directories.iter().all(|(_, answer)| answer.is_ok())
    }
}

fn probe_file(path: &Path) -> io::Result<probe::File> {
    if path == Path::new("-") {
        return Ok(probe::file(io::stdin())?);
    }
    // Opening can have effects of its own: on the other end of a FIFO, on a watchdog or a tape. So
    // look first, with a descriptor that only names the file.
    let kind = probe::file(open(path, OFlags::PATH)?)?.kind;
    match kind {
        FileKind::Regular | FileKind::BlockDevice => {
            // Asynchronous if that can be had, as a program would open it.
            let file = open(path, OFlags::DIRECT).or_else(|_| open(path, OFlags::empty()))?;
            Ok(probe::file(file)?)
        }
        FileKind::Directory | FileKind::NullDevice => {
            Ok(probe::file(open(path, OFlags::empty())?)?)
        }
        other => Err(io::Error::other(format!(
            "to open a {other} can have effects; open it yourself and name it -, as the standard \
             input"
        ))),
    }
}

fn probe_directory(path: &Path) -> io::Result<Directory> {
    Ok(probe::directory(open(path, OFlags::DIRECTORY)?)?)
}

/// Not by `std`, which with musl takes `O_PATH` out of the flags and so really opens.
fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | flags;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kernel)?;
        if let Some(cure) = self.place.cure(&self.kernel) {
            write!(f, "\nwhat to change   {cure}")?;
        }
        for (path, answer) in &self.files {
            section(f, path, answer)?;
        }
        for (path, answer) in &self.directories {
            section(f, path, answer)?;
        }
        if self.kernel.usable().is_ok() && self.files.is_empty() && self.directories.is_empty() {
            write!(
                f,
                "\n\nWhether io_submit returns at once depends on the file. Name one, or a \
                 directory with --dir."
            )?;
        }
        Ok(())
    }
}

fn section(
    f: &mut fmt::Formatter<'_>,
    path: &Path,
    answer: &io::Result<impl fmt::Display>,
) -> fmt::Result {
    write!(f, "\n\n{}\n", path.display())?;
    match answer {
        Ok(answer) => answer.fmt(f),
        Err(error) => write!(f, "not probed: {error}"),
    }
}
