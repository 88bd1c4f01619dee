//! What opening an index costs: time with its pages dropped from memory, and memory after.
//!
//! `cargo bench --bench open -- INDEX`
//!
//! INDEX is an index file. For each mode, five times: the file's pages are dropped from the page cache (the kernel is asked by
//! `posix_fadvise`), the index is opened, then 1,000 searches for vectors of its own items (k = 100, ef 200, the default) run on one
//! thread. Reported are medians: milliseconds from the start of the opening until it is open, until the first, the hundredth and the
//! thousandth answer, and microseconds a query of the last 900; and the process's memory at the end by /proc/self/status: anonymous
//! (its own) and of files (mapped pages, which the kernel may take back).

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use rustix::fs::{Advice, fadvise};
use shortlist::arena::Mode;
use shortlist::index::{Index, SearchParams};

const QUERIES: u32 = 1000;
const EF: usize = 200;
/// Queries answered when the clock is read.
const STEPS: [u32; 4] = [0, 1, 100, QUERIES];
const RUNS: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [path] = arguments.as_slice() else {
        println!("skipped: needs an index file; cargo bench --bench open -- INDEX");
        return;
    };
    let path = Path::new(path);
    println!("{}: {:.0} MB", path.display(), fs::metadata(path).unwrap().len() as f64 / 1e6);
    println!("memory before: {}", memory());
    for mode in [Mode::Mapped, Mode::Resident] {
        measure(path, mode);
    }
}

fn measure(path: &Path, mode: Mode) {
    let mut runs: [Vec<f64>; STEPS.len()] = Default::default();
    for _ in 0..RUNS {
        drop_pages(path);
        let start = Instant::now();
        let index = Index::open(path, mode).unwrap();
        let mut last = 0;
        for (upto, run) in STEPS.into_iter().zip(&mut runs) {
            (last..upto).for_each(|query| search(&index, query));
            run.push(start.elapsed().as_secs_f64() * 1e3);
            last = upto;
        }
        if runs[0].len() == RUNS {
            println!("{mode:?}: memory after {QUERIES} queries: {}", memory());
        }
    }
    let medians = runs.map(|mut run| {
        run.sort_by(f64::total_cmp);
        run[RUNS / 2]
    });
    for (queries, at) in STEPS.into_iter().zip(medians) {
        println!("  {at:.2} ms: {}", if queries == 0 { "open".into() } else { format!("answer {queries}") });
    }
    println!("  {:.0} us each of the last 900", (medians[3] - medians[2]) * 1e3 / 900.0);
}

/// Looks for the neighbours of the vector of one of the items, spread over all.
fn search(index: &Index, query: u32) {
    let item = (u64::from(index.items()) * u64::from(query) / u64::from(QUERIES)) as u32;
    let mut vector = Vec::new();
    index.vector(item, &mut vector);
    let query = index.query(&vector).unwrap();
    let params = SearchParams { k: 100, ef: EF, exact: false, allowed: None };
    assert_eq!(index.search(&query, &params).unwrap().candidates.len(), 100);
}

fn drop_pages(path: &Path) {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
}

fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let megabytes = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0 / 1e6
    };
    format!("{:.0} MB anonymous, {:.0} MB of files", megabytes("RssAnon"), megabytes("RssFile"))
}
