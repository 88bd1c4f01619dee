//! What a start costs, and what memory a collection takes as it is written to.
//!
//! `cargo bench --bench start -- INDEX [RECORDS]`
//!
//! INDEX is an index file; a copy of it is published in a directory beside it, which needs room for three of it. RECORDS
//! (100,000) single inserts are written after it, 256 to a sync, and the process ends without a checkpoint. Another one then
//! drops the files' pages from memory, opens the index alone, starts the collection (seconds to replayed, verified, warm),
//! runs 1,000 searches (k = 100, the default ef) on one thread, inserts as many again in batches of 1,000, and reopens onto a
//! checkpoint. Vectors are those of the index's own items, a little changed. Memory is that of /proc/self/status: anonymous
//! (its own) and of files (mapped pages, which the kernel may take back).

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use serde_json::{Value, json};
use shortlist::arena::Mode;
use shortlist::collection::{Catalogue, Collection, CollectionName, WriteBatch, WriteSettings, publish};
use shortlist::index::{Index, SearchParams};
use shortlist::vector::Element;

const RECORDS: u64 = 100_000;
const QUERIES: u64 = 1_000;
/// Writes that are under way at once.
const GROUP: u64 = 256;
const BATCH: u64 = 1_000;
const SETTLING: Duration = Duration::from_secs(5);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["prepare", directory, records] => prepare(Path::new(directory), records.parse().unwrap()),
        ["measure", directory, records] => measure(Path::new(directory), records.parse().unwrap()),
        [index] => run(Path::new(index), RECORDS),
        [index, records] => run(Path::new(index), records.parse().unwrap()),
        _ => println!("skipped: needs an index file; cargo bench --bench start -- INDEX [RECORDS]"),
    }
}

/// Each part in a process of its own, so that none has the memory of another.
fn run(index: &Path, records: u64) {
    let parent = index.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = tempfile::tempdir_in(parent).unwrap();
    let copy = directory.path().join("copy.slx");
    fs::copy(index, &copy).unwrap();
    publish(directory.path(), &name(), &copy).unwrap();
    for part in ["prepare", "measure"] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(part).arg(directory.path()).arg(records.to_string());
        assert!(command.status().unwrap().success(), "{part}");
    }
}

fn name() -> CollectionName {
    "bench".parse().unwrap()
}

/// No checkpoint but those that are asked for.
fn settings() -> WriteSettings {
    WriteSettings {
        checkpoint_bytes: u64::MAX,
        checkpoint_age: Duration::from_secs(1 << 30),
        reopen_share: 0.01,
        ..WriteSettings::default()
    }
}

fn prepare(directory: &Path, records: u64) {
    let catalogue = Catalogue::open_with(directory, Mode::Mapped, settings()).unwrap();
    let collection = catalogue.get("bench").unwrap();
    let began = Instant::now();
    for first in (0..records).step_by(GROUP as usize) {
        let items = (first..records.min(first + GROUP)).map(|n| vec![item(&collection, n, "before")]);
        write(&collection, items);
    }
    let rate = records as f64 / began.elapsed().as_secs_f64();
    println!("{records} records written after the checkpoint, {rate:.0} a second, {GROUP} at once");
}

