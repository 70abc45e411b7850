//! Queries of a Parquet file, compared with those of the crate on `tokio::fs::File`.

use futures::FutureExt;
use linux_aio_with_parquet::table;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::{ParquetError, Result};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const ROWS: usize = 600_000;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

fn written(directory: &Path) -> PathBuf {
    let path = directory.join("table.parquet");
    table::write(&path, ROWS).expect("a table");
    path
}

/// Goal: the reader changes nothing of a result. Method: projection, and projection with a row
/// filter that skips pages, in three row groups, through both readers.
#[tokio::test]
async fn results_are_those_of_tokios_file() -> Result<()> {
    let directory = directory();
    let path = written(directory.path());
    let driver = linux_aio::tokio::driver(64)?;
    let reader = table::open(&driver, &path).await?;
    for divisor in [None, Some(997), Some(i64::MAX)] {
        let theirs = table::query(tokio::fs::File::open(&path).await?, divisor).await?;
        let ours = table::query(reader.clone(), divisor).await?;
        assert!(theirs == ours, "{divisor:?}");
        let rows = ours.iter().map(|batch| batch.num_rows()).sum::<usize>();
        match divisor {
            None => assert_eq!(rows, ROWS),
            Some(997) => assert!((100..ROWS / 500).contains(&rows), "{rows}"),
            _ => assert!(rows < 2, "{rows}"),
        }
    }
    Ok(())
}

/// Goal: a range that the file does not have is an error, which says what was missing, and never a
/// short buffer. Method: the file is cut when the reader has it.
#[tokio::test]
async fn a_file_that_shrinks_is_an_error() -> Result<()> {
    let directory = directory();
    let path = written(directory.path());
    let driver = linux_aio::tokio::driver(64)?;
    let mut reader = table::open(&driver, &path).await?;
    let len = fs::metadata(&path)?.len();
    fs::OpenOptions::new().write(true).open(&path)?.set_len(len / 2)?;
    let error = reader.get_bytes(len / 2 - 10..len / 2 + 10).await.unwrap_err();
    assert!(error.to_string().contains("ends behind the end of the file"), "{error}");
    let query = table::query(reader.clone(), None).await;
    assert!(matches!(query, Err(ParquetError::External(_))), "{query:?}");

    fs::OpenOptions::new().write(true).open(&path)?.write_all_at(&[0; 64], len - 64)?;
    let query = table::query(reader, None).await;
    assert!(matches!(query, Err(ParquetError::General(_))), "{query:?}");
    Ok(())
}

/// Goal: a query that is dropped at any time does no harm to the next.
#[tokio::test]
async fn a_dropped_query_leaves_nothing_behind() -> Result<()> {
    let directory = directory();
    let path = written(directory.path());
    let driver = linux_aio::tokio::driver(8)?;
    let reader = table::open(&driver, &path).await?;
    let whole = table::digest(&table::query(reader.clone(), None).await?);
    for polls in 0..12 {
        let mut query = Box::pin(table::query(reader.clone(), None));
        for _ in 0..polls {
            if let Some(batches) = query.as_mut().now_or_never() {
                assert_eq!(table::digest(&batches?), whole);
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(table::digest(&table::query(reader, None).await?), whole);
    driver.close().await;
    Ok(())
}
