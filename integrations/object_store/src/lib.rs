//! A local store of the crate `object_store` whose bytes go through [`linux_aio::File`].
//!
//! Names, listings, copies and multipart uploads are those of [`LocalFileSystem`]. Reads and puts
//! are by `O_DIRECT`, off the threads of the runtime.

mod put;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use linux_aio::{Driver, File};
use linux_aio_with_bytes::read_ranges;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result,
};
use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// The largest object, or range of one, that is read as one piece: `object_store` copies several
/// pieces together where one is wanted.
const WHOLE: u64 = 8 << 20;

/// Stores objects as files, as [`LocalFileSystem`] does.
#[derive(Debug)]
pub struct AioStore {
    local: LocalFileSystem,
    driver: Driver,
}

impl AioStore {
    /// Takes a store of files, and a driver for their bytes.
    pub fn new(local: LocalFileSystem, driver: Driver) -> Self {
        Self { local, driver }
    }

    /// Opens an object of the local store for direct I/O: the file that was found, even if another
    /// one has its name now.
    async fn open(&self, found: GetResultPayload) -> Result<File> {
        let GetResultPayload::File(file, path) = found else {
            return Err(generic(io::Error::other("a local object that is no file")));
        };
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        match File::open(&self.driver, itself).await {
            Ok(file) => Ok(file),
            // There is no /proc.
            Err(_) => File::open(&self.driver, path).await.map_err(generic),
        }
    }
}

fn stream_of(pieces: Vec<Bytes>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::iter(pieces.into_iter().filter(|piece| !piece.is_empty()).map(Ok))
}

fn generic(error: io::Error) -> Error {
    Error::Generic { store: "AioStore", source: Box::new(error) }
}

impl fmt::Display for AioStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AioStore({})", self.local)
    }
}

#[async_trait]
impl ObjectStore for AioStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        put::put(self, location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.local.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_head = options.head;
        let found = self.local.get_opts(location, options).await?;
        if is_head {
            return Ok(found);
        }
        let GetResult { payload, meta, range, attributes, extensions } = found;
        let file = self.open(payload).await?;
        let payload: BoxStream<'static, _> = if range.end - range.start <= WHOLE {
            let wanted = vec![range.clone()];
            stream::once(async move { read_ranges(&file, wanted).await.map(stream_of) })
                .try_flatten()
                .map_err(generic)
                .boxed()
        } else {
            let chunks = file.reader(range.clone());
            chunks.map_ok(Bytes::from_owner).map_err(generic).boxed()
        };
        let payload = GetResultPayload::Stream(payload);
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    /// Reads the ranges at once, up to a bound. Each is as it was asked for: none is read twice or
    /// read too much by joining it with its neighbours.
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let found = self.local.get_opts(location, GetOptions::new()).await?;
        let file = self.open(found.payload).await?;
        let len = file.metadata().map_err(generic)?.len();
        let ranges = ranges.iter().map(|range| {
            // As the local store does it: what lies behind the end is left out.
            let end = range.end.min(len);
            if range.start < end { Ok(range.start..end) } else { Err(no_range(range, len)) }
        });
        read_ranges(&file, ranges.collect::<Result<_>>()?).await.map_err(generic)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.local.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.local.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.local.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.local.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.local.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.local.rename_opts(from, to, options).await
    }
}

fn no_range(range: &Range<u64>, len: u64) -> Error {
    let text = format!("no bytes from {} to {} in {len}", range.start, range.end);
    generic(io::Error::new(io::ErrorKind::InvalidInput, text))
}
