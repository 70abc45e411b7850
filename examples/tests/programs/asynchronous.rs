//! Runs the asynchronous examples as programs.

use crate::NOT_BUILT;
use crate::common::files::{file_with, pattern};
use crate::common::{Watchdog, skip};
use crate::program::{command, example, kill, run};
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command};

/// Goal: `tokio_copy` copies what is there, and no more. Method: files whose ends are not aligned,
/// one that is empty, and a target that exists already.
#[test]
fn tokio_copy_copies_all() {
    let Some(copy) = example("tokio_copy") else { skip!("{NOT_BUILT}") };
    let _watchdog = Watchdog::new();
    for len in [0, 1, 4096, 3 * (256 << 10), 1_000_003] {
        let (dir, path, _file) = file_with(&pattern(len));
        let target = dir.path().join("target");
        let printed = run(command(&copy).args([&path, &target]));
        assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""));
        assert_eq!(printed.out, format!("{len} bytes copied\n"));
        assert!(std::fs::read(&target).expect("the target") == pattern(len));
        let again = run(command(&copy).args([&path, &target]));
        assert_eq!(again.code, Some(1));
        assert!(std::fs::read(&target).expect("the target") == pattern(len));
    }
}

/// Goal: `smol_read` reads all, in order. Method: the checksum of what was written.
#[test]
fn smol_read_reads_all() {
    let Some(read) = example("smol_read") else { skip!("{NOT_BUILT}") };
    let _watchdog = Watchdog::new();
    for len in [0, 1, 256 << 10, 5_000_001] {
        let (_dir, path, _file) = file_with(&pattern(len));
        let printed = run(command(&read).arg(&path));
        assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""));
        let checksum = crc32c::crc32c(&pattern(len));
        assert_eq!(printed.out, format!("{len} bytes, CRC-32C {checksum:08x}\n"));
    }
}

/// Goal: `storage_engine` commits in groups, reads what it wrote, tells of pages that are gone, and
/// prints percentiles; and a disk that is full ends it with an error that says so. Method: its
/// lines, and `RLIMIT_FSIZE` of 40 KiB, which stops the file of the pages.
#[test]
fn storage_engine_commits_in_groups() {
    let Some(engine) = example("storage_engine") else { skip!("{NOT_BUILT}") };
    let _watchdog = Watchdog::new();
    let (dir, _path, _file) = file_with(&[]);
    let printed = run(command(&engine).arg(dir.path()));
    assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""));
    let line = |begin: &str| {
        let found = printed.out.lines().find_map(|line| line.strip_prefix(begin));
        found.unwrap_or_else(|| panic!("{begin:?} in {}", printed.out))
    };
    let syncs = line("800 commits by ").strip_suffix(" syncs").expect("a count");
    let syncs: u64 = syncs.parse().expect("a number");
    // A task has one record in the log at a time, so a group has 16 records at most.
    assert!((50..800).contains(&syncs), "{syncs}");
    assert_eq!((line("page 10 has "), line("page 11 has ")), ("100 bytes", "0 bytes"));
    assert!(line("pread: in the kernel p50 ").contains("p99"), "{}", printed.out);

    let limited = run(Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 80; exec \"$0\" \"$1\""])
        .args([engine.as_os_str(), dir.path().as_os_str()]));
    assert_eq!(limited.code, Some(1), "{}", limited.out);
    assert!(limited.err.contains("EFBIG"), "{}", limited.err);
}

/// Ends a server with the test.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(program: &Path, directory: &Path) -> Self {
        let mut server = command(program);
        let mut child = server.arg("127.0.0.1:0").arg(directory).spawn().expect("it starts");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        out.read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
        Self { child, address }
    }

    /// Returns what curl gets, or its exit code.
    fn get(&self, options: &[&str], name: &str) -> Result<Vec<u8>, Option<i32>> {
        let url = format!("http://{}/{name}", self.address);
        let curl =
            Command::new("curl").args(["--silent", "--fail"]).args(options).arg(url).output();
        let output = curl.expect("curl starts");
        if output.status.success() { Ok(output.stdout) } else { Err(output.status.code()) }
    }

    /// Returns the most memory that it had, in bytes.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("/proc");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
        line.split_whitespace().nth(1).and_then(|it| it.parse::<u64>().ok()).expect("KiB") << 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Goal: `file_server` sends whole files and ranges, survives clients that hang up or take nothing,
/// has a bound on its memory, and ends on a signal. Method: curl, and connections that are left.
#[test]
fn file_server_serves() {
    let Some(program) = example("file_server") else { skip!("{NOT_BUILT}") };
    if Command::new("curl").arg("--version").output().is_err() {
        skip!("no curl here");
    }
    let _watchdog = Watchdog::new();
    let content = pattern(1_000_003);
    let (dir, _path, _file) = file_with(&content);
    let large = std::fs::File::create_new(dir.path().join("large")).expect("a file");
    large.set_len(1 << 30).expect("a length");
    let server = Server::start(&program, dir.path());
    assert!(server.get(&[], "file").expect("all") == content);
    for (range, part) in [
        ("0-0", &content[..1]),
        ("777-100776", &content[777..100_777]),
        ("999990-", &content[999_990..]),
        ("999990-5000000", &content[999_990..]),
        ("-7", &content[1_000_003 - 7..]),
    ] {
        assert!(server.get(&["--range", range], "file").expect("a part") == part, "{range}");
    }
    assert_eq!(server.get(&["--range", "1000003-"], "file"), Err(Some(22)));
    assert_eq!(server.get(&[], "other"), Err(Some(22)));
    assert_eq!(server.get(&["--path-as-is"], "../file"), Err(Some(22)));
    let head = server.get(&["--head"], "large").expect("a head");
    assert!(String::from_utf8_lossy(&head).contains("Content-Length: 1073741824"));

    // Some hang up at once, some after a little, and some stay and take nothing more.
    let mut silent = Vec::new();
    for client in 0..60 {
        let mut stream = TcpStream::connect(&server.address).expect("a connection");
        stream.write_all(b"GET /large HTTP/1.1\r\n\r\n").expect("a request");
        if client % 3 > 0 {
            stream.read_exact(&mut [0; 100_000]).expect("a part");
        }
        if client % 3 == 2 {
            silent.push(stream);
        }
    }
    let options = ["--output", "/dev/null", "--write-out", "%{size_download}"];
    let size = server.get(&options, "large").expect("all of it");
    assert_eq!(String::from_utf8_lossy(&size), "1073741824");
    assert!(server.get(&[], "file").expect("all") == content);
    assert!(server.peak() < 200 << 20, "{} bytes", server.peak());

    // Its end waits neither for the silent clients nor for the disk.
    let mut server = server;
    kill(&server.child, Signal::INT);
    let status = server.child.wait().expect("a child of ours");
    assert_eq!(status.code(), Some(0));
    assert_eq!(server.get(&[], "file"), Err(Some(7)), "nobody listens");
}
