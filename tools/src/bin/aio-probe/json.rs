//! The report for programs: the same answers, each under a name of its own.

use crate::Report;
use linux_aio_probe::{
    AtomicWrites, Call, DirectIo, Directory, File, FlagSupport, Kernel, Ring, Submit, Tally, Writes,
};
use serde_json::{Map, Value, json};
use std::io;
use std::path::{Path, PathBuf};

pub(crate) fn report(report: &Report) -> Value {
    json!({
        "kernel": kernel(&report.kernel),
        "place": {
            "name": report.place.name(),
            "filtered": report.place.filtered,
            "cure": report.place.cure(&report.kernel).map(|cure| cure.to_string()),
        },
        "files": answers(&report.files, file),
        "directories": answers(&report.directories, directory),
    })
}

fn answers<T>(list: &[(PathBuf, io::Result<T>)], to_json: fn(&T) -> Value) -> Vec<Value> {
    list.iter().map(|(path, answer)| one_answer(path, answer, to_json)).collect()
}

/// Either `error` or `answer` is null.
fn one_answer<T>(path: &Path, answer: &io::Result<T>, to_json: fn(&T) -> Value) -> Value {
    json!({
        "path": path.to_string_lossy(),
        "error": answer.as_ref().err().map(ToString::to_string),
        "answer": answer.as_ref().ok().map(to_json),
    })
}

fn kernel(kernel: &Kernel) -> Value {
    let calls = Call::ALL.map(|call| (call.to_string(), kernel.call(call).to_string().into()));
    let opcodes = kernel.opcodes();
    let notes = kernel.notes();
    json!({
        "release": kernel.release,
        "machine": kernel.machine,
        "usable": kernel.usable().is_ok(),
        "unusable_because": kernel.usable().err().map(|why| why.to_string()),
        "notes": notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "gvisor": kernel.is_gvisor(),
        "calls": Map::from_iter(calls),
        "aio_nr": kernel.usage.map(|usage| usage.in_use),
        "aio_max_nr": kernel.usage.map(|usage| usage.limit),
        "ring": kernel.ring.map(ring),
        "operations": Map::from_iter(
            opcodes.map(|(name, _, support)| (name.to_owned(), support.to_string().into())),
        ),
        "flags": flags(kernel.flags),
    })
}

fn ring(ring: Ring) -> Value {
    json!({
        "access": ring.access.to_string(),
        "magic": ring.header.magic,
        "compat_features": ring.header.compat_features,
        "incompat_features": ring.header.incompat_features,
        "header_length": ring.header.header_length,
        "nr": ring.header.nr,
    })
}

fn flags(flags: FlagSupport) -> Value {
    let list = flags.iter().map(|(name, _, support)| (name.to_owned(), support.to_string().into()));
    Value::Object(Map::from_iter(list))
}

fn file(file: &File) -> Value {
    json!({
        "kind": file.kind.to_string(),
        "open_for": file.access.to_string(),
        "direct": file.direct,
        "nonblocking": file.nonblocking,
        "append": file.append,
        "size": file.size,
        "logical_block": file.logical_block,
        "file_system": file.file_system.map(|file_system| file_system.to_string()),
        "direct_io": direct_io(file.direct_io),
        "atomic_writes": file.atomic_writes.map(atomic_writes),
        "flags_of_reads": flags(file.flags),
        "submit": submit(file.submit),
    })
}

fn submit(submit: Submit) -> Value {
    let reads = match submit {
        Submit::Measured(reads) => Some(tally(reads)),
        _ => None,
    };
    json!({
        "may_never_return": submit == Submit::MayNeverReturn,
        "text": submit.to_string(),
        "reads": reads,
    })
}

fn direct_io(direct_io: DirectIo) -> Value {
    let alignment = direct_io.alignment();
    json!({
        "reported": direct_io != DirectIo::Unreported,
        "supported": direct_io != DirectIo::Unsupported,
        "memory": alignment.map(|alignment| alignment.memory),
        "offset": alignment.map(|alignment| alignment.offset),
        "read_offset": alignment.map(|alignment| alignment.read_offset),
    })
}

fn atomic_writes(atomic_writes: AtomicWrites) -> Value {
    json!({
        "unit_min": atomic_writes.unit_min,
        "unit_max": atomic_writes.unit_max,
        "unit_max_optimal": atomic_writes.unit_max_optimal,
        "segments_max": atomic_writes.segments_max,
    })
}

fn directory(directory: &Directory) -> Value {
    json!({
        "file_system": directory.file_system.map(|file_system| file_system.to_string()),
        "temporary_file": directory.temporary_file.to_string(),
        "direct_io": direct_io(directory.direct_io),
        "memory_found": directory.memory_found,
        "offset_found": directory.offset_found,
        "atomic_writes": directory.atomic_writes.map(atomic_writes),
        "direct": directory.direct.as_ref().ok().map(writes),
        "direct_error": directory.direct.err().map(|errno| errno.to_string()),
        "buffered": writes(&directory.buffered),
    })
}

fn writes(writes: &Writes) -> Value {
    json!({
        "extending": tally(writes.extending),
        "overwriting": tally(writes.overwriting),
        "extending_nowait": tally(writes.extending_nowait),
        "overwriting_nowait": tally(writes.overwriting_nowait),
        "flags": flags(writes.flags),
        "fsync": writes.fsync.to_string(),
        "fdsync": writes.fdsync.to_string(),
    })
}

fn tally(tally: Tally) -> Value {
    json!({
        "tried": tally.tried,
        "ended_in_submit": tally.ended_in_submit,
        "ended_later": tally.ended_later,
        "would_wait": tally.would_wait,
        "error": tally.error.map(|errno| errno.to_string()),
    })
}
