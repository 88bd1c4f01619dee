//! What HTTP costs: the program on one core, the load generator on another, beside the engine alone.
//!
//! `cargo bench --bench http -- DIR COLLECTION [SECONDS]`
//!
//! DIR is a data directory that `shortlist build --out DIR/COLLECTION` made. Queries are vectors of the collection's own
//! items, k = 100, ef as the collection's default, sent as base64 f32: singly and in batches of 32, over 1, 8 and 64
//! connections, SECONDS (5) each after one second untimed. Before the server runs and after, a process answers the same
//! queries with the engine alone, one thread on the server's core. CPU time is that of all threads of a process (schedstat), so it
//! holds on a machine where others work too; QPS and latencies do not.
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
use shortlist::collection::Catalogue;
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
        [directory, name, rest @ ..] => compare(directory, name, rest.first().map_or("5", String::as_str)),
        _ => println!(
            "skipped: needs a data directory and a collection; cargo bench --bench http -- DIR COLLECTION"
        ),
    }
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
    let catalogue = Catalogue::open(Path::new(directory), Mode::Mapped).unwrap();
    let index = catalogue.get(name).expect("no such collection").index();
    let queries = queries(&index);
    let params = SearchParams { k: K, ef: index.schema().default_ef, allowed: None, exact: false };
    let round = || {
        queries.iter().for_each(|query| drop(index.search(&index.query(query).unwrap(), &params).unwrap()))
    };
    round();
    let (start, before, mut answered) = (Instant::now(), cpu::of_process("self"), 0);
    while start.elapsed() < Duration::from_secs(3) {
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

fn compare(directory: &str, name: &str, seconds: &str) {
    let engine = || run(SERVER_CORE, &["engine", directory, name]).as_f64().unwrap();
    let before = engine();
    let requests = requests(directory, name);
    let server = Server::start_on(SERVER_CORE, directory);
    let (port, process) = (server.port.to_string(), server.process().to_string());
    let load = |file: &Path, connections: usize| {
        let file = file.to_str().unwrap();
        run(CLIENT_CORE, &["load", &port, &connections.to_string(), seconds, file, &process])
    };
    let mut rows = Vec::new();
    for (file, searches) in [(requests.path().join("single"), 1), (requests.path().join("batch"), BATCH)] {
        for connections in CONNECTIONS {
            rows.push((searches, connections, load(&file, connections)));
        }
    }
    drop(server);
    let after = engine();
    println!("engine alone: {before:.1} us of CPU a search before, {after:.1} us after");
    report(&rows, (before + after) / 2.0);
}

/// The files of requests.
fn requests(directory: &str, name: &str) -> tempfile::TempDir {
    let catalogue = Catalogue::open(Path::new(directory), Mode::Mapped).unwrap();
    let queries = queries(&catalogue.get(name).expect("no such collection").index());
    let single: Vec<_> = queries.iter().map(|query| client::search(name, query, K)).collect();
    let batches: Vec<_> =
        queries.chunks_exact(BATCH).map(|queries| client::batch(name, queries, K)).collect();
    let files = tempfile::tempdir().unwrap();
    load::write(&files.path().join("single"), &single).unwrap();
    load::write(&files.path().join("batch"), &batches).unwrap();
    files
}

fn report(rows: &[(usize, usize, Value)], engine: f64) {
    println!(
        "| searches a request | connections | QPS | p50 us | p99 us | server CPU a search | beyond the engine |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (searches, connections, row) in rows {
        assert_eq!(row["errors"], 0, "some requests failed");
        let number = |name: &str| row[name].as_f64().unwrap();
        let answered = number("answers") * *searches as f64;
        let (server, qps) = (number("server_cpu") * 1e6 / answered, answered / number("seconds"));
        let (p50, p99, beyond) = (&row["p50_us"], &row["p99_us"], server - engine);
        println!(
            "| {searches} | {connections} | {qps:.0} | {p50} | {p99} | {server:.1} us | {beyond:.1} us |"
        );
    }
}
