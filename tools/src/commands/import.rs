//! `shortlist import`: items from files into a collection of a running server.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use shortlist::attributes::AttributeSchema;
use shortlist::collection::ExportItem;

use super::number::whole;
use super::query::client::Client;
use crate::input::{
    ExportLine, ExportReader, Item, ItemOptions, ItemReader, VectorOptions, VectorSource, grouped,
};
use crate::output;
use crate::progress::{Progress, Report};

/// Put items from files into a collection of a running server.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Put items from files into a collection of a running server.\n\n\
        Files are those that `build` reads: row i of the vectors belongs to item i; without --items, ids are row numbers. \
        The collection must be there (PUT /v1/collections/NAME with a schema; --export makes it), and fields of the items must be attributes \
        of its schema. Items go in batches, each on disk and found when it is counted; an item that is there already is \
        replaced. If the import breaks off, it says from which row to go on. Files that do not pair up, and an export that \
        is not whole, are refused before anything is sent.",
    after_help = "Examples:\n  shortlist import http://127.0.0.1:7700/shop --vectors v.npy --items items.jsonl\n  \
        shortlist import http://127.0.0.1:7700/shop --vectors v.npy --items items.jsonl --from 120000\n  \
        shortlist import http://127.0.0.1:7700/shop --export shop.jsonl.gz\n\n\
        Against a server with keys, put yours into the variable SHORTLIST_KEY."
)]
pub struct Args {
    /// The collection: http://HOST:PORT/COLLECTION
    #[arg(value_name = "URL")]
    pub target: String,
    /// Vectors: .npy, .fvecs, .bvecs, .fbin, .u8bin, .i8bin, .parquet (a list column), .hdf5
    #[arg(long, value_name = "FILE", required_unless_present = "export")]
    pub vectors: Option<PathBuf>,
    /// An export of a collection: the items with their times and versions; the collection is made if it is not there
    #[arg(long, value_name = "FILE", conflicts_with_all = ["vectors", "items", "vector_column"])]
    pub export: Option<PathBuf>,
    /// Items, one for each vector: .jsonl, .jsonl.gz, .csv, .parquet [default: ids are row numbers]
    #[arg(long, value_name = "FILE")]
    pub items: Option<PathBuf>,
    /// The field that holds an item's id
    #[arg(long, value_name = "FIELD", default_value = "id")]
    pub id_field: String,
    /// The list column of a .parquet file that holds the vectors [default: the only one]
    #[arg(long, value_name = "COLUMN")]
    pub vector_column: Option<String>,
    /// The tower that made the vectors: the server refuses them unless it is the collection's
    #[arg(long, value_name = "NAME")]
    pub embedding: Option<String>,
    /// Leave out the rows before this one, counted from 0
    #[arg(long, value_name = "ROW", default_value_t = 0, value_parser = whole(0..=u64::MAX))]
    pub from: u64,
    /// Items of a batch; fewer where they would be more than 8 MiB
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch: u32,
    /// Batches that are under way at once
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub connections: u8,
}

/// Bytes of a parcel, about: half of what servers take in a body.
const PARCEL_BYTES: usize = 8 << 20;
/// What an item has beside its vector, about.
const ITEM_BYTES: usize = 512;

/// Items on their way: the first row, how many, and the request's body.
struct Parcel {
    row: u64,
    items: u64,
    body: Value,
}

/// Which rows are in: all before `through`, and parcels after it that came back earlier.
struct Landed {
    through: u64,
    ahead: std::collections::BTreeMap<u64, u64>,
    seq: u64,
    failure: Option<anyhow::Error>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let client = Client::parse(&args.target)?
        .ok_or_else(|| anyhow!("{}: expected http://HOST:PORT/COLLECTION", args.target))?;
    let mut source = Source::open(args, &client)?;
    let rows = source.rows();
    let progress = Progress::new(Report::choose(false, false), "import", rows.saturating_sub(args.from));
    let landed = Mutex::new(Landed { through: args.from, ahead: Default::default(), seq: 0, failure: None });
    let (sender, receiver) = sync_channel::<Parcel>(usize::from(args.connections));
    let receiver = Mutex::new(receiver);
    let read = std::thread::scope(|scope| {
        for _ in 0..args.connections {
            scope.spawn(|| carry(&client, &receiver, &landed, &progress));
        }
        let read = source.pack(args, &mut |parcel| {
            let failed = lock(&landed).failure.is_some();
            !failed && sender.send(parcel).is_ok()
        });
        drop(sender);
        read
    });
    progress.finish();
    let landed = landed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(error) = landed.failure.or(read.err()) {
        let through = landed.through;
        return Err(error.context(format!("rows before {through} are in; go on with --from {through}")));
    }
    let count = grouped((landed.through - args.from).into());
    output::line(format!("{count} items imported; sequence number {}", landed.seq))
}

