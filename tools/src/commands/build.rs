//! `shortlist build`: from files of vectors and items to an index file, or to a published collection.

mod export;
mod gate;
mod items;
mod lineage;
mod target;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use shortlist::attributes::AttributeSchema;
use shortlist::collection::now_millis;
use shortlist::index::{BuildError, BuildOptions, BuildReport, IndexBuilder, Phase, Schema};
use shortlist::vector::{Element, Metric};

use self::items::ItemSource;
use self::target::Target;
use super::number::whole;
use super::read_json;
use crate::input::{VectorOptions, VectorSource, grouped};
use crate::output;
use crate::progress::{Progress, Report, seconds};

/// Rows of vectors that are read at once.
const CHUNK: usize = 4096;
const SEED: u64 = 42;

/// Build an index from a file of vectors and a file of items.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Build an index from a file of vectors and a file of items.\n\n\
        Row i of the vectors belongs to item i. Items are objects with an id; all other fields become typed attributes \
        that searches can filter and rank by: their types are inferred from all rows and printed, or given by --schema. \
        Without --items, ids are row numbers.\n\n\
        The build ends with a publish gate, which is always printed: are all nodes reachable, how many vectors repeat, \
        what are their norms, and the recall@100 of a sample of the items against exact search, each item's own self \
        left out. With --min-recall a build that falls short fails, and nothing is written or published.",
    after_help = EXAMPLES
)]
pub struct Args {
    /// Vectors: .npy, .fvecs, .bvecs, .fbin, .u8bin, .i8bin, .parquet (a list column), .hdf5
    #[arg(long, value_name = "FILE", required_unless_present = "export")]
    pub vectors: Option<PathBuf>,
    /// Vectors, items, schema, sequence number and UUID of a collection, as `shortlist export` wrote them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["vectors", "items", "metric", "schema", "element", "inserted_at", "embedding", "covers"])]
    pub export: Option<PathBuf>,
    /// Items, one for each vector: .jsonl, .jsonl.gz, .csv, .parquet [default: ids are row numbers]
    #[arg(long, value_name = "FILE")]
    pub items: Option<PathBuf>,
    /// How vectors compare: cosine, dot or l2 (may come from --schema)
    #[arg(long, value_name = "METRIC", required_unless_present_any = ["schema", "export"])]
    pub metric: Option<Metric>,
    /// An index file (NAME.slx), or DIR/NAME to publish collection NAME in the data directory DIR
    #[arg(long, value_name = "OUT")]
    pub out: PathBuf,
    /// How vectors are stored: f32, f16, i8 or u8 [default: as in the file]
    #[arg(long, value_name = "TYPE")]
    pub element: Option<Element>,
    /// Links of a node; more find more, and take more memory and time [default: 20]
    #[arg(long, value_name = "N", value_parser = whole(2..=256_usize))]
    pub m: Option<usize>,
    /// Width of the search for a new node's neighbours; more is slower to build and finds more [default: 200]
    #[arg(long, value_name = "N", value_parser = whole(1..=10_000_usize))]
    pub ef_construction: Option<usize>,
    /// Threads; 0 for all. One thread and one seed make the same graph every time
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole(0..=1_024_usize))]
    pub threads: usize,
    /// Seed of the levels and of the gate's sample
    #[arg(long, value_name = "N", default_value_t = SEED, value_parser = whole(0..=u64::MAX))]
    pub seed: u64,
    /// The field that holds an item's id
    #[arg(long, value_name = "FIELD", default_value = "id")]
    pub id_field: String,
    /// The list column of a .parquet file that holds the vectors [default: the only one]
    #[arg(long, value_name = "COLUMN")]
    pub vector_column: Option<String>,
    /// The dataset of a .hdf5 file that holds the vectors [default: train]
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
    /// The field with the time an item was first inserted: RFC 3339, or milliseconds since 1970
    #[arg(long, value_name = "FIELD")]
    pub inserted_at: Option<String>,
    /// A schema document, as the API's; with `attributes` in it, fields that these do not name are errors
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,
    /// Write the schema that was used, to check or to give as --schema next time
    #[arg(long, value_name = "FILE")]
    pub schema_out: Option<PathBuf>,
    /// Name of the tower that made the vectors; searches that name another one are refused
    #[arg(long, value_name = "NAME")]
    pub embedding: Option<String>,
    /// Sequence number of the collection's log that these items cover, for an export of a live collection
    #[arg(long, value_name = "SEQ", default_value_t = 0, value_parser = whole(0..=u64::MAX))]
    pub covers: u64,
    /// UUID of the collection that these items were exported from
    #[arg(long, value_name = "UUID")]
    pub collection_uuid: Option<String>,
    /// Fail unless the gate's recall@100 is at least this, 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub min_recall: Option<f64>,
    /// Write an index without items, which otherwise fails: it would take the place of what is served
    #[arg(long)]
    pub allow_empty: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  An index file, to query, bench or inspect:
    shortlist build --vectors vectors.npy --items items.jsonl.gz --metric cosine --out shop.slx
  Published as collection `shop` for `shortlist serve --data data`, if it is good enough:
    shortlist build --vectors v.parquet --items v.parquet --metric dot --out data/shop --min-recall 0.98
  Descriptors without attributes:
    shortlist build --vectors base.1M.u8bin --metric l2 --out sift.slx
  See the inferred types, mend them, use them:
    shortlist build ... --out shop.slx --schema-out schema.json
    shortlist build ... --out shop.slx --schema schema.json
  From an export of a live collection; published there it takes over and catches up with the writes since:
    shortlist build --export shop.jsonl.gz --out data/shop --min-recall 0.98";

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("{text:?} is not a number from 0 to 1"))
}

