//! Writing over HTTP: how fast batches go in beside an offline build, and how soon a single item is found.
//!
//! `cargo bench --bench writes -- INDEX [SINGLES]`
//!
//! INDEX is an index file whose items are the catalogue. First it is built offline, in this process, with all threads. Then
//! `shortlist serve` takes the same items into an empty collection of the same schema, without attributes: 10,000 untimed,
//! the rest in batches of 1,000 by two connections, base64 f32. Last SINGLES (10,000) items are put one by one, each looked
//! for at once from another connection by its own vector. The log is synced for every answer.

#![allow(missing_docs, clippy::unwrap_used)]

mod client;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use client::{Connection, Server, own_cpu, percentile, request, search, upsert};
use serde_json::Value;
use shortlist::arena::Mode;
use shortlist::index::{BuildOptions, Index, IndexBuilder, Schema};
use shortlist::vector::Element;

const BATCH: usize = 1_000;
const UNTIMED: usize = 10_000;
const NAME: &str = "taken";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [path, rest @ ..] = arguments.as_slice() else {
        println!("skipped: needs an index file; cargo bench --bench writes -- INDEX");
        return;
    };
    let singles = rest.first().map_or(10_000, |text| text.parse().unwrap());
    let source = Index::open(Path::new(path), Mode::Mapped).unwrap();
    let mut schema = source.schema().clone();
    schema.attributes = Default::default();
    let items: Vec<(String, Vec<f32>)> = (0..source.items())
        .map(|item| {
            let mut vector = Vec::new();
            source.vector(item, &mut vector);
            (source.id(item).to_owned(), vector)
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let offline = build(&schema, &items, &directory.path().join("offline.slx"));
    let data = directory.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let server = Server::start(data.to_str().unwrap());
    let mut connection = Connection::open(server.port);
    let made = connection.send(&request("PUT", NAME, &schema.to_json().to_string())).unwrap();
    assert_eq!(made.0, 201, "{}", String::from_utf8_lossy(&made.1));
    let (first, others) = items.split_at(UNTIMED.min(items.len() / 2));
    put(&server, first);
    let (cpu, started) = ((own_cpu(), server.cpu()), Instant::now());
    put(&server, others);
    let seconds = started.elapsed().as_secs_f64();
    let rate = others.len() as f64 / seconds;
    println!("offline build: {offline:.0} items a second");
    println!(
        "batches of {BATCH} over HTTP: {rate:.0} items a second, {:.2} of the offline build; CPU: server {:.1} s, \
         client {:.1} s of {seconds:.1} s; server holds {:.0} MB",
        rate / offline,
        server.cpu() - cpu.1,
        own_cpu() - cpu.0,
        server.memory()
    );
    freshness(&server, &items, singles);
}

fn build(schema: &Schema, items: &[(String, Vec<f32>)], path: &Path) -> f64 {
    let started = Instant::now();
    let options = BuildOptions {
        schema: schema.clone(),
        rows: items.len(),
        threads: 0,
        seed: 42,
        covers: 0,
        collection: None,
        lineage: serde_json::json!({}),
        now: 0,
    };
    let mut builder = IndexBuilder::new(options).unwrap();
    for (id, vector) in items {
        builder.push_rows(Element::F32, bytemuck::cast_slice(vector)).unwrap();
        builder.push_item(id, None, &[]).unwrap();
    }
    builder.finish(path, &|_, _, _| ()).unwrap();
    items.len() as f64 / started.elapsed().as_secs_f64()
}

fn put(server: &Server, items: &[(String, Vec<f32>)]) {
    let batches: Vec<&[(String, Vec<f32>)]> = items.chunks(BATCH).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut connection = Connection::open(server.port);
                while let Some(batch) = batches.get(next.fetch_add(1, Relaxed)) {
                    let batch: Vec<(String, &[f32])> =
                        batch.iter().map(|(id, vector)| (id.clone(), vector.as_slice())).collect();
                    let (status, body) = connection.send(&upsert(NAME, &batch)).unwrap();
                    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
                }
            });
        }
    });
}

/// Puts items one by one, under new ids and with vectors of their own.
fn freshness(server: &Server, items: &[(String, Vec<f32>)], singles: usize) {
    let (mut writer, mut reader) = (Connection::open(server.port), Connection::open(server.port));
    let (mut acknowledged, mut looked_up, mut found) = (Vec::new(), Vec::new(), 0);
    for at in 0..singles {
        let (a, b) = (&items[at % items.len()].1, &items[(at * 7 + 1) % items.len()].1);
        let vector: Vec<f32> =
            a.iter().zip(b).map(|(a, b)| (a + b) / 2.0).map(f32::round_ties_even).collect();
        let floats: Vec<f32> = a.iter().zip(b).map(|(a, b)| (a + b) / 2.0).collect();
        let whole = a.iter().all(|number| number.fract() == 0.0);
        let vector = if whole { vector } else { floats };
        let id = format!("single-{at}");
        let request = upsert(NAME, &[(id.clone(), &vector)]);
        let begun = Instant::now();
        let (status, body) = writer.send(&request).unwrap();
        acknowledged.push(begun.elapsed().as_micros() as u32);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let request = search(NAME, &vector, 10);
        let begun = Instant::now();
        let (_, body) = reader.send(&request).unwrap();
        looked_up.push(begun.elapsed().as_micros() as u32);
        found += usize::from(is_among(&body, &id));
    }
    println!("{singles} single items: {found} found at once");
    println!(
        "acknowledged p50 {} us, p99 {} us; search after it p50 {} us, p99 {} us",
        percentile(&mut acknowledged, 0.5),
        percentile(&mut acknowledged, 0.99),
        percentile(&mut looked_up, 0.5),
        percentile(&mut looked_up, 0.99)
    );
}

/// Whether an id is among the results, or all of them are as near as it is: at their best similarity.
fn is_among(body: &[u8], id: &str) -> bool {
    let answer: Value = serde_json::from_slice(body).unwrap();
    let results = answer["results"].as_array().unwrap();
    let best = results[0]["similarity"].as_f64().unwrap();
    results.iter().any(|hit| hit["id"] == id)
        || results.iter().all(|hit| hit["similarity"].as_f64() == Some(best))
}
