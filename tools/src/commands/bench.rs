//! `shortlist bench`: recall and latency of an index by ef.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use shortlist::eval::{self, Point, Setting};
use shortlist::index::{Candidate, Index};

use super::number::whole;
use super::{Holding, check_dimension, open_index, read_queries};
use crate::input::{Neighbors, VectorOptions, grouped, read_neighbors, write_neighbors};
use crate::output;
use crate::plot::{self, Series};
use crate::progress::{Progress, Report};
use crate::table::{Align, Table};

/// Measure recall, throughput and latency of an index for each ef.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Measure recall, throughput and latency of an index for each ef.\n\n\
        Recall is fair to ties: an item counts as found when its similarity is at least that of the exact k-th (less a \
        millionth of it, for rounding), since of several items at the same distance any will do; each item counts once, \
        and both similarities are computed anew from the stored vectors. Without --ground-truth the exact neighbours are \
        computed first, on all cores; --save-ground-truth keeps them.\n\n\
        For each ef the queries run once to warm up and to give the recall, then again, timed one by one, as often as it \
        takes to fill half a second. A latency is from the plain vector to the list of candidates, without HTTP. QPS is of \
        all --threads together.",
    after_help = EXAMPLES
)]
pub struct Args {
    /// The index file
    #[arg(value_name = "INDEX")]
    pub index: PathBuf,
    /// Queries: vectors in any format that build reads
    #[arg(long, value_name = "FILE")]
    pub queries: PathBuf,
    /// Exact neighbours as row numbers: .npy, .ivecs, .ibin, .hdf5; row i belongs to query i [default: computed]
    #[arg(long, value_name = "FILE")]
    pub ground_truth: Option<PathBuf>,
    /// Write the exact neighbours that were computed: .npy or .ibin
    #[arg(long, value_name = "FILE", conflicts_with = "ground_truth")]
    pub save_ground_truth: Option<PathBuf>,
    /// Items wanted of each query
    #[arg(long, value_name = "K", default_value_t = 100, value_parser = whole(1..=Index::MAX_EF))]
    pub k: usize,
    /// Widths of the search to measure
    #[arg(long, value_name = "EF", value_delimiter = ',', default_value = "100,120,150,200,300,400,600,800", value_parser = whole(1..=Index::MAX_EF))]
    pub ef: Vec<usize>,
    /// Threads that query at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,
    /// Map the file, or copy it into memory first
    #[arg(long, value_name = "MODE", value_enum, default_value_t = Holding::Mapped)]
    pub mode: Holding,
    /// Use only these queries, counted from 0, the last not included: to tune on some and report on others
    #[arg(long, value_name = "FIRST..END", value_parser = range)]
    pub range: Option<(u64, u64)>,
    /// The dataset of a .hdf5 file that holds the queries
    #[arg(long, value_name = "NAME", default_value = "test")]
    pub dataset: String,
    /// The list column of a .parquet file that holds the queries
    #[arg(long, value_name = "COLUMN")]
    pub vector_column: Option<String>,
    /// Write the points as a JSON array; - for standard output, instead of the table
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw recall against QPS and against p99 as SVG
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  shortlist bench shop.slx --queries queries.npy --save-ground-truth exact.npy
  shortlist bench shop.slx --queries queries.npy --ground-truth exact.npy --ef 100,150,200,400 --plot shop.svg
  shortlist bench sift.slx --queries query.u8bin --ground-truth gt100.2k.ibin --threads 8 --mode resident --json -";

fn range(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once("..").and_then(|(first, end)| Some((first.parse().ok()?, end.parse().ok()?)));
    parts.filter(|(first, end)| first < end).ok_or_else(|| "expected FIRST..END, such as 0..1000".to_string())
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    let show = Report::choose(to_stdout, false);
    let index = open_index(&args.index, args.mode)?;
    let (queries, truth) = load(args, &index, show)?;
    let mut table = table();
    let mut points = Vec::new();
    for &ef in &args.ef {
        let setting = Setting { k: args.k, ef, threads: usize::from(args.threads) };
        let point = eval::measure(&index, &queries, &truth, setting)?;
        if show == Report::Bar {
            eprintln!("ef {ef}: recall {:.4}, {} queries a second", point.recall, grouped(point.qps as u128));
        }
        row(&mut table, &point);
        points.push(point);
    }
    if !to_stdout {
        output::line(format!(
            "{} queries, k {}, {} thread{}, recall counts ties as found",
            grouped(truth.len() as u128),
            args.k,
            args.threads,
            if args.threads == 1 { "" } else { "s" }
        ))?;
        output::table(&table)?;
    }
    save(args, &index, &points, to_stdout)
}

fn save(args: &Args, index: &Index, points: &[Point], to_stdout: bool) -> Result<()> {
    match &args.json {
        Some(_) if to_stdout => output::json(&points)?,
        Some(path) => {
            let text = serde_json::to_string_pretty(points)? + "\n";
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => {}
    }
    if let Some(path) = &args.plot {
        let name = args.index.file_stem().unwrap_or_default().to_string_lossy();
        let title = format!(
            "{name}: {} items x {} ({}), k = {}, threads = {}",
            grouped(index.items().into()),
            index.schema().dimension,
            index.schema().metric,
            args.k,
            args.threads
        );
        let series = [Series { name: "shortlist".to_string(), points: points.to_vec() }];
        plot::draw(path, &title, &series)?;
    }
    Ok(())
}

/// The columns of [`row`].
pub fn table() -> Table {
    let titles = ["ef", "recall", "QPS", "p50 µs", "p95 µs", "p99 µs", "visited"];
    Table::new(titles.map(|title| (title, Align::Right)))
}

/// Adds a point.
pub fn row(table: &mut Table, point: &Point) {
    table.row([
        point.ef.to_string(),
        format!("{:.5}", point.recall),
        grouped(point.qps.round() as u128),
        format!("{:.0}", point.p50_us),
        format!("{:.0}", point.p95_us),
        format!("{:.0}", point.p99_us),
        grouped(point.visited.round() as u128),
    ]);
}

type Truth = Vec<Vec<Candidate>>;

/// The queries, and the exact neighbours of each.
fn load(args: &Args, index: &Index, show: Report) -> Result<(Vec<Vec<f32>>, Truth)> {
    let options = VectorOptions { column: args.vector_column.clone(), dataset: Some(args.dataset.clone()) };
    let mut queries = read_queries(&args.queries, &options, args.range)?;
    check_dimension(&args.queries, &queries, index)?;
    let Some(path) = &args.ground_truth else {
        let progress = Progress::new(show, "exact search", queries.len() as u64);
        let truth = eval::exact(index, &queries, args.k, &|done| progress.inc(done))
            .with_context(|| args.queries.display().to_string())?;
        progress.finish();
        if let Some(path) = &args.save_ground_truth {
            write_neighbors(path, &neighbors(&truth))?;
        }
        return Ok((queries, truth));
    };
    let given = read_neighbors(path)?;
    let first = args.range.map_or(0, |(first, _)| first as usize);
    let rows = given.rows.saturating_sub(first);
    if rows == 0 {
        bail!("{}: has {} rows, the queries begin at {first}", path.display(), given.rows);
    }
    if rows > queries.len() && args.range.is_none() {
        let (path, count) = (path.display(), queries.len());
        bail!(
            "{path}: has {} rows, {} has {count}: row i belongs to query i",
            given.rows,
            args.queries.display()
        );
    }
    if rows < queries.len() {
        eprintln!("note: {} has {} rows: only their queries are used", path.display(), given.rows);
        queries.truncate(rows);
    }
    let lists = (first..first + queries.len()).map(|row| given.row(row));
    let truth =
        eval::from_rows(index, &queries, lists, args.k).with_context(|| path.display().to_string())?;
    Ok((queries, truth))
}

/// Ground truth as a file holds it: row numbers, and squared distances or minus the similarities.
fn neighbors(truth: &Truth) -> Neighbors {
    let distances = truth.iter().flatten().map(|candidate| -candidate.similarity).collect();
    Neighbors {
        rows: truth.len(),
        columns: truth.first().map_or(0, Vec::len),
        ids: truth.iter().flatten().map(|candidate| candidate.item).collect(),
        distances: Some(distances),
    }
}
