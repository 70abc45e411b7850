//! Parquet files read by the crate `parquet` through a [`linux_aio::File`].

pub mod table;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use linux_aio::File;
use linux_aio_with_bytes::read_ranges;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::Result;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Reads a Parquet file. The pages that the decoder sees lie in the memory that the disk wrote to.
#[derive(Clone, Debug)]
pub struct AioReader {
    file: File,
    len: u64,
}

impl AioReader {
    /// Takes a file whose length does not change from now on.
    ///
    /// # Errors
    /// Those of `fstat(2)`.
    pub fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }
}

impl AsyncFileReader for AioReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        let read = read_ranges(&self.file, vec![range]);
        read.map(|read| Ok(read?.pop().expect("as many as were asked for"))).boxed()
    }

    /// Reads up to 32 ranges at a time. The crate's own implementation reads one after the other.
    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        read_ranges(&self.file, ranges).map(|read| Ok(read?)).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async move {
            let len = self.len;
            let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
            Ok(Arc::new(reader.load_and_finish(self, len).await?))
        }
        .boxed()
    }
}
