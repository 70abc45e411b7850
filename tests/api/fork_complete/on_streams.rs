//! What a forked child inherits of the streams of a `File`, and what they answer there.

use super::checks::Check;
use super::common::poll_once;
use core::pin::pin;
use core::task::Waker;
use linux_aio::{Errno, File, FileReader, FileWriter, ReadRanges, ReaderOptions, WriterOptions};
use smol::future::block_on;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

/// Streams with requests that the parent has started.
pub(crate) struct Started {
    reader: FileReader,
    writer: FileWriter,
    ranges: ReadRanges,
}

impl Started {
    pub(crate) fn of(file: &File) -> Self {
        let mut reader = file.reader(..);
        let _ = poll_once(&mut pin!(reader.next_chunk()), Waker::noop());
        let mut writer = file.writer(0);
        block_on(writer.write_all(b"byte")).expect("memory");
        let _ = poll_once(&mut pin!(writer.flush()), Waker::noop());
        let mut ranges = file.read_ranges(vec![0..8; 2]).expect("ranges");
        let _ = poll_once(&mut pin!(ranges.next_range()), Waker::noop());
        Self { reader, writer, ranges }
    }

    pub(crate) fn are_as_they_were(mut self) {
        block_on(self.reader.next_chunk()).expect("a read");
        block_on(self.writer.finish()).expect("an end");
        block_on(self.ranges.next_range()).expect("a read");
    }
}

fn assert_forked<T: core::fmt::Debug>(result: io::Result<T>) {
    let error = result.expect_err("the driver is the parent's");
    assert_eq!(Errno::from_io_error(&error), Some(Errno::FORKED), "{error}");
}

/// What the parent had started panics, unless it had ended before the fork.
fn ends_or_panics<R>(act: impl FnOnce() -> R) {
    let usual = take_hook();
    set_hook(Box::new(|_| {}));
    let ended = catch_unwind(AssertUnwindSafe(act));
    set_hook(usual);
    if let Err(payload) = ended {
        let text = *payload.downcast::<&str>().expect("a text");
        assert!(text.contains("fork"), "{text}");
    }
}

pub(crate) const STREAMS: &[(&str, Check)] = &[
    ("File::reader", |world| {
        for file in world.files.files() {
            assert_forked(block_on(file.reader(..).next_chunk()));
        }
    }),
    ("File::reader_with", |world| {
        let options = ReaderOptions::new().depth(2);
        assert_forked(block_on(world.files.files()[1].reader_with(.., options).next_chunk()));
    }),
    ("FileReader::next_chunk", |world| {
        let reader = &mut world.files.streams().reader;
        ends_or_panics(|| drop(poll_once(&mut pin!(reader.next_chunk()), Waker::noop())));
    }),
    ("FileReader::position", |world| {
        let _ = world.files.streams().reader.position();
    }),
    ("FileReader::set_position", |world| {
        let reader = &mut world.files.streams().reader;
        reader.set_position(50);
        assert_eq!(reader.position(), 50);
    }),
    ("FileReader: Debug", |world| drop(format!("{:?}", world.files.streams().reader))),
    ("FileReader: Drop", |world| drop(world.files.streams.take())),
    ("File::writer", |world| {
        for file in world.files.files() {
            let mut writer = file.writer(0);
            block_on(writer.write_all(b"bytes")).expect("memory");
            assert_forked(block_on(writer.flush()));
        }
    }),
    ("File::writer_with", |world| {
        let mut writer = world.files.files()[0].writer_with(0, WriterOptions::new());
        block_on(writer.write_all(b"bytes")).expect("memory");
        assert_forked(block_on(writer.finish()));
    }),
    ("FileWriter::write_all", |world| {
        let writer = &mut world.files.streams().writer;
        ends_or_panics(|| drop(poll_once(&mut pin!(writer.write_all(b"x")), Waker::noop())));
    }),
    ("FileWriter::flush", |world| {
        let writer = &mut world.files.streams().writer;
        ends_or_panics(|| drop(poll_once(&mut pin!(writer.flush()), Waker::noop())));
    }),
    ("FileWriter::finish", |world| {
        let writer = &mut world.files.streams().writer;
        ends_or_panics(|| drop(poll_once(&mut pin!(writer.finish()), Waker::noop())));
    }),
    ("FileWriter::position", |world| assert_eq!(world.files.streams().writer.position(), 4)),
    ("FileWriter: Debug", |world| drop(format!("{:?}", world.files.streams().writer))),
    ("FileWriter: Drop", |world| drop(world.files.streams.take())),
    ("File::read_ranges", |world| {
        for file in &world.files.files()[..2] {
            let mut ranges = file.read_ranges(vec![0..8; 2]).expect("ranges");
            assert_forked(block_on(ranges.next_range()));
        }
    }),
    ("File::read_ranges_with", |world| {
        let ranges = world.files.files()[0].read_ranges_with([], Default::default());
        assert!(block_on(ranges.expect("none").next_range()).expect("the end").is_none());
    }),
    ("ReadRanges::next_range", |world| {
        let ranges = &mut world.files.streams().ranges;
        ends_or_panics(|| drop(poll_once(&mut pin!(ranges.next_range()), Waker::noop())));
    }),
    ("ReadRanges: Debug", |world| drop(format!("{:?}", world.files.streams().ranges))),
    ("ReadRanges: Drop", |world| drop(world.files.streams.take())),
];
