//! The codecs of `tokio-util` on readers and writers of a [`linux_aio::File`].

use bytes::Bytes;
use futures::{SinkExt, StreamExt, TryStreamExt};
use linux_aio::{Errno, File, ReaderOptions, WriterOptions};
use linux_aio_with_tokio_util::{HEADER, LONGEST, append, codec, recover};
use std::fs;
use std::io::{Error, Result};
use std::path::PathBuf;
use tempfile::TempDir;
use tokio_util::codec::{FramedRead, FramedWrite, LinesCodec, LinesCodecError};

/// Opens a new file, to read and write.
async fn empty() -> Result<(File, PathBuf, TempDir)> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let path = directory.path().join("log");
    let driver = linux_aio::tokio::driver(32)?;
    let options = File::options().read(true).write(true).create_new(true);
    Ok((options.open(&driver, &path).await?, path, directory))
}

/// Records of many lengths: some lie across the borders of blocks, chunks and reads.
fn records() -> Vec<Bytes> {
    let lens = [1, 4091, 4092, 4096, 5, LONGEST, 100, 65_536, 1 << 18, 3];
    let cycles = lens.iter().cycle().take(60).enumerate();
    cycles.map(|(i, &len)| (0..len).map(|at| (at * 7 + at / 251 + i) as u8).collect()).collect()
}

fn of_lines(error: LinesCodecError) -> Error {
    match error {
        LinesCodecError::Io(error) => error,
        too_long => Error::other(too_long),
    }
}

/// Goal: what was sent is what comes, however records lie on blocks and chunks; the file has the
/// frames and nothing else. Method: the default chunks, and chunks of one page.
#[tokio::test]
async fn records_come_as_they_were_sent() -> Result<()> {
    let records = records();
    for chunk in [4096, 1 << 20] {
        let (file, path, _directory) = empty().await?;
        let writer = file.writer_with(0, WriterOptions::new().chunk_len(chunk));
        let mut log = FramedWrite::new(writer, codec());
        for record in &records {
            log.feed(record.clone()).await?;
        }
        SinkExt::<Bytes>::close(&mut log).await?;
        let mut expected = Vec::new();
        for record in &records {
            expected.extend((record.len() as u32).to_be_bytes());
            expected.extend(record);
        }
        assert!(fs::read(&path)? == expected, "in chunks of {chunk}");
        let reader = file.reader_with(.., ReaderOptions::new().chunk_len(chunk));
        let read: Vec<_> = FramedRead::new(reader, codec()).try_collect().await?;
        assert!(read == records, "in chunks of {chunk}");
    }
    Ok(())
}

/// Goal: lines are those of `str::lines`, whatever ends them, and the last one needs no end.
/// Method: lines across the borders of chunks, with `\n` and `\r\n`, an empty one, and letters of 4
/// bytes.
#[tokio::test]
async fn lines_are_those_of_the_text() -> Result<()> {
    let (file, path, _directory) = empty().await?;
    let mut log = FramedWrite::new(file.writer(0), LinesCodec::new());
    for number in 0..20_000 {
        let end = ["", "\r", "\n", " \u{1f980}"][number % 4];
        let line = format!("line {number} {}{end}", "-".repeat(number % 97));
        log.feed(line).await.map_err(of_lines)?;
    }
    SinkExt::<String>::close(&mut log).await.map_err(of_lines)?;
    let mut text = fs::read_to_string(&path)?;
    assert!(text.pop() == Some('\n'));
    fs::write(&path, &text)?;
    let reader = file.reader_with(.., ReaderOptions::new().chunk_len(4096));
    let lines: Vec<_> =
        FramedRead::new(reader, LinesCodec::new()).try_collect().await.map_err(of_lines)?;
    assert!(lines.iter().eq(text.lines()));
    assert_eq!(lines.len(), 25_000);
    Ok(())
}

/// Goal: a line above the limit is an error, and the lines behind it come all the same.
#[tokio::test]
async fn a_line_that_is_too_long_costs_no_other() -> Result<()> {
    let (file, path, _directory) = empty().await?;
    fs::write(&path, format!("first\n{}\nlast\n", "x".repeat(100_000)))?;
    let mut lines = FramedRead::new(file.reader(..), LinesCodec::new_with_max_length(80));
    assert_eq!(lines.next().await.expect("a line").map_err(of_lines)?, "first");
    let too_long = lines.next().await.expect("an error");
    assert!(matches!(too_long, Err(LinesCodecError::MaxLineLengthExceeded)), "{too_long:?}");
    // `FramedRead` ends after an error, and goes on if it is asked again.
    assert!(lines.next().await.is_none());
    assert_eq!(lines.try_collect::<Vec<_>>().await.map_err(of_lines)?, ["last"]);
    Ok(())
}

/// Returns where the last whole record of `bytes` ends, and how many there are.
fn whole_records(bytes: &[u8]) -> (u64, usize) {
    let (mut end, mut count) = (0, 0);
    while let Some((len, behind)) = bytes[end..].split_first_chunk() {
        let len = u32::from_be_bytes(*len) as usize;
        if len == 0 || len > behind.len() {
            break;
        }
        end += HEADER as usize + len;
        count += 1;
    }
    (end as u64, count)
}

/// Goal: after a crash the log has every record that was whole, and goes on behind it. Method: the
/// writer is dropped; the file is cut at each byte, and zeros come behind that, as a writer leaves
/// them.
#[tokio::test]
async fn a_log_goes_on_behind_its_last_whole_record() -> Result<()> {
    let (file, path, _directory) = empty().await?;
    let mut log = append(&file, 0).await?;
    for record in ["first", "second", "the last"] {
        log.send(Bytes::from(record)).await?;
    }
    drop(log);
    let mut seen = Vec::new();
    let end = recover(&file, |record| seen.push(record)).await?;
    assert_eq!(seen, ["first", "second", "the last"]);
    let whole = fs::read(&path)?[..end as usize].to_vec();
    for cut in 0..=whole.len() {
        for zeros in [0, 1, 4096, 100_000] {
            let bytes = [&whole[..cut], &vec![0; zeros][..]].concat();
            fs::write(&path, &bytes)?;
            let mut count = 0;
            let end = recover(&file, |_| count += 1).await?;
            assert_eq!((end, count), whole_records(&bytes), "{zeros} zeros behind {cut} bytes");
            let mut log = append(&file, end).await?;
            log.send(Bytes::from("more")).await?;
            SinkExt::<Bytes>::close(&mut log).await?;
            let bytes = fs::read(&path)?;
            assert_eq!(whole_records(&bytes), (bytes.len() as u64, count + 1));
        }
    }
    Ok(())
}

/// Goal: a log that cannot be read is an error, and not a shorter log. Method: a file that is not
/// open to read.
#[tokio::test]
async fn an_error_of_the_file_is_no_end_of_the_log() -> Result<()> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let path = directory.path().join("log");
    let driver = linux_aio::tokio::driver(32)?;
    let file = File::options().write(true).create_new(true).open(&driver, &path).await?;
    let mut log = append(&file, 0).await?;
    log.send(Bytes::from("record")).await?;
    SinkExt::<Bytes>::close(&mut log).await?;
    let error = recover(&file, drop).await.expect_err("a file that is not open to read");
    assert_eq!(Errno::from_io_error(&error), Some(Errno::EBADF), "{error}");
    Ok(())
}
