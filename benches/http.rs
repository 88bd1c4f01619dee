//! What HTTP costs: the program on one core, the load generator on another, beside the engine alone.
//!
//! `cargo bench --bench http -- DIR COLLECTION [SECONDS] [ROUNDS]`
//!
//! DIR is a data directory that `shortlist build --out DIR/COLLECTION` made. Queries are vectors of the collection's own
//! items, k = 100, ef as the collection's default, sent as base64 f32: singly and in batches of 32, over 1, 8 and 64
//! connections, SECONDS (5) each after one second untimed. Before each row and after it, a process answers the same queries with the
//! engine alone, one thread on the server's core, as a processor's speed drifts within minutes; what a row spends beyond the engine is
//! over the mean of its two neighbours. ROUNDS (3) of all rows are made; what is printed is each figure's median, and the range of what
//! is beyond the engine. CPU time is that of all threads of a process (schedstat), so it holds on a machine where others work too; QPS and
//! latencies do not.
//!
//! `cargo bench --bench http -- load PORT CONNECTIONS SECONDS FILE [PROCESS]` is the load generator, for any server.

#![allow(missing_docs, clippy::unwrap_used)]

mod client;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use client::{Server, cpu, load};
use serde_json::Value;
use shortlist::arena::Mode;
use shortlist::collection::Manifest;
use shortlist::index::{Index, SearchParams};

const QUERIES: u32 = 1000;
const K: usize = 100;
const BATCH: usize = 32;
const CONNECTIONS: [usize; 3] = [1, 8, 64];
const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match &arguments[..] {
        [role, rest @ ..] if role == "load" => load::main(rest),
        [role, directory, name] if role == "engine" => println!("{}", engine(directory, name)),
        [directory, name, rest @ ..] => {
            let above_0 = |text: &String| text.parse().ok().filter(|&rounds| rounds > 0);
            let rounds = rest.get(1).map_or(3, |text| above_0(text).expect("ROUNDS is a number above 0"));
            compare(directory, name, rest.first().map_or("5", String::as_str), rounds);
        }
        _ => println!(
            "skipped: needs a data directory and a collection; cargo bench --bench http -- DIR COLLECTION"
        ),
    }
}

/// A collection's index, which a server may have open too.
fn open(directory: &str, name: &str) -> Index {
    let collection = Path::new(directory).join(name);
    let manifest = Manifest::read(&collection).unwrap().expect("no such collection");
    Index::open(&collection.join(manifest.file), Mode::Mapped).unwrap()
}

/// Vectors of some items.
fn queries(index: &Index) -> Vec<Vec<f32>> {
    let step = (index.items() / QUERIES).max(1);
    let items = (0..index.items()).step_by(step as usize);
    let vector = |item| {
        let mut vector = Vec::new();
        index.vector(item, &mut vector);
        vector
    };
    items.map(vector).collect()
}

/// Microseconds of CPU that the engine alone needs for a query: the checked vector and its search, nothing else.
fn engine(directory: &str, name: &str) -> f64 {
    let index = open(directory, name);
    let queries = queries(&index);
    let params = SearchParams { k: K, ef: index.schema().default_ef, allowed: None, exact: false };
    let round = || {
        queries.iter().for_each(|query| drop(index.search(&index.query(query).unwrap(), &params).unwrap()))
    };
    round();
    let (start, before, mut answered) = (Instant::now(), cpu::of_process("self"), 0);
    while start.elapsed() < Duration::from_secs(2) {
        round();
        answered += queries.len();
    }
    (cpu::of_process("self") - before).as_secs_f64() * 1e6 / answered as f64
}

/// A process of this program on a core; what it printed.
fn run(core: usize, arguments: &[&str]) -> Value {
    let program = std::env::current_exe().unwrap();
    let output = Command::output(cpu::on(core, &program).args(arguments)).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a load of `searches` a request over so many `connections` showed: the load generator's findings and the engine's microseconds
/// beside it, a round each.
struct Row {
    searches: usize,
    connections: usize,
    rounds: Vec<(Value, f64)>,
}

fn compare(directory: &str, name: &str, seconds: &str, rounds: usize) {
    let requests = requests(directory, name);
    let server = Server::start_on(SERVER_CORE, directory);
    let (port, process) = (server.port.to_string(), server.process().to_string());
    let engine = || run(SERVER_CORE, &["engine", directory, name]).as_f64().unwrap();
    let load = |searches: usize, connections: usize| {
        let file = requests.path().join(if searches == 1 { "single" } else { "batch" });
        let file = file.to_str().unwrap();
        run(CLIENT_CORE, &["load", &port, &connections.to_string(), seconds, file, &process])
    };
    let mut rows: Vec<Row> = [1, BATCH]
        .into_iter()
        .flat_map(|searches| CONNECTIONS.map(|connections| Row { searches, connections, rounds: Vec::new() }))
        .collect();
    let mut before = engine();
    for _ in 0..rounds {
        for row in &mut rows {
            let found = load(row.searches, row.connections);
            let after = engine();
            row.rounds.push((found, (before + after) / 2.0));
            before = after;
        }
    }
    report(&rows);
}

/// The files of requests.
fn requests(directory: &str, name: &str) -> tempfile::TempDir {
    let queries = queries(&open(directory, name));
    let single: Vec<_> = queries.iter().map(|query| client::search(name, query, K)).collect();
    let batches: Vec<_> =
        queries.chunks_exact(BATCH).map(|queries| client::batch(name, queries, K)).collect();
    let files = tempfile::tempdir().unwrap();
    load::write(&files.path().join("single"), &single).unwrap();
    load::write(&files.path().join("batch"), &batches).unwrap();
    files
}

fn report(rows: &[Row]) {
    println!(
        "| searches a request | connections | QPS | p50 us | p99 us | server CPU a search | engine alone | beyond the engine |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for Row { searches, connections, rounds } in rows {
        let number = |found: &Value, name: &str| found[name].as_f64().unwrap();
        let answered = |found: &Value| number(found, "answers") * *searches as f64;
        let server = |found: &Value| number(found, "server_cpu") * 1e6 / answered(found);
        let median = |of: &dyn Fn(&Value, f64) -> f64| {
            let mut all: Vec<f64> = rounds.iter().map(|(found, engine)| of(found, *engine)).collect();
            all.sort_by(f64::total_cmp);
            (all[all.len() / 2], all[0], all[all.len() - 1])
        };
        assert!(rounds.iter().all(|(found, _)| found["errors"] == 0), "some requests failed");
        let (qps, ..) = median(&|found, _| answered(found) / number(found, "seconds"));
        let (p50, p99) =
            (median(&|found, _| number(found, "p50_us")), median(&|found, _| number(found, "p99_us")));
        let (cpu, engine) = (median(&|found, _| server(found)), median(&|_, engine| engine));
        let (beyond, least, most) = median(&|found, engine| server(found) - engine);
        println!(
            "| {searches} | {connections} | {qps:.0} | {:.0} | {:.0} | {:.1} us | {:.1} us | {beyond:.1} us ({least:.1} to {most:.1}) |",
            p50.0, p99.0, cpu.0, engine.0
        );
    }
}
