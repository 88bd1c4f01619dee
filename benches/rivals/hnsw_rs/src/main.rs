//! hnsw_rs as a contestant of the side-by-side benchmark (see ../README.md).
//!
//! `build` makes an index and prints one JSON line; `serve` loads it, prints one JSON line, then
//! answers each line `search EF IDS_FILE` (IDS_FILE may be `-`) with one JSON line until its input ends; and each line
//! `filter EF IDS_FILE STEM` too, whose masks in STEM.mask are as ../filtering.py writes them, and `memory`.

mod vectors;

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::Instant;

use hnsw_rs::prelude::*;
use serde_json::json;
use simsimd::SpatialSimilarity;

use vectors::Vectors;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const BASENAME: &str = "index";
const MAX_LAYERS: usize = 16;

/// Squared Euclidean distance by simsimd, in place of the crate's own kernel.
#[derive(Default, Clone, Copy)]
struct SimL2;

impl Distance<f32> for SimL2 {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        f32::l2sq(a, b).expect("vectors of equal length") as f32
    }
}

/// 1 - dot by simsimd; the vectors are of unit length.
#[derive(Default, Clone, Copy)]
struct SimDot;

impl Distance<f32> for SimDot {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        let dot = f32::dot(a, b).expect("vectors of equal length") as f32;
        (1.0 - dot).max(0.0)
    }
}

/// `--name value` pairs after the command.
struct Options(HashMap<String, String>);

impl Options {
    fn parse(args: &[String]) -> Result<Self> {
        let mut map = HashMap::new();
        for pair in args.chunks(2) {
            match pair {
                [name, value] if name.starts_with("--") => map.insert(name[2..].to_owned(), value.clone()),
                _ => return Err(format!("expected --name value, found {pair:?}").into()),
            };
        }
        Ok(Self(map))
    }

    fn text(&self, name: &str) -> Result<&str> {
        let value = self.0.get(name).map(String::as_str);
        value.ok_or_else(|| format!("--{name} is missing").into())
    }

    fn number(&self, name: &str) -> Result<usize> {
        let text = self.text(name)?;
        text.parse().map_err(|_| format!("--{name}: {text:?} is no number").into())
    }

    /// One of the index parameters in `--params a=1,b=2`.
    fn param(&self, name: &str) -> Result<&str> {
        let pairs = self.text("params")?.split(',').filter_map(|p| p.split_once('='));
        let found = pairs.into_iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value).ok_or_else(|| format!("--params lacks {name}").into())
    }
}

/// A line `VmRSS:  123 kB` of the process's status, in bytes.
fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with(field));
    let kib = line.and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn say(value: serde_json::Value) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}

fn build<D: Distance<f32> + Default + Send + Sync>(options: &Options) -> Result<()> {
    let base = Vectors::read(options.text("vectors")?, options.text("metric")?)?;
    let m = options.param("M")?.parse()?;
    let ef_construction = options.param("efc")?.parse()?;
    rayon::ThreadPoolBuilder::new().num_threads(options.number("threads")?).build_global()?;

    let start = Instant::now();
    let mut index = Hnsw::<f32, D>::new(m, base.rows, MAX_LAYERS, ef_construction, D::default());
    if let Ok(scale) = options.param("scale") {
        index.modify_level_scale(scale.parse()?);
    }
    let items = (0..base.rows).map(|i| (base.row(i), i)).collect();
    index.parallel_insert_slice(&items);
    let seconds = start.elapsed().as_secs_f64();

    let folder = Path::new(options.text("index")?);
    fs::create_dir_all(folder)?;
    index.file_dump(folder, BASENAME)?;
    say(json!({"build_s": seconds, "peak_bytes": memory("VmHWM")}))
}

fn serve<D: Distance<f32> + Default + Send + Sync>(options: &Options) -> Result<()> {
    let queries = Vectors::read(options.text("queries")?, options.text("metric")?)?;
    let k = options.number("k")?;
    let before = memory("VmRSS");
    let start = Instant::now();
    let mut io = HnswIo::new(Path::new(options.text("index")?), BASENAME);
    let mut index: Hnsw<f32, D> = io.load_hnsw()?;
    index.set_searching_mode(true);
    let load_s = start.elapsed().as_secs_f64();
    warm_up(&index, &queries, k, k);
    let resident = memory("VmRSS").saturating_sub(before);
    say(json!({"load_s": load_s, "resident_bytes": resident}))?;

    let threads = options.number("threads").unwrap_or(1);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let vectors: Vec<Vec<f32>> =
        if threads > 1 { (0..queries.rows).map(|i| queries.row(i).to_vec()).collect() } else { vec![] };
    for line in io::stdin().lock().lines() {
        let line = line?;
        if line == "memory" {
            say(json!({"resident_bytes": memory("VmRSS").saturating_sub(before)}))?;
            continue;
        }
        let mut words = line.splitn(3, ' ');
        let (Some(what), Some(ef), Some(files)) = (words.next(), words.next(), words.next()) else {
            return Err(format!("cannot understand {line:?}").into());
        };
        say(match (what, files.split_once(' ')) {
            ("search", _) => measure(&index, &queries, &vectors, k, ef.parse()?, files)?,
            ("filter", Some((file, stem))) => measure_filtered(&index, &queries, k, ef.parse()?, file, stem)?,
            _ => return Err(format!("cannot understand {line:?}").into()),
        })?;
    }
    Ok(())
}