fn measure(directory: &Path, records: u64) {
    let home = directory.join("bench");
    drop_pages(&home);
    let manifest = shortlist::collection::Manifest::read(&home).unwrap().unwrap();
    let began = Instant::now();
    let index = Index::open(&home.join(manifest.file), Mode::Mapped).unwrap();
    let opened = began.elapsed().as_secs_f64() * 1e3;
    println!("| step | seconds | memory |\n|---|---|---|");
    println!("| open the index file ({} items) | {:.4} | {} |", index.items(), opened / 1e3, memory());
    drop(index);
    drop_pages(&home);

    let catalogue = Catalogue::lock(directory, Mode::Mapped, settings()).unwrap();
    let began = Instant::now();
    catalogue.start(true).unwrap();
    let ready = began.elapsed().as_secs_f64();
    let collection = catalogue.get("bench").unwrap();
    let figures = collection.figures();
    println!("| {records} records replayed | {:.2} | |", figures.replay_seconds);
    println!("| verified | {:.2} | |", figures.verify_seconds);
    println!("| warm | {:.2} | |", figures.warm_seconds);
    println!("| ready, in all | {ready:.2} | {} |", memory());

    let began = Instant::now();
    (0..QUERIES).for_each(|query| search(&collection.index(), query));
    println!("| {QUERIES} queries | {:.2} | {} |", began.elapsed().as_secs_f64(), memory());

    let began = Instant::now();
    for first in (0..records).step_by(BATCH as usize) {
        let batch = (first..records.min(first + BATCH)).map(|n| item(&collection, n, "after")).collect();
        write(&collection, std::iter::once(batch));
    }
    println!("| {records} inserts, {BATCH} a batch | {:.2} | {} |", began.elapsed().as_secs_f64(), memory());

    let build = collection.index().build().to_owned();
    let began = Instant::now();
    collection.checkpoint().unwrap();
    assert_ne!(collection.index().build(), build, "it has reopened");
    println!("| checkpoint and reopening | {:.2} | {} |", began.elapsed().as_secs_f64(), memory());
    // Whoever was at the old index leaves it, and its memory goes.
    std::thread::sleep(SETTLING);
    println!("| {} s later | | {} |", SETTLING.as_secs(), memory());
}

/// Sends all batches at once and waits for their answers.
fn write(collection: &Collection, batches: impl Iterator<Item = Vec<Value>>) {
    let (sender, receiver) = sync_channel(GROUP as usize);
    let mut sent = 0;
    for items in batches {
        let request = serde_json::from_value(json!({ "items": items })).unwrap();
        let batch = WriteBatch::upsert(&collection.index(), request).unwrap();
        let sender = sender.clone();
        collection.write(batch, Box::new(move |answer| sender.send(answer.map(|_| ())).unwrap()));
        sent += 1;
    }
    (0..sent).for_each(|_| receiver.recv().unwrap().unwrap());
}

/// An item like one that is there.
fn item(collection: &Collection, n: u64, kind: &str) -> Value {
    let index = collection.index();
    let like = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % u64::from(index.items());
    let mut vector = Vec::new();
    index.vector(like as u32, &mut vector);
    let seed = if kind == "before" { n } else { !n };
    for (at, number) in vector.iter_mut().enumerate() {
        let draw = (seed.wrapping_add(at as u64 * 977)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 60;
        *number = match index.schema().element {
            Element::F32 | Element::F16 => *number * (0.96 + draw as f32 * 0.005),
            Element::I8 => (*number + (draw % 5) as f32 - 2.0).clamp(-127.0, 127.0),
            Element::U8 => (*number + (draw % 5) as f32 - 2.0).clamp(0.0, 255.0),
        };
    }
    json!({"id": format!("{kind}-{n}"), "vector": vector})
}

/// Looks for the neighbours of the vector of one of the items, spread over all.
fn search(index: &Index, query: u64) {
    let mut vector = Vec::new();
    index.vector((u64::from(index.items()) * query / QUERIES) as u32, &mut vector);
    let ef = index.schema().default_ef.max(100);
    let params = SearchParams { k: 100, ef, exact: false, allowed: None };
    index.search(&index.query(&vector).unwrap(), &params).unwrap();
}

fn drop_pages(directory: &Path) {
    for folder in [directory.to_owned(), directory.join("log")] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let file = File::open(path).unwrap();
                file.sync_all().unwrap();
                fadvise(&file, 0, None, Advice::DontNeed).unwrap();
            }
        }
    }
}

fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let megabytes = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0 / 1e6
    };
    format!("{:.0} MB anonymous, {:.0} MB of files", megabytes("RssAnon"), megabytes("RssFile"))
}
