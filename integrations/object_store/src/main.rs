//! Ranges and whole objects, beside the local store of the crate itself.

use linux_aio_with_object_store::AioStore;
use measure::{Result, Work, compare, make_cold};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::fs::File;
use std::ops::Range;

const OBJECT: u64 = 256 << 20;

fn main() -> Result {
    let root = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = || LocalFileSystem::new_with_prefix(root.path());
    let driver = runtime.block_on(async { linux_aio::tokio::driver(64) })?;
    let (theirs, ours) = (local()?, AioStore::new(local()?, driver));
    let path = Path::from("object");
    let content: Vec<u8> = (0..OBJECT).map(|i| (i % 251) as u8).collect();
    runtime.block_on(theirs.put(&path, content.into()))?;
    let file = File::open(root.path().join("object"))?;

    for (count, len) in [(2000, 64 << 10), (200, 1 << 20)] {
        let ranges: Vec<Range<u64>> = (0..count)
            .map(|i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20)
            .map(|at| at % (OBJECT - len))
            .map(|start| start..start + len)
            .collect();
        let get = |store: &dyn ObjectStore| {
            make_cold(&file)?;
            let bytes = runtime.block_on(store.get_ranges(&path, &ranges))?;
            assert_eq!(u64::from(bytes[0][0]), ranges[0].start % 251);
            Ok(())
        };
        let what = format!("`get_ranges` of {count} times {} KiB, cold", len >> 10);
        let amount = (count * len) as f64 / 1e6;
        let work = Work { with: "object_store 0.14", what: &what, amount, unit: "MB" };
        compare(work, ("`LocalFileSystem`", || get(&theirs)), || get(&ours))?;
    }
    let get = |store: &dyn ObjectStore| {
        make_cold(&file)?;
        let bytes = runtime.block_on(async {
            let mut stream = store.get(&path).await?.into_stream();
            let mut bytes = 0;
            while let Some(piece) = futures::StreamExt::next(&mut stream).await {
                bytes += piece?.len() as u64;
            }
            Ok::<u64, object_store::Error>(bytes)
        })?;
        assert_eq!(bytes, OBJECT);
        Ok(())
    };
    let what = "`get` of 256 MiB as a stream, cold";
    let work = Work { with: "object_store 0.14", what, amount: OBJECT as f64 / 1e6, unit: "MB" };
    compare(work, ("`LocalFileSystem`", || get(&theirs)), || get(&ours))
}