/// Untimed queries, so that what other contestants left in the cache is no handicap.
fn warm_up<D: Distance<f32> + Send + Sync>(index: &Hnsw<f32, D>, queries: &Vectors, k: usize, ef: usize) {
    for i in queries.rows.saturating_sub(200)..queries.rows {
        index.search(queries.row(i), k, ef);
    }
}

/// All queries: one after the other, or on the pool's threads when they are there as `vectors` too.
fn measure<D: Distance<f32> + Send + Sync>(
    index: &Hnsw<f32, D>,
    queries: &Vectors,
    vectors: &[Vec<f32>],
    k: usize,
    ef: usize,
    ids_file: &str,
) -> Result<serde_json::Value> {
    warm_up(index, queries, k, ef);
    let mut found = Vec::with_capacity(queries.rows);
    let start = Instant::now();
    if vectors.is_empty() {
        for i in 0..queries.rows {
            found.push(index.search(queries.row(i), k, ef));
        }
    } else {
        found = index.parallel_search(vectors, k, ef);
    }
    let seconds = start.elapsed().as_secs_f64();
    if ids_file != "-" {
        fs::write(ids_file, id_bytes(&found, k))?;
    }
    Ok(json!({"ef": ef, "qps": queries.rows as f64 / seconds}))
}

/// One query after the other, each with its own mask, or all with the only one.
fn measure_filtered<D: Distance<f32> + Send + Sync>(
    index: &Hnsw<f32, D>,
    queries: &Vectors,
    k: usize,
    ef: usize,
    ids_file: &str,
    stem: &str,
) -> Result<serde_json::Value> {
    let bytes = fs::read(format!("{stem}.mask"))?;
    let count = u32::from_le_bytes(bytes[..4].try_into()?) as usize;
    let masks: Vec<&[u8]> = bytes[8..].chunks_exact((bytes.len() - 8) / count).collect();
    warm_up(index, queries, k, ef);
    let mut found = Vec::with_capacity(queries.rows);
    let start = Instant::now();
    for i in 0..queries.rows {
        let mask = masks[i % count];
        let passes = |id: &usize| mask[id / 8] >> (id % 8) & 1 == 1;
        found.push(index.search_filter(queries.row(i), k, ef, Some(&passes)));
    }
    let seconds = start.elapsed().as_secs_f64();
    fs::write(ids_file, id_bytes(&found, k))?;
    Ok(json!({"ef": ef, "qps": queries.rows as f64 / seconds}))
}

/// k little-endian i32 a query, -1 where fewer than k items were found.
fn id_bytes(found: &[Vec<Neighbour>], k: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(found.len() * k * 4);
    for answer in found {
        for j in 0..k {
            let id = answer.get(j).map_or(-1, |n| n.d_id as i32);
            bytes.extend_from_slice(&id.to_le_bytes());
        }
    }
    bytes
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = args.split_first().ok_or("usage: rival-hnsw-rs build|serve --name value ...")?;
    let options = Options::parse(rest)?;
    let choice = (command.as_str(), options.param("kernel")?, options.text("metric")?);
    match choice {
        ("build", "simdeez", "l2") => build::<DistL2>(&options),
        ("build", "simdeez", "cosine") => build::<DistDot>(&options),
        ("build", "simsimd", "l2") => build::<SimL2>(&options),
        ("build", "simsimd", "cosine") => build::<SimDot>(&options),
        ("serve", "simdeez", "l2") => serve::<DistL2>(&options),
        ("serve", "simdeez", "cosine") => serve::<DistDot>(&options),
        ("serve", "simsimd", "l2") => serve::<SimL2>(&options),
        ("serve", "simsimd", "cosine") => serve::<SimDot>(&options),
        _ => Err(format!("unknown command, kernel or metric: {choice:?}").into()),
    }
}

fn main() {
    if let Err(error) = run() {
        eprintln!("rival-hnsw-rs: {error}");
        std::process::exit(1);
    }
}
