//! usearch's filtered search as a contestant of ../filters.py: its predicate is in the Rust binding, not in the Python one.
//!
//! `serve` loads an index that ../worker.py has built, prints one JSON line, then answers each line `filter EF IDS_FILE STEM` as
//! the other contestants do, until its input ends.

#[path = "../../hnsw_rs/src/vectors.rs"]
mod vectors;

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::io::{self, BufRead, Write};
use std::time::Instant;

use serde_json::json;
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use vectors::Vectors;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() {
    if let Err(error) = run() {
        eprintln!("rival-usearch: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(2).collect();
    let options: HashMap<&str, &str> =
        words.chunks_exact(2).map(|pair| (pair[0].trim_start_matches("--"), pair[1].as_str())).collect();
    let option = |name: &str| options.get(name).copied().ok_or_else(|| format!("--{name} is missing"));
    let queries = Vectors::read(option("queries")?, option("metric")?)?;
    let k = option("k")?.parse()?;
    let started = Instant::now();
    let bytes_only = option("params")?.contains("dtype=i8");
    let index = Index::new(&IndexOptions {
        dimensions: queries.row(0).len(),
        metric: if option("metric")? == "cosine" { MetricKind::IP } else { MetricKind::L2sq },
        quantization: if bytes_only { ScalarKind::I8 } else { ScalarKind::F16 },
        ..IndexOptions::default()
    })?;
    index.load(&format!("{}/index", option("index")?))?;
    say(json!({"load_s": started.elapsed().as_secs_f64(), "resident_bytes": index.memory_usage()}))?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.splitn(4, ' ');
        let (Some("filter"), Some(ef), Some(file), Some(stem)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(format!("cannot understand {line:?}").into());
        };
        say(measure(&index, &queries, bytes_only, k, ef.parse()?, file, stem)?)?;
    }
    Ok(())
}

/// One query after the other, each with its own mask, or all with the only one.
fn measure(
    index: &Index,
    queries: &Vectors,
    bytes_only: bool,
    k: usize,
    ef: usize,
    ids_file: &str,
    stem: &str,
) -> Result<serde_json::Value> {
    let bytes = fs::read(format!("{stem}.mask"))?;
    let count = u32::from_le_bytes(bytes[..4].try_into()?) as usize;
    let masks: Vec<&[u8]> = bytes[8..].chunks_exact((bytes.len() - 8) / count).collect();
    // As ../rivals.py builds it: u8 vectors moved by 128.
    let moved: Vec<Vec<i8>> = match bytes_only {
        true => (0..queries.rows).map(|at| queries.row(at).iter().map(|x| (x - 128.0) as i8).collect()).collect(),
        false => Vec::new(),
    };
    index.change_expansion_search(ef);
    let search = |at: usize| {
        let mask = masks[at % count];
        let passes = |id: u64| mask[id as usize / 8] >> (id % 8) & 1 == 1;
        match bytes_only {
            true => index.filtered_search(&moved[at], k, passes),
            false => index.filtered_search(queries.row(at), k, passes),
        }
    };
    for at in 0..queries.rows.min(10) {
        search(at)?;
    }
    let mut found = Vec::with_capacity(queries.rows);
    let started = Instant::now();
    for at in 0..queries.rows {
        found.push(search(at)?.keys);
    }
    let seconds = started.elapsed().as_secs_f64();
    let ids = found.iter().flat_map(|keys| keys.iter().map(|key| *key as i32).chain(std::iter::repeat(-1)).take(k));
    fs::write(ids_file, ids.flat_map(i32::to_le_bytes).collect::<Vec<u8>>())?;
    Ok(json!({"ef": ef, "qps": queries.rows as f64 / seconds}))
}

fn say(value: serde_json::Value) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}
