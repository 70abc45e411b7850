//! The suite by which `object_store` judges implementations, and what it does not ask.

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt};
use linux_aio_with_object_store::AioStore;
use object_store::integration::{
    copy_if_not_exists, copy_rename_nonexistent_object, get_opts, list_uses_directories_correctly,
    list_with_delimiter, list_with_offset_exclusivity, put_get_delete_list, put_opts,
    rename_and_copy, stream_get,
};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, Result};
use std::fs;
use std::time::Duration;
use tempfile::TempDir;

fn store() -> Result<(AioStore, TempDir)> {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let local = LocalFileSystem::new_with_prefix(root.path())?;
    let driver = linux_aio::tokio::driver(32).expect("a driver");
    Ok((AioStore::new(local, driver), root))
}

fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// Goal: it is a store like those that come with the crate. Method: the tests that the crate has
/// for its own local store, in the same order.
#[tokio::test]
async fn the_crates_own_suite_passes() -> Result<()> {
    let (store, _root) = store()?;
    put_get_delete_list(&store).await;
    list_with_offset_exclusivity(&store).await;
    get_opts(&store).await;
    list_uses_directories_correctly(&store).await;
    list_with_delimiter(&store).await;
    rename_and_copy(&store).await;
    copy_if_not_exists(&store).await;
    copy_rename_nonexistent_object(&store).await;
    stream_get(&store).await;
    put_opts(&store, false).await;
    Ok(())
}

/// Goal: ranges of any place and length are those of the local store, with their errors.
#[tokio::test]
async fn ranges_are_those_of_the_local_store() -> Result<()> {
    let (store, root) = store()?;
    let local = LocalFileSystem::new_with_prefix(root.path())?;
    let (path, content) = (Path::from("a/b"), pattern(9_000_001));
    let halves = [content.slice(..1_000_003), content.slice(1_000_003..)];
    store.put(&path, halves.into_iter().collect()).await?;
    let ranges = [0..1, 9_000_000..9_000_001, 4095..4097, 0..9_000_001, 5_000_000..5_000_001];
    let ours = store.get_ranges(&path, &ranges).await?;
    assert!(ours == local.get_ranges(&path, &ranges).await?);
    for (bytes, range) in ours.iter().zip(&ranges) {
        assert!(bytes == &content[range.start as usize..range.end as usize], "{range:?}");
        assert!(store.get_range(&path, range.clone()).await? == *bytes, "{range:?}");
    }
    let beyond = 9_000_000..9_999_999;
    assert_eq!(store.get_ranges(&path, std::slice::from_ref(&beyond)).await?[0].len(), 1);
    assert_eq!(store.get_range(&path, beyond).await?.len(), 1);
    assert!(store.get_ranges(&path, &[0..1, 9_000_001..9_000_002]).await.is_err());
    Ok(())
}

/// Goal: a get is of one object, even if another one takes its name in the middle of the stream.
#[tokio::test]
async fn a_stream_stays_with_the_object_that_it_began_with() -> Result<()> {
    let (store, _root) = store()?;
    let (path, content) = (Path::from("object"), pattern(20_000_000));
    store.put(&path, content.clone().into()).await?;
    let mut stream = store.get(&path).await?.into_stream();
    let mut bytes = stream.next().await.expect("a piece")?.to_vec();
    store.put(&path, vec![0; 10_000].into()).await?;
    while let Some(piece) = stream.try_next().await? {
        bytes.extend_from_slice(&piece);
    }
    assert!(bytes == content);
    assert_eq!(store.get(&path).await?.bytes().await?.len(), 10_000);
    Ok(())
}

/// Goal: a put that fails or is dropped leaves no file and changes no object.
#[tokio::test]
async fn a_put_that_does_not_end_leaves_nothing() -> Result<()> {
    let (store, root) = store()?;
    let path = Path::from("object");
    store.put(&path, "first".into()).await?;
    let again = store.put_opts(&path, "second".into(), PutMode::Create.into()).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    for polls in 0..8 {
        let mut put = Box::pin(store.put(&path, pattern(100_000).into()));
        for _ in 0..polls {
            if put.as_mut().now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(put);
        let len = store.get(&path).await?.bytes().await?.len();
        assert!(len == 5 || len == 100_000, "{len} bytes of a put that was dropped");
    }
    // A thread of a put may still remove its file. Each millisecond counts a try, not a time.
    let objects = || fs::read_dir(root.path()).expect("the store").count();
    for _ in 0..30_000 {
        if objects() == 1 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{} files stay beside the object", objects() - 1);
}
