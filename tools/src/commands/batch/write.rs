//! Rows of candidates as Parquet or JSON lines, and several such files as one.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow::array::builder::{Float32Builder, Float64Builder, ListBuilder, StringBuilder};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::Schema;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

/// Rows that are decoded at once when parts are put together: of 10,000 ids of 512 bytes each they have a third of the 2^31
/// bytes that Arrow's offsets can count.
const BATCH_ROWS: usize = 128;
/// Bytes of ids and texts that are encoded at once, about.
const SLICE_BYTES: usize = 64 << 20;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Parquet,
    JsonLines,
}

impl Format {
    /// By the file's extension.
    pub fn of(path: &Path) -> Result<Format> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("parquet") => Ok(Format::Parquet),
            Some("jsonl") => Ok(Format::JsonLines),
            _ => bail!("--out {}: is written as .parquet or .jsonl", path.display()),
        }
    }

    /// The extension.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Parquet => "parquet",
            Format::JsonLines => "jsonl",
        }
    }
}

/// The candidates of a query, or why there are none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    pub query: String,
    pub items: Vec<String>,
    pub scores: Vec<f64>,
    pub similarities: Vec<Option<f32>>,
    pub error: Option<String>,
}

/// What a whole file holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub queries: u64,
    pub items: u64,
    pub refused: u64,
}

/// Writes rows as a whole file.
pub fn write_rows(file: &mut File, format: Format, rows: &[Row]) -> Result<()> {
    match format {
        Format::Parquet => {
            let mut writer = ArrowWriter::try_new(file, batch(&[])?.schema(), Some(properties()))?;
            for slice in slices(rows, SLICE_BYTES) {
                writer.write(&batch(slice)?)?;
            }
            writer.close()?;
        }
        Format::JsonLines => {
            let mut out = BufWriter::new(file);
            for row in rows {
                serde_json::to_writer(&mut out, &line(row))?;
                out.write_all(b"\n")?;
            }
            out.flush()?;
        }
    }
    Ok(())
}

/// Several files as one, in their order.
pub fn join(file: &mut File, format: Format, parts: &[PathBuf]) -> Result<Totals> {
    match format {
        Format::Parquet => join_parquet(file, parts),
        Format::JsonLines => join_lines(file, parts),
    }
}

fn properties() -> WriterProperties {
    WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build()
}

/// Rows in pieces, in their order: each of at most so many bytes, or of one row.
fn slices(rows: &[Row], most: usize) -> impl Iterator<Item = &[Row]> {
    let bytes = |row: &Row| {
        let items: usize = row.items.iter().map(|item| item.len() + size_of::<(i32, f64, f32)>()).sum();
        items + row.query.len() + row.error.as_ref().map_or(0, String::len)
    };
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut sum = 0;
        let fits = |row: &&Row| {
            sum += bytes(row);
            sum <= most
        };
        let count = rest.iter().take_while(fits).count().max(1).min(rest.len());
        let (slice, later) = rest.split_at(count);
        rest = later;
        (!slice.is_empty()).then_some(slice)
    })
}

fn batch(rows: &[Row]) -> Result<RecordBatch> {
    let (mut queries, mut errors) = (StringBuilder::new(), StringBuilder::new());
    let mut items = ListBuilder::new(StringBuilder::new());
    let mut scores = ListBuilder::new(Float64Builder::new());
    let mut similarities = ListBuilder::new(Float32Builder::new());
    for row in rows {
        queries.append_value(&row.query);
        errors.append_option(row.error.as_deref());
        row.items.iter().for_each(|item| items.values().append_value(item));
        items.append(true);
        scores.values().append_slice(&row.scores);
        scores.append(true);
        row.similarities.iter().for_each(|one| similarities.values().append_option(*one));
        similarities.append(true);
    }
    let columns: [(&str, ArrayRef, bool); 5] = [
        ("query", Arc::new(queries.finish()), false),
        ("items", Arc::new(items.finish()), false),
        ("scores", Arc::new(scores.finish()), false),
        ("similarities", Arc::new(similarities.finish()), false),
        ("error", Arc::new(errors.finish()), true),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

fn join_parquet(file: &mut File, parts: &[PathBuf]) -> Result<Totals> {
    let schema: Arc<Schema> = batch(&[])?.schema();
    let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties()))?;
    let mut totals = Totals::default();
    for part in parts {
        let named = || format!("{}: cannot be read; delete it to have it made again", part.display());
        let reader = File::open(part).map_err(anyhow::Error::from).and_then(|file| {
            let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
            Ok(builder.with_batch_size(BATCH_ROWS).build()?)
        });
        for batch in reader.with_context(named)? {
            let batch = batch.with_context(named)?;
            if batch.num_columns() != schema.fields().len() {
                bail!("{}: has {} columns", part.display(), batch.num_columns());
            }
            totals.queries += batch.num_rows() as u64;
            totals.items += batch.column(1).as_list::<i32>().values().len() as u64;
            totals.refused += (batch.num_rows() - batch.column(4).null_count()) as u64;
            writer.write(&batch)?;
        }
    }
    writer.close()?;
    Ok(totals)
}

