//! `Bytes` and `BytesMut` as buffers: what is read, what is written, and when memory is given back.

use bytes::{BufMut, Bytes, BytesMut};
use futures::FutureExt;
use linux_aio::{BufferPool, File, ReaderOptions};
use linux_aio_with_bytes::{read_behind, read_ranges};
use std::fs;
use std::io::{ErrorKind, Result};
use tempfile::TempDir;

fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// Opens a new file with `content`, to read and write.
async fn file_with(content: &[u8]) -> Result<(File, TempDir)> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let path = directory.path().join("file");
    fs::write(&path, content)?;
    let driver = linux_aio::tokio::driver(32)?;
    let file = File::options().read(true).write(true).open(&driver, path).await?;
    Ok((file, directory))
}

/// Goal: every range is exact, and on a direct file the bytes lie where the disk wrote them.
#[tokio::test]
async fn ranges_are_exact_and_not_copied() -> Result<()> {
    let content = pattern(1_000_003);
    let (file, _directory) = file_with(&content).await?;
    let ranges = vec![999_999..1_000_003, 0..1, 4096..8192, 5..700_001, 7..7, 4095..4097];
    let read = read_ranges(&file, ranges.clone()).await?;
    assert_eq!(read.len(), ranges.len());
    for (bytes, range) in read.iter().zip(&ranges) {
        assert!(bytes[..] == content[range.start as usize..range.end as usize], "{range:?}");
        let in_page = bytes.as_ptr().addr() % 512 == range.start as usize % 512;
        assert!(!file.is_direct() || bytes.is_empty() || in_page, "{range:?} was copied");
    }
    if !file.is_direct() {
        println!("SKIPPED that nothing is copied: the file system has no O_DIRECT");
    }
    let beyond = read_ranges(&file, vec![0..1, 1_000_000..1_000_004]).await;
    assert_eq!(beyond.expect_err("a range behind the end").kind(), ErrorKind::InvalidInput);
    Ok(())
}

/// Goal: what a `BytesMut` holds stays, and what was read comes behind it, also where the memory is
/// shared with another buffer. Method: a buffer that was split, which may grow in place or not.
#[tokio::test]
async fn reads_come_behind_what_a_buffer_holds() -> Result<()> {
    let content = pattern(100_000);
    let (file, _directory) = file_with(&content).await?;
    for (len, offset) in [(0, 0), (1, 99_999), (512, 512), (4096, 1), (99_001, 999)] {
        let mut buf = BytesMut::with_capacity(9000);
        buf.put_slice(b"first header");
        let first = buf.split_to(6);
        let read = read_behind(&file, buf, len, offset).await?;
        assert_eq!(&first[..], b"first ");
        assert_eq!(&read[..6], b"header");
        assert!(read[6..] == content[offset as usize..offset as usize + len], "{len} at {offset}");
        // What is behind is a `Bytes` of the same memory.
        let frozen = read.freeze();
        let copy = frozen.slice(6..);
        assert_eq!(copy.as_ptr(), frozen[6..].as_ptr());
    }
    let beyond = read_behind(&file, BytesMut::new(), 2, 99_999).await;
    assert_eq!(beyond.expect_err("bytes behind the end").kind(), ErrorKind::UnexpectedEof);
    Ok(())
}

/// Goal: `Bytes` of any memory and alignment are written as they are, alone and several at once,
/// and come back. Method: pieces of one allocation and a static one, over the old content.
#[tokio::test]
async fn bytes_are_written_as_they_are() -> Result<()> {
    let mut expected = vec![255; 50_000];
    let (file, directory) = file_with(&expected).await?;
    let content = pattern(20_000);
    for (piece, offset) in [(0..1, 0), (1..4097, 511), (4096..8192, 4096), (3..20_000, 20_001)] {
        let piece = content.slice(piece);
        let (result, given_back) = file.write_all_at(piece.clone(), offset as u64).await;
        result?;
        assert_eq!(given_back.as_ptr(), piece.as_ptr());
        expected[offset..offset + piece.len()].copy_from_slice(&piece);
    }
    let pieces = vec![Bytes::from_static(b"head"), content.slice(9..5000), Bytes::new()];
    let len: usize = pieces.iter().map(Bytes::len).sum();
    expected[45_000..45_000 + len].copy_from_slice(&pieces.concat());
    let (result, _pieces) = file.writev_at(pieces, 45_000).await;
    assert_eq!(result?, len);
    file.sync_data().await?;
    assert!(fs::read(directory.path().join("file"))? == expected);
    let len = expected.len();
    assert!(read_behind(&file, BytesMut::new(), len, 0).await? == expected);
    Ok(())
}

/// Goal: a buffer of a pool is in use until the last `Bytes` of it is gone, and no longer. Method:
/// a reader with a pool of two, whose first chunk is kept as a slice alone.
#[tokio::test]
async fn a_pool_has_its_memory_back_with_the_last_bytes() -> Result<()> {
    let content = pattern(64 << 10);
    let (file, _directory) = file_with(&content).await?;
    let pool = BufferPool::new(2, 16 << 10, 4096)?;
    let options = ReaderOptions::new().pool(pool.clone()).depth(1);
    let mut reader = file.reader_with(.., options);
    let first = Bytes::from_owner(reader.next_chunk().await?.expect("a chunk"));
    let kept = first.slice(5..9);
    drop(first);
    let second = Bytes::from_owner(reader.next_chunk().await?.expect("a chunk"));
    // Two are in use. The reader waits for a third.
    assert!(tokio::task::unconstrained(reader.next_chunk()).now_or_never().is_none());
    assert_eq!((&kept[..], &second[..3]), (&content[5..9], &content[16 << 10..][..3]));
    drop(kept);
    let third = reader.next_chunk().await?.expect("a chunk");
    assert!(third[..] == content[32 << 10..48 << 10]);
    Ok(())
}
