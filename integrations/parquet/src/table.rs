//! A table to query, and the query.

use crate::AioReader;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use futures::TryStreamExt;
use linux_aio::{Driver, File};
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, RowFilter,
};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{ArrowWriter, ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::basic::Compression;
use parquet::errors::Result;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::properties::WriterProperties;
use std::fs;
use std::path::Path;
use std::sync::Arc;

const GROUP: usize = 1 << 18;

/// Writes a table of 8 columns: a number, a text, and six of values. A row takes about 70 bytes.
///
/// # Errors
/// Those of `write(2)`.
pub fn write(path: &Path, rows: usize) -> Result<()> {
    let mut fields =
        vec![Field::new("id", DataType::Int64, false), Field::new("text", DataType::Utf8, false)];
    fields.extend((0..6).map(|i| Field::new(format!("value{i}"), DataType::Float64, false)));
    let schema = Arc::new(Schema::new(fields));
    let properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(Some(GROUP))
        .build();
    let file = fs::File::create(path)?;
    let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))?;
    for first in (0..rows).step_by(1 << 16) {
        let ids = || (first..rows.min(first + (1 << 16))).map(|i| i as u64);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(ids().map(|i| mixed(i) as i64))),
            Arc::new(StringArray::from_iter_values(ids().map(|i| format!("row {}", mixed(i))))),
        ];
        columns.extend((1..=6).map(|salt| {
            let values = ids().map(|i| (mixed(i * 7 + salt) >> 12) as f64);
            Arc::new(Float64Array::from_iter_values(values)) as ArrayRef
        }));
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
    }
    writer.close()?;
    Ok(())
}

/// Spreads the bits of a number, so that no encoding makes the table small.
fn mixed(i: u64) -> u64 {
    let i = (i ^ (i >> 31)).wrapping_mul(0x7fb5_d329_728e_a185);
    (i ^ (i >> 27)).wrapping_mul(0x81da_def4_bc2d_d44d)
}

/// Opens a table through [`linux_aio`].
///
/// # Errors
/// Those of [`File::open`].
pub async fn open(driver: &Driver, path: &Path) -> Result<AioReader> {
    Ok(AioReader::new(File::open(driver, path).await?)?)
}

/// Asks for three of the eight columns. With a filter, for the rows alone whose number is a
/// multiple of `divisor`; then the pages of other columns without such a row are not read.
///
/// # Errors
/// Those of the reader, and of a file that is no table.
pub async fn query<R>(mut reader: R, divisor: Option<i64>) -> Result<Vec<RecordBatch>>
where
    R: AsyncFileReader + Unpin + Send + 'static,
{
    let policy = PageIndexPolicy::Required;
    let options = ArrowReaderOptions::new().with_page_index_policy(policy);
    let metadata = ArrowReaderMetadata::load_async(&mut reader, options).await?;
    let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata);
    let columns =
        |names: &[&str]| ProjectionMask::columns(builder.parquet_schema(), names.iter().copied());
    let (wanted, id) = (columns(&["id", "text", "value4"]), columns(&["id"]));
    let mut builder = builder.with_projection(wanted).with_batch_size(1 << 14);
    if let Some(divisor) = divisor {
        let is_multiple = move |batch: RecordBatch| {
            let ids = batch.column(0).as_primitive::<Int64Type>();
            Ok(ids.iter().map(|id| id.map(|id| id % divisor == 0)).collect::<BooleanArray>())
        };
        let predicate = ArrowPredicateFn::new(id, is_multiple);
        builder = builder.with_row_filter(RowFilter::new(vec![Box::new(predicate)]));
    }
    builder.build()?.try_collect().await
}

/// Returns the number of rows, and the sum of a column, without an error of rounding.
pub fn digest(batches: &[RecordBatch]) -> (usize, u128) {
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    let values = batches.iter().map(|batch| batch.column(2).as_primitive::<Float64Type>());
    (rows, values.flat_map(|values| values.values().iter()).map(|&value| value as u128).sum())
}
