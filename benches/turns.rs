//! Our engine as a contestant of `benches/rivals`: one process that builds an index, or holds one and searches when told to.
//!
//! `turns build --vectors FILE --metric cosine|dot|l2 --index FILE.slx --threads N` builds with the defaults and prints a JSON line.
//! The clock runs from the vectors in memory to the finished file.
//!
//! `turns serve --index FILE.slx --queries FILE.npy --params mode=resident --k N --threads N` opens the index and prints what that
//! took and what memory it added; then each line of its input is answered by a JSON line:
//!
//! - `search EF IDS_FILE`: all queries, timed together from the plain vectors to the lists of candidates, after some that
//!   warm up. The ids that were found are written as k little-endian i32 a query (-1 where there are fewer), unless IDS_FILE is `-`.
//! - `memory`: what the process holds more than before it opened the index.
//!
//! Vectors are `.npy` (f16 or f32) or `.u8bin`. Flags and answers are those of `benches/rivals/worker.py`; flags that only rivals
//! need are not looked at.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};
use shortlist::arena::Mode;
use shortlist::index::{BuildOptions, Index, IndexBuilder, Schema, SearchParams};
use shortlist::vector::Element;

const WARM_UP: usize = 200;
/// Queries that a thread takes at once.
const PORTION: usize = 16;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let Some((command, flags)) = arguments.split_first() else {
        println!("skipped: it is started by benches/rivals/run.py");
        return;
    };
    let flags: HashMap<&str, &str> =
        flags.chunks_exact(2).map(|pair| (pair[0].trim_start_matches('-'), pair[1].as_str())).collect();
    match command.as_str() {
        "build" => build(&flags),
        "serve" => serve(&flags),
        _ => panic!("unknown command {command:?}"),
    }
}

fn build(flags: &HashMap<&str, &str>) {
    let vectors = Vectors::read(Path::new(flags["vectors"]));
    let mut schema = Schema::new(vectors.dimension, flags["metric"].parse().unwrap());
    schema.element = vectors.element;
    let threads = flags["threads"].parse().unwrap();
    let begun = Instant::now();
    let mut builder = IndexBuilder::new(BuildOptions {
        schema,
        rows: vectors.rows(),
        threads,
        seed: 42,
        covers: 0,
        collection: None,
        lineage: Value::Null,
        now: 0,
    })
    .unwrap();
    builder.push_rows(vectors.element, vectors.bytes()).unwrap();
    let report = builder.finish(Path::new(flags["index"]), &|_, _, _| ()).unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    let phases: HashMap<String, f64> = report
        .seconds
        .iter()
        .map(|(phase, seconds)| (format!("{phase:?}").to_lowercase(), *seconds))
        .collect();
    let (peak, cpu_s) = (status("VmHWM:"), cpu_seconds());
    println!("{}", json!({"build_s": seconds, "cpu_s": cpu_s, "peak_bytes": peak, "phases": phases}));
}

fn serve(flags: &HashMap<&str, &str>) {
    let queries = Vectors::read(Path::new(flags["queries"])).floats();
    let mode = if flags["params"].contains("mode=mapped") { Mode::Mapped } else { Mode::Resident };
    let before = status("VmRSS:");
    let begun = Instant::now();
    let index = Index::open(Path::new(flags["index"]), mode).unwrap();
    let load_s = begun.elapsed().as_secs_f64();
    let (k, threads) = (flags["k"].parse().unwrap(), flags["threads"].parse().unwrap());
    let bench = Bench { index, queries, k, threads };
    bench.warm_up(k);
    println!("{}", json!({"load_s": load_s, "resident_bytes": status("VmRSS:") - before}));
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        let answer = match words[..] {
            ["search", ef, file] => bench.measure(ef.parse().unwrap(), file),
            ["memory"] => json!({"resident_bytes": status("VmRSS:") - before}),
            _ => panic!("cannot understand {line:?}"),
        };
        println!("{answer}");
    }
}

struct Bench {
    index: Index,
    queries: Vec<Vec<f32>>,
    k: usize,
    threads: usize,
}