/// Where the items come from.
enum Source {
    Files(Box<VectorSource>, AttributeSchema),
    Export(Box<ExportReader>),
}

impl Source {
    fn open(args: &Args, client: &Client) -> Result<Source> {
        if let Some(path) = &args.export {
            check_export(args, path)?;
            let export = ExportReader::open(path)?;
            client.create(&export.header().schema)?;
            return Ok(Source::Export(Box::new(export)));
        }
        let schema = client.attributes()?;
        let options = VectorOptions { column: args.vector_column.clone(), dataset: None };
        let path = args.vectors.as_deref().context("--vectors is needed")?;
        let mut vectors = VectorSource::open(path, &options)?;
        check_rows(args, path, vectors.rows())?;
        if args.from > 0 {
            vectors.seek(args.from)?;
        }
        Ok(Source::Files(Box::new(vectors), schema))
    }

    fn rows(&self) -> u64 {
        match self {
            Source::Files(vectors, _) => vectors.rows(),
            Source::Export(export) => export.header().items,
        }
    }

    fn pack(&mut self, args: &Args, send: &mut dyn FnMut(Parcel) -> bool) -> Result<()> {
        match self {
            Source::Files(vectors, schema) => pack(args, schema, vectors, send),
            Source::Export(export) => pack_export(args, export, send),
        }
    }
}

/// Refuses files of which not every vector has its item, before anything is sent: pairs would be shifted.
fn check_rows(args: &Args, path: &Path, rows: u64) -> Result<()> {
    if rows == 0 || args.from >= rows {
        bail!("{}: has {rows} vectors, --from is {}: there is nothing to import", path.display(), args.from);
    }
    let Some(items) = &args.items else { return Ok(()) };
    let options = ItemOptions { id_field: args.id_field.clone(), vector_column: args.vector_column.clone() };
    let mut count = 0;
    for item in ItemReader::open(items, &options)? {
        item?;
        count += 1;
    }
    if count != rows {
        bail!(
            "{} has {rows} vectors, {} has {count} items: each vector needs its item",
            path.display(),
            items.display()
        );
    }
    Ok(())
}

/// Refuses an export that is not whole before anything is sent. A pipe can be read only once: there it is told at the end.
fn check_export(args: &Args, path: &Path) -> Result<()> {
    if !std::fs::metadata(path).is_ok_and(|facts| facts.is_file()) {
        return Ok(());
    }
    let mut export = ExportReader::open(path)?;
    let items = export.header().items;
    if args.from > 0 && args.from >= items {
        bail!("{}: has {items} items, --from is {}: there is nothing to import", path.display(), args.from);
    }
    let progress = Progress::new(Report::choose(false, false), "check export", export.wanted());
    while export.line()?.is_some() {
        progress.inc(1);
    }
    progress.finish();
    Ok(())
}

/// Items of an export as the API takes them. Versions of deleted items stay behind: no call takes them.
fn pack_export(args: &Args, export: &mut ExportReader, send: &mut dyn FnMut(Parcel) -> bool) -> Result<()> {
    let (mut row, mut batch, mut bytes) = (0, Vec::new(), 0);
    loop {
        let line = export.next()?;
        let full = batch.len() == args.batch as usize || bytes >= PARCEL_BYTES;
        if full || (line.is_none() && !batch.is_empty()) {
            bytes = 0;
            let items = batch.len() as u64;
            let body = json!({ "items": std::mem::take(&mut batch) });
            if !send(Parcel { row: row - items, items, body }) {
                return Ok(());
            }
        }
        match line {
            None => return Ok(()),
            Some(ExportLine::Item(item)) => {
                if row >= args.from {
                    bytes += item.vector_f32.len() + length(&item.attributes) + ITEM_BYTES;
                    batch.push(upsert(*item));
                }
                row += 1;
            }
            Some(ExportLine::Deleted(_)) => {}
        }
    }
}

fn upsert(item: ExportItem) -> Value {
    let ExportItem { id, vector_f32, attributes, inserted_at, version, expires_at, .. } = item;
    let mut upsert =
        json!({"id": id, "vector_f32": vector_f32, "attributes": attributes, "inserted_at": inserted_at});
    if version > 0 {
        upsert["version"] = json!(version);
    }
    if let Some(expires_at) = expires_at {
        upsert["expires_at"] = json!(expires_at);
    }
    upsert
}

