//! What the probe prints: each cause and each kind has a text of its own that names what it is
//! about, and no error loses its number on the way to another error type.

#[path = "../../tests/common/mod.rs"]
mod common;

use common::texts::{assert_distinct, assert_names};
use linux_aio::{Errno, IoContext, Opcode};
use linux_aio_probe::{
    Access, Availability, Call, DirectIo, DirectoryError, FileKind, Note, RingAccess, Submit,
    Support, TemporaryFile, Untried, Unusable,
};
use std::error::Error;
use std::fs::File;
use std::io;

#[test]
fn each_verdict_of_the_probe_has_a_text_of_its_own() {
    assert_distinct(&Call::ALL, Call::to_string);
    let unavailable = [Availability::Missing, Availability::Filtered(Errno::EPERM)];
    assert_distinct(&[&unavailable[..], &[Availability::There]].concat(), Availability::to_string);
    let accesses = [
        RingAccess::Direct,
        RingAccess::Absent,
        RingAccess::NotUnderstood,
        RingAccess::NoForkGuard,
    ];
    assert_distinct(&accesses, RingAccess::to_string);
    let supports =
        [Support::Accepted, Support::Ignored, Support::Refused(Errno::EINVAL), Support::Unknown];
    assert_distinct(&supports, Support::to_string);
    assert_distinct(&[TemporaryFile::Unnamed, TemporaryFile::Unlinked], TemporaryFile::to_string);
    assert_distinct(&[DirectIo::Unsupported, DirectIo::Unreported], DirectIo::to_string);
    assert_distinct(
        &[Access::Read, Access::Write, Access::ReadWrite, Access::Neither],
        Access::to_string,
    );
    assert_distinct(
        &[
            FileKind::Regular,
            FileKind::BlockDevice,
            FileKind::NullDevice,
            FileKind::Terminal,
            FileKind::CharacterDevice,
            FileKind::Pipe,
            FileKind::Socket,
            FileKind::Directory,
            FileKind::SymbolicLink,
            FileKind::Anonymous,
        ],
        FileKind::to_string,
    );

    let mut notes = vec![Note::Gvisor, Note::FlagsIgnored];
    notes.extend(unavailable.map(Note::NoMaskedWait));
    notes.extend(unavailable.map(Note::NoCancel));
    notes.extend(accesses[1..].iter().map(|&access| Note::NoRing(access)));
    notes.extend([Opcode::POLL, Opcode::PREADV].map(|opcode| Note::Refused(opcode, Errno::EINVAL)));
    assert_distinct(&notes, Note::to_string);
}

/// A filter's cure is another than that of a kernel without the call.
#[test]
fn each_reason_why_aio_cannot_be_used_names_its_cure() {
    let setup = IoContext::new(0).expect_err("a context for nothing");
    let filtered = Availability::Filtered(Errno::EPERM);
    let mut reasons = vec![
        Unusable::Setup(setup),
        Unusable::Memory(Errno::ENOMEM),
        Unusable::Read(Errno::EACCES),
    ];
    for call in Call::ALL {
        reasons.extend([Availability::Missing, filtered].map(|is| Unusable::Call(call, is)));
    }
    assert_distinct(&reasons, Unusable::to_string);
    assert_names(&Unusable::Call(Call::IoSetup, filtered), &["io_setup", "seccomp", "EPERM"]);
    assert_names(&Unusable::Call(Call::IoSetup, Availability::Missing), &["CONFIG_AIO"]);
    assert_names(&Unusable::Call(Call::IoCancel, Availability::Missing), &["gVisor"]);

    let expected = [
        (reasons[0], Errno::EINVAL),
        (reasons[1], Errno::ENOMEM),
        (reasons[2], Errno::EACCES),
        (Unusable::Call(Call::IoSubmit, filtered), Errno::EPERM),
        (Unusable::Call(Call::IoSubmit, Availability::Missing), Errno::ENOSYS),
    ];
    for (reason, errno) in expected {
        let error = io::Error::from(reason);
        assert_eq!(error.kind(), io::Error::from(errno).kind(), "{reason:?}");
        assert_eq!(error.to_string(), reason.to_string());
        let error = io::Error::from(DirectoryError::NoAio(reason));
        assert_eq!(error.kind(), io::Error::from(errno).kind(), "{reason:?}");
    }

    let mut untried = vec![
        Untried::NotReadable,
        Untried::Empty,
        Untried::Interface,
        Untried::UnknownFileSystem,
        Untried::Device,
        Untried::LargeBlocks,
    ];
    untried.extend(reasons.iter().map(|&reason| Untried::NoAio(reason)));
    assert_distinct(&untried, Untried::to_string);
    let mut submits = vec![
        Submit::MayNeverReturn,
        Submit::NeverWaits,
        Submit::DoesTheWork,
        Submit::Refused(Errno::EBADF),
    ];
    submits.extend(untried.into_iter().map(Submit::Untried));
    assert_distinct(&submits, Submit::to_string);
}

#[test]
fn each_reason_why_a_directory_cannot_be_probed_names_its_cure() {
    let errnos = [
        (Errno::EROFS, "can be written"),
        (Errno::EACCES, "permission to write"),
        (Errno::ENOSPC, "free some space"),
        (Errno::EDQUOT, "free some space"),
        (Errno::ENOENT, "takes no new files"),
        (Errno::EPERM, "immutable"),
        // Only its source says more.
        (Errno::EIO, ""),
    ];
    for (errno, cure) in errnos {
        let error = DirectoryError::TemporaryFile(errno);
        assert_names(&error, &["no temporary file", &format!("{errno:?}"), cure]);
        assert_eq!(error.source().map(ToString::to_string), Some(errno.to_string()));
        assert_eq!(io::Error::from(error).kind(), io::Error::from(errno).kind(), "{errno:?}");
    }
    let scratch = common::files::scratch();
    let directory = File::open(scratch.path()).map(linux_aio_probe::directory);
    let directory = directory.expect("our directory");
    assert_names(&directory.expect("it can be probed"), &["O_DIRECT", "overwriting", "FSYNC"]);
}