impl Bench {
    fn search(&self, at: usize, ef: usize) -> impl Iterator<Item = i32> {
        let query = self.index.query(&self.queries[at]).unwrap();
        let params = SearchParams { k: self.k, ef, exact: false, allowed: None };
        let found = self.index.search(&query, &params).unwrap();
        found.candidates.into_iter().map(|candidate| candidate.item as i32)
    }

    fn warm_up(&self, ef: usize) {
        let first = self.queries.len().saturating_sub(WARM_UP);
        (first..self.queries.len()).for_each(|at| drop(self.search(at, ef)));
    }

    fn measure(&self, ef: usize, file: &str) -> Value {
        self.warm_up(ef);
        let begun = Instant::now();
        let found =
            if self.threads > 1 { self.on_threads(ef) } else { self.portion(0, self.queries.len(), ef) };
        let seconds = begun.elapsed().as_secs_f64();
        if file != "-" {
            fs::write(file, found.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
        }
        json!({"ef": ef, "qps": self.queries.len() as f64 / seconds})
    }

    /// Ids of the queries `from..upto`, k of each.
    fn portion(&self, from: usize, upto: usize, ef: usize) -> Vec<i32> {
        let mut ids = Vec::with_capacity((upto - from) * self.k);
        for at in from..upto {
            ids.extend(self.search(at, ef).chain(std::iter::repeat(-1)).take(self.k));
        }
        ids
    }

    /// As `portion` of all queries, each thread taking the next few.
    fn on_threads(&self, ef: usize) -> Vec<i32> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut parts = Vec::new();
            loop {
                let from = next.fetch_add(PORTION, Ordering::Relaxed);
                if from >= self.queries.len() {
                    return parts;
                }
                parts.push((from, self.portion(from, (from + PORTION).min(self.queries.len()), ef)));
            }
        };
        let mut parts: Vec<(usize, Vec<i32>)> = thread::scope(|scope| {
            let running: Vec<_> = (0..self.threads).map(|_| scope.spawn(work)).collect();
            running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        parts.sort_unstable_by_key(|(from, _)| *from);
        parts.into_iter().flat_map(|(_, ids)| ids).collect()
    }
}

/// Rows of numbers as a file holds them.
struct Vectors {
    file: Vec<u8>,
    data: usize,
    dimension: usize,
    element: Element,
}

impl Vectors {
    /// A `.npy` as numpy writes it, or a `.u8bin`: u32 rows, u32 columns, then the rows.
    fn read(path: &Path) -> Vectors {
        let file = fs::read(path).unwrap();
        if path.extension().unwrap() == "u8bin" {
            let dimension = u32::from_le_bytes(file[4..8].try_into().unwrap()) as usize;
            return Vectors { file, data: 8, dimension, element: Element::U8 };
        }
        let data = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
        let header = std::str::from_utf8(&file[10..data]).unwrap();
        assert!(header.contains("'fortran_order': False"), "{}: {header}", path.display());
        let element = if header.contains("'<f2'") { Element::F16 } else { Element::F32 };
        assert!(element == Element::F16 || header.contains("'<f4'"), "{}: {header}", path.display());
        let shape = header.split("'shape': (").nth(1).unwrap().split(')').next().unwrap();
        let dimension = shape.split(',').nth(1).unwrap().trim().parse().unwrap();
        Vectors { file, data, dimension, element }
    }

    fn bytes(&self) -> &[u8] {
        &self.file[self.data..]
    }

    fn rows(&self) -> usize {
        self.bytes().len() / (self.dimension * self.element.size())
    }

    fn floats(&self) -> Vec<Vec<f32>> {
        let decode = |row: &[u8]| {
            let mut numbers = Vec::new();
            self.element.decode(row, &mut numbers);
            numbers
        };
        self.bytes().chunks_exact(self.dimension * self.element.size()).map(decode).collect()
    }
}

/// A line of this process's status in bytes.
fn status(name: &str) -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap() * 1024
}

/// Processor time of all threads of this process.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / rustix::param::clock_ticks_per_second() as f64
}
