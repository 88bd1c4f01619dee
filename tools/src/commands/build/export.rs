//! A build from an export: everything that is needed to take over from the collection is in the file.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use shortlist::collection::{ExportItem, now_millis};
use shortlist::index::{BuildOptions, IndexBuilder, Schema};
use shortlist::vector::Element;

use super::target::Target;
use super::{Args, Built, complete, lineage};
use crate::input::{ExportLine, ExportReader};
use crate::progress::{Progress, Report};

/// Builds the items of an export, with their times and versions, as the collection and the sequence number that it names.
pub fn build(args: &Args, path: &Path, show: Report) -> Result<Built> {
    let named = || path.display().to_string();
    let mut export = ExportReader::open(path)?;
    let header = export.header().clone();
    let schema = schema(args, &header.schema).with_context(named)?;
    let uuid = args.collection_uuid.as_deref().unwrap_or(&header.uuid);
    let mut builder = IndexBuilder::new(BuildOptions {
        schema: schema.clone(),
        rows: usize::try_from(header.items).context("more items than memory can address")?,
        threads: args.threads,
        seed: args.seed,
        covers: header.seq,
        collection: Target::parse(&args.out)?.collection(Some(uuid))?,
        lineage: lineage::of(args, &schema, show)?,
        now: now_millis(),
    })
    .context("the build cannot begin")?;
    let record = header
        .record_hash()
        .ok_or_else(|| anyhow!("{}: record {:?} is no hash", path.display(), header.record))?;
    builder.set_covers_hash(record);
    let progress = Progress::new(show, "read export", header.items);
    let mut row = 0;
    while let Some(line) = export.next()? {
        match line {
            ExportLine::Item(item) => {
                push(&mut builder, &schema, &item)
                    .with_context(|| format!("{}: item {row}, {:?}", path.display(), item.id))?;
                row += 1;
                progress.inc(1);
            }
            ExportLine::Deleted(deleted) => builder.push_tombstone(deleted.into()),
        }
    }
    progress.finish();
    complete(args, builder, (schema, Vec::new()), path, show)
}

/// The collection's schema; graph parameters may be others.
fn schema(args: &Args, document: &serde_json::Value) -> Result<Schema> {
    let mut schema = Schema::from_json(document).map_err(|reason| anyhow!("schema: {reason}"))?;
    schema.hnsw.m = args.m.unwrap_or(schema.hnsw.m);
    schema.hnsw.ef_construction = args.ef_construction.unwrap_or(schema.hnsw.ef_construction);
    schema.check().map_err(|reason| anyhow!(reason))?;
    Ok(schema)
}

fn push(builder: &mut IndexBuilder, schema: &Schema, item: &ExportItem) -> Result<()> {
    let numbers = item.vector().map_err(|reason| anyhow!(reason))?;
    if numbers.len() != schema.dimension {
        return Err(anyhow!(
            "vector_f32 has {} numbers, the dimension is {}",
            numbers.len(),
            schema.dimension
        ));
    }
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let values = schema.attributes.parse_row(&item.attributes).map_err(|reason| anyhow!(reason))?;
    let record = item.record().map_err(|reason| anyhow!(reason))?;
    builder.push_rows(Element::F32, &bytes)?;
    Ok(builder.push_record(&item.id, record, &values)?)
}
