//! Queries of a Parquet file through [`linux_aio`], beside `tokio::fs::File`.

use linux_aio_with_parquet::table;
use measure::{Result, Work, compare, make_cold};
use std::cell::RefCell;
use std::fs;

const ROWS: usize = 4 << 20;

fn main() -> Result {
    let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
    let path = directory.path().join("table.parquet");
    table::write(&path, ROWS)?;
    let std_file = fs::File::open(&path)?;
    let amount = std_file.metadata()?.len() as f64 / 1e6;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let driver = runtime.block_on(async { linux_aio::tokio::driver(64) })?;
    for (name, divisor, is_cold) in [
        ("three of eight columns, cold", None, true),
        ("one row in 997 of them, cold", Some(997), true),
        ("three of eight columns, in the page cache", None, false),
    ] {
        let what = format!("{name}: a table of {amount:.0} MB");
        let work = Work { with: "parquet 59", what: &what, amount, unit: "MB" };
        let digest = RefCell::new(None);
        let check = |batches: &[_]| {
            let found = table::digest(batches);
            assert_eq!(*digest.borrow_mut().get_or_insert(found), found, "the results differ");
        };
        let temper = || if is_cold { make_cold(&std_file) } else { fs::read(&path).map(drop) };
        let theirs = || {
            temper()?;
            let query = async { table::query(tokio::fs::File::open(&path).await?, divisor).await };
            check(&runtime.block_on(query)?);
            Ok(())
        };
        let ours = || {
            temper()?;
            let query = async { table::query(table::open(&driver, &path).await?, divisor).await };
            check(&runtime.block_on(query)?);
            Ok(())
        };
        compare(work, ("`tokio::fs::File`", theirs), ours)?;
    }
    Ok(())
}