impl Args {
    /// A build of these files with everything else as it is by default.
    pub fn of(vectors: PathBuf, items: PathBuf, metric: Metric, out: PathBuf) -> Self {
        Args {
            vectors: Some(vectors),
            export: None,
            items: Some(items),
            metric: Some(metric),
            out,
            element: None,
            m: None,
            ef_construction: None,
            threads: 0,
            seed: SEED,
            id_field: "id".to_string(),
            vector_column: None,
            dataset: None,
            inserted_at: None,
            schema: None,
            schema_out: None,
            embedding: None,
            covers: 0,
            collection_uuid: None,
            min_recall: None,
            allow_empty: false,
            json: false,
        }
    }
}

/// What a build gave.
pub struct Built {
    /// The builder's report.
    pub report: BuildReport,
    /// The schema that was used.
    pub schema: Schema,
    /// The gate's findings.
    pub gate: gate::Gate,
    /// Attributes of the items that were left out, and why.
    pub ignored: Vec<(String, String)>,
    /// What was written, for the report.
    pub written: Value,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let begun = std::time::Instant::now();
    output::log("warn", false);
    let built = build(args, Report::choose(args.json, false))?;
    if args.json {
        return output::json(&json!({
            "out": built.written,
            "schema": built.schema.to_json(),
            "ignored": built.ignored.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            "build": built.report,
            "gate": built.gate,
            "seconds": begun.elapsed().as_secs_f64(),
        }));
    }
    print(args, &built)?;
    output::line(format!("done in {}", seconds(begun.elapsed())))
}