fn lock(landed: &Mutex<Landed>) -> std::sync::MutexGuard<'_, Landed> {
    landed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Sends parcels until there are no more, or one fails.
fn carry(client: &Client, parcels: &Mutex<Receiver<Parcel>>, landed: &Mutex<Landed>, progress: &Progress) {
    loop {
        let next = parcels.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
        let Ok(parcel) = next else { return };
        if lock(landed).failure.is_some() {
            // Taken off the channel, so that the reader does not wait for room in it.
            continue;
        }
        let answer = client.put(&parcel.body);
        let mut landed = lock(landed);
        match answer {
            Ok(answer) => {
                landed.seq = landed.seq.max(answer["seq"].as_u64().unwrap_or(0));
                landed.ahead.insert(parcel.row, parcel.items);
                while let Some((row, items)) = landed.ahead.pop_first() {
                    if row != landed.through {
                        landed.ahead.insert(row, items);
                        break;
                    }
                    landed.through += items;
                }
                progress.inc(parcel.items);
            }
            Err(error) => {
                let rows = format!("rows {} to {}", parcel.row, parcel.row + parcel.items - 1);
                landed.failure.get_or_insert(error.context(rows));
            }
        }
    }
}

/// Bytes of a value as JSON.
fn length(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |bytes| bytes.len())
}

/// Reads both files side by side; `send` says whether to go on.
fn pack(
    args: &Args,
    schema: &AttributeSchema,
    vectors: &mut VectorSource,
    send: &mut dyn FnMut(Parcel) -> bool,
) -> Result<()> {
    if args.from >= vectors.rows() {
        return Ok(());
    }
    let options = ItemOptions { id_field: args.id_field.clone(), vector_column: args.vector_column.clone() };
    let mut items = args.items.as_ref().map(|path| ItemReader::open(path, &options)).transpose()?;
    if let Some(items) = &mut items {
        for _ in 0..args.from {
            items.next().transpose()?;
        }
    }
    let (element, row_bytes) = (vectors.element(), vectors.row_bytes());
    let mut numbers = Vec::new();
    let item_bytes = 4 * vectors.dimension() * 4 / 3 + ITEM_BYTES;
    let most = (PARCEL_BYTES / item_bytes).clamp(1, args.batch as usize);
    while let Some(chunk) = vectors.next_chunk(most)? {
        let (mut batch, mut size) = (Vec::with_capacity(chunk.rows), 0);
        let last = chunk.first_row + chunk.rows as u64 - 1;
        for (row, bytes) in (chunk.first_row..).zip(chunk.bytes.chunks_exact(row_bytes)) {
            numbers.clear();
            element.decode(bytes, &mut numbers);
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            let mut item = match &mut items {
                None => json!({"id": row.to_string()}),
                Some(items) => match items.next().transpose()? {
                    Some(item) => {
                        let attributes = attributes(&item, schema)?;
                        size += length(&attributes);
                        json!({"id": item.id, "attributes": attributes})
                    }
                    None => bail!("there are more vectors than items: no item for row {row}"),
                },
            };
            item["vector_f32"] = Value::from(STANDARD.encode(bytes));
            batch.push(item);
            size += item_bytes;
            if size >= PARCEL_BYTES || row == last {
                let items = batch.len() as u64;
                let body = json!({ "items": std::mem::take(&mut batch), "embedding": args.embedding });
                if !send(Parcel { row: row + 1 - items, items, body }) {
                    return Ok(());
                }
                size = 0;
            }
        }
    }
    match items.and_then(|mut items| items.next()) {
        None => Ok(()),
        Some(_) => bail!("there are more items than vectors: the first {} were imported", vectors.rows()),
    }
}

/// The attributes as the API takes them; a CSV's texts become what the schema says.
fn attributes(item: &Item, schema: &AttributeSchema) -> Result<Map<String, Value>> {
    if !item.untyped {
        return Ok(item.attributes.clone());
    }
    let mut typed = Map::new();
    for (name, value) in &item.attributes {
        let (Some((_, spec)), Value::String(text)) = (schema.find(name), value) else {
            typed.insert(name.clone(), value.clone());
            continue;
        };
        let value = spec.parse_untyped(text).map_err(|reason| anyhow!(reason));
        let value = value.with_context(|| format!("row {}, attribute {name:?}", item.row))?;
        typed.insert(name.clone(), value.map_or(Value::Null, |value| value.to_json()));
    }
    Ok(typed)
}
