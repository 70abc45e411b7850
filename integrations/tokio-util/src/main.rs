//! A log of records written and read, beside `tokio::fs::File`.

use bytes::Bytes;
use futures::{SinkExt, TryStreamExt};
use linux_aio::File;
use linux_aio_with_tokio_util::{BETWEEN_FLUSHES, codec};
use measure::{Result, Work, compare, make_cold};
use std::io;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::codec::{FramedRead, FramedWrite};

const RECORDS: usize = 1 << 18;
const LEN: usize = 1020;

/// The buffer of tokio's files, which is 2 MiB, and of ours: both may be asked for as much.
const BUFFER: usize = 1 << 20;

async fn write<W: AsyncWrite + Unpin>(writer: W) -> io::Result<W> {
    let mut log = FramedWrite::new(writer, codec());
    log.set_backpressure_boundary(BETWEEN_FLUSHES);
    let record = Bytes::from(vec![7; LEN]);
    for _ in 0..RECORDS {
        log.feed(record.clone()).await?;
    }
    SinkExt::<Bytes>::close(&mut log).await?;
    Ok(log.into_inner())
}

async fn read(reader: impl AsyncRead + Unpin) -> io::Result<()> {
    let records = FramedRead::with_capacity(reader, codec(), BUFFER);
    let bytes = records.try_fold(0, async |sum, record| Ok(sum + record.len())).await?;
    assert_eq!(bytes, RECORDS * LEN);
    Ok(())
}

fn main() -> Result {
    let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
    let path = directory.path().join("log");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let driver = runtime.block_on(async { linux_aio::tokio::driver(32) })?;
    let amount = (RECORDS * (LEN + 4)) as f64 / 1e6;
    let work = |what| Work { with: "tokio-util 0.7", what, amount, unit: "MB" };

    let theirs = || {
        Ok(runtime.block_on(async {
            let file = tokio::fs::File::create(&path).await?;
            let writer = tokio::io::BufWriter::with_capacity(BUFFER, file);
            let mut file = write(writer).await?.into_inner();
            file.flush().await?;
            file.sync_data().await
        })?)
    };
    let ours = || {
        Ok(runtime.block_on(async {
            let options = File::options().write(true).create(true).truncate(true);
            write(options.open(&driver, &path).await?.writer(0)).await.map(drop)
        })?)
    };
    let what = "a log of 1 KiB records written, durable at the end";
    compare(work(what), ("`BufWriter` of `tokio::fs::File`", theirs), ours)?;

    let std_file = std::fs::File::open(&path)?;
    let theirs = || {
        make_cold(&std_file)?;
        Ok(runtime.block_on(async { read(tokio::fs::File::open(&path).await?).await })?)
    };
    let ours = || {
        make_cold(&std_file)?;
        Ok(runtime.block_on(async { read(File::open(&driver, &path).await?.reader(..)).await })?)
    };
    compare(work("the log read, cold"), ("`tokio::fs::File`", theirs), ours)
}