/// Builds, judges and puts the index where it belongs.
pub fn build(args: &Args, show: Report) -> Result<Built> {
    if let Some(path) = &args.export {
        return export::build(args, path, show);
    }
    let target = Target::parse(&args.out)?;
    let collection = target.collection(args.collection_uuid.as_deref())?;
    let path = args.vectors.as_deref().context("--vectors is needed")?;
    let options = VectorOptions { column: args.vector_column.clone(), dataset: args.dataset.clone() };
    let mut vectors = VectorSource::open(path, &options)?;
    let given = args.schema.as_deref().map(read_json).transpose()?;
    let mut items = ItemSource::new(args, vectors.rows())?;
    let attributes = match given.as_ref().and_then(|given| given.get("attributes")) {
        Some(attributes) => items.declare(attributes).with_context(|| schema_name(args))?,
        None => items.infer(show)?,
    };
    let schema = schema(args, &vectors, given.as_ref(), attributes)?;
    if let Some(path) = &args.schema_out {
        let text = serde_json::to_string_pretty(&schema.to_json())? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut builder = IndexBuilder::new(BuildOptions {
        schema: schema.clone(),
        rows: usize::try_from(vectors.rows()).context("more vectors than memory can address")?,
        threads: args.threads,
        seed: args.seed,
        covers: args.covers,
        collection,
        lineage: lineage::of(args, &schema, show)?,
        now: now_millis(),
    })
    .context("the build cannot begin")?;
    items.push(&mut builder, &schema.attributes, show)?;
    push_vectors(&mut builder, &mut vectors, show)?;
    complete(args, builder, (schema, items.ignored), path, show)
}

/// Builds the graph, judges the file and puts it where it belongs.
fn complete(
    args: &Args,
    builder: IndexBuilder,
    (schema, ignored): (Schema, Vec<(String, String)>),
    input: &Path,
    show: Report,
) -> Result<Built> {
    let target = Target::parse(&args.out)?;
    let staged = target.stage()?;
    let report =
        finish(builder, staged.path(), show).with_context(|| format!("building from {}", input.display()))?;
    let gate = gate::judge(staged.path(), args, &report, show)?;
    gate.check(args.min_recall, args.allow_empty)?;
    let written = staged.commit()?;
    Ok(Built { report, schema, gate, ignored, written })
}

fn schema_name(args: &Args) -> String {
    args.schema.as_ref().map_or_else(|| "the schema".to_string(), |path| path.display().to_string())
}

/// The schema: flags over the schema document over what the vectors' file says.
fn schema(
    args: &Args,
    vectors: &VectorSource,
    given: Option<&Value>,
    attributes: AttributeSchema,
) -> Result<Schema> {
    let mut document = given.cloned().unwrap_or_else(|| json!({}));
    let wrong = || anyhow!("{} is not a JSON object", schema_name(args));
    let fields = document.as_object_mut().ok_or_else(wrong)?;
    fields.insert("attributes".to_string(), attributes.to_json());
    conflict(
        args,
        fields.get("dimension"),
        json!(vectors.dimension()),
        "dimension",
        &vectors.path().display(),
    )?;
    fields.insert("dimension".to_string(), json!(vectors.dimension()));
    if let Some(metric) = args.metric {
        conflict(args, fields.get("metric"), json!(metric.name()), "metric", &"--metric")?;
        fields.insert("metric".to_string(), json!(metric.name()));
    }
    let element =
        args.element.map_or_else(|| fields.get("element").cloned(), |element| Some(json!(element.name())));
    fields.insert("element".to_string(), element.unwrap_or_else(|| json!(vectors.element().name())));
    if let Some(embedding) = &args.embedding {
        conflict(args, fields.get("embedding"), json!(embedding), "embedding", &"--embedding")?;
        fields.insert("embedding".to_string(), json!(embedding));
    }
    for (name, value) in [("m", args.m), ("ef_construction", args.ef_construction)] {
        if let Some(value) = value {
            document["hnsw"][name] = json!(value);
        }
    }
    let from = if args.schema.is_some() { schema_name(args) } else { vectors.path().display().to_string() };
    Schema::from_json(&document).map_err(|reason| anyhow!("{from}: {reason}"))
}

fn conflict(
    args: &Args,
    declared: Option<&Value>,
    actual: Value,
    name: &str,
    source: &dyn std::fmt::Display,
) -> Result<()> {
    match declared {
        Some(declared) if *declared != actual && !declared.is_null() => {
            bail!("{}: {name} is {declared}, but {source} says {actual}", schema_name(args))
        }
        _ => Ok(()),
    }
}

fn push_vectors(builder: &mut IndexBuilder, vectors: &mut VectorSource, show: Report) -> Result<()> {
    let progress = Progress::new(show, "read vectors", vectors.rows());
    while let Some(chunk) = vectors.next_chunk(CHUNK)? {
        let named = || vectors.path().display().to_string();
        builder.push_rows(vectors.element(), &chunk.bytes).with_context(named)?;
        progress.inc(chunk.rows as u64);
    }
    progress.finish();
    Ok(())
}

/// Builds the graph and writes the file, a bar for each phase.
fn finish(builder: IndexBuilder, path: &Path, show: Report) -> Result<BuildReport, BuildError> {
    let current: Mutex<Option<(Phase, Progress)>> = Mutex::new(None);
    let report = builder.finish(path, &|phase, done, total| {
        let mut current = current.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if current.as_ref().is_none_or(|(running, _)| *running != phase) {
            if let Some((_, finished)) = current.take() {
                finished.finish();
            }
            *current = Some((phase, Progress::new(show, phase_name(phase), total as u64)));
        }
        if let Some((_, progress)) = current.as_ref() {
            progress.set(done as u64);
        }
    })?;
    if let Some((_, last)) = current.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        last.finish();
    }
    Ok(report)
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Encode => "encode",
        Phase::Link => "link nodes",
        Phase::Repair => "check links",
        Phase::Write => "write file",
    }
}

/// Prints what was built, for people.
pub fn print(args: &Args, built: &Built) -> Result<()> {
    print_schema(built)?;
    for (name, reason) in &built.ignored {
        output::line(format!("  {name}: left out: {reason}"))?;
    }
    built.gate.print(args.min_recall)?;
    let out = built.written["path"].as_str().unwrap_or_default();
    let size = output::bytes(built.gate.file_bytes);
    match built.written["collection"].as_str() {
        Some(name) => output::line(format!("published collection {name} ({size}) as {out}")),
        None => output::line(format!("wrote {out} ({size})")),
    }
}

/// Prints dimension, metric and the attributes' types.
fn print_schema(built: &Built) -> Result<()> {
    let schema = &built.schema;
    output::line(format!(
        "{} items, dimension {}, {}, stored as {}; m {}, ef_construction {}",
        grouped(built.gate.items.into()),
        schema.dimension,
        schema.metric,
        schema.element,
        schema.hnsw.m,
        schema.hnsw.ef_construction
    ))?;
    let types: Vec<String> =
        schema.attributes.iter().map(|(name, spec)| format!("{name} {}", spec.kind)).collect();
    match types.is_empty() {
        true => output::line("attributes: none"),
        false => output::line(format!("attributes: {}", types.join(", "))),
    }
}