fn line(row: &Row) -> Value {
    if let Some(error) = &row.error {
        return json!({"query": row.query, "error": error});
    }
    let scored = row.items.iter().zip(&row.scores).zip(&row.similarities);
    let items: Vec<Value> = scored
        .map(|((id, score), similarity)| json!({"id": id, "score": score, "similarity": similarity}))
        .collect();
    json!({"query": row.query, "items": items})
}

fn join_lines(file: &mut File, parts: &[PathBuf]) -> Result<Totals> {
    let mut out = BufWriter::new(file);
    let mut totals = Totals::default();
    for part in parts {
        let named = || format!("{}: cannot be read; delete it to have it made again", part.display());
        for line in BufReader::new(File::open(part).with_context(named)?).lines() {
            let line = line.with_context(named)?;
            let row: Value = serde_json::from_str(&line).with_context(named)?;
            totals.queries += 1;
            totals.items += row["items"].as_array().map_or(0, |items| items.len() as u64);
            totals.refused += u64::from(!row["error"].is_null());
            out.write_all(line.as_bytes())?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()?;
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let one = |query: &str, items: &[&str]| Row {
            query: query.to_owned(),
            items: items.iter().map(|item| item.to_string()).collect(),
            scores: items.iter().zip(1..).map(|(_, place)| 1.0 / f64::from(place)).collect(),
            similarities: items.iter().map(|_| Some(0.25)).collect(),
            error: None,
        };
        let refused = Row { error: Some("no such item".to_owned()), ..one("u3", &[]) };
        vec![one("u1", &["a", "b"]), one("u2", &[]), refused]
    }

    #[test]
    fn slices_are_small_and_all_rows_in_order() {
        let long =
            |n: usize| Row { query: format!("u{n}"), items: vec!["x".repeat(10 * n)], ..Row::default() };
        let rows: Vec<Row> = (0..60).map(long).collect();
        for most in [1, 100, 700, 5_000, usize::MAX] {
            let pieces: Vec<&[Row]> = slices(&rows, most).collect();
            assert_eq!(pieces.concat(), rows);
            for piece in pieces {
                let ids: usize = piece.iter().map(|row| row.items[0].len()).sum();
                assert!(!piece.is_empty() && (ids <= most || piece.len() == 1), "{ids} of {most}");
            }
        }
        assert_eq!(slices(&rows, usize::MAX).count(), 1);
        assert_eq!(slices(&[], 100).count(), 0);
    }

    /// More bytes of ids than 32-bit offsets can count: takes 8 GB of memory.
    #[test]
    fn a_part_may_have_more_than_two_gibibytes_of_ids() {
        if std::env::var_os("SHORTLIST_LONG").is_none() {
            return;
        }
        let (rows, items, id) = (450, 10_000, "x".repeat(512));
        let row = Row {
            items: vec![id; items],
            scores: vec![0.5; items],
            similarities: vec![Some(0.5); items],
            ..Row::default()
        };
        let directory = tempfile::tempdir().expect("directory");
        let part = directory.path().join("part.parquet");
        write_rows(&mut File::create(&part).expect("file"), Format::Parquet, &vec![row; rows])
            .expect("written");
        let out = &mut File::create(directory.path().join("out.parquet")).expect("file");
        let totals = join(out, Format::Parquet, &[part]).expect("joined");
        assert_eq!((totals.queries, totals.items), (rows as u64, (rows * items) as u64));
    }

    #[test]
    fn parts_come_together_in_order() {
        let directory = tempfile::tempdir().expect("directory");
        for format in [Format::Parquet, Format::JsonLines] {
            let name = |part: usize| directory.path().join(format!("{part}.{}", format.extension()));
            let (first, second) = (rows(), rows());
            for (part, rows) in [&first[..2], &first[2..], &second[..]].into_iter().enumerate() {
                write_rows(&mut File::create(name(part)).expect("file"), format, rows).expect("written");
            }
            let parts: Vec<PathBuf> = (0..3).map(name).collect();
            let totals = join(&mut File::create(name(9)).expect("file"), format, &parts).expect("joined");
            assert_eq!(totals, Totals { queries: 6, items: 4, refused: 2 });
            let again =
                join(&mut File::create(name(8)).expect("file"), format, &[name(9)]).expect("read back");
            assert_eq!(again, totals);
            std::fs::write(name(1), "nonsense").expect("written");
            let error = join(&mut File::create(name(7)).expect("file"), format, &parts).expect_err("damaged");
            assert!(format!("{error:#}").contains(&format!("1.{}", format.extension())), "{error:#}");
        }
    }
}
