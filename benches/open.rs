//! What opening an index costs: time with its pages dropped from memory, and memory after.
//!
//! `cargo bench --bench open -- INDEX`
//!
//! INDEX is an index file. For each mode: the file's pages are dropped from the page cache (the kernel is asked by
//! `posix_fadvise`), the index is opened, five times; then 1,000 searches for vectors of its own items (k = 100, ef 200,
//! the default) run on one thread. Reported: milliseconds to open, and the process's memory by /proc/self/status:
//! anonymous (its own) and of files (mapped pages, which the kernel may take back).

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use rustix::fs::{Advice, fadvise};
use shortlist::arena::Mode;
use shortlist::index::{Index, SearchParams};

const QUERIES: u32 = 1000;
const EF: usize = 200;

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
    let mut opened = Vec::new();
    for _ in 0..5 {
        drop_pages(path);
        let start = Instant::now();
        let index = Index::open(path, mode).unwrap();
        opened.push(start.elapsed().as_secs_f64() * 1e3);
        drop(index);
    }
    opened.sort_by(f64::total_cmp);
    drop_pages(path);
    let index = Index::open(path, mode).unwrap();
    println!("{mode:?}: open {:.2} ms (median of 5; {:.2} to {:.2})", opened[2], opened[0], opened[4]);
    println!("  memory after open: {}", memory());
    let mut last = 0;
    for upto in [1, 100, QUERIES] {
        let start = Instant::now();
        (last..upto).for_each(|query| search(&index, query));
        let each = start.elapsed().as_secs_f64() * 1e6 / f64::from(upto - last);
        println!("  memory after {upto} queries: {}; {each:.0} us each", memory());
        last = upto;
    }
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
