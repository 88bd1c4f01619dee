//! What of the engine's speed survives HTTP: many clients with open connections against the program.
//!
//! `cargo bench --bench http -- DIR COLLECTION [CLIENTS] [SECONDS]`
//!
//! DIR is a data directory that `shortlist build --out DIR/COLLECTION` made. Queries are vectors of the collection's own
//! items, k = 100, ef as the collection's default, sent as base64 f32. First the engine answers them in this process on
//! all cores, then `shortlist serve` answers them over loopback to CLIENTS (64) threads for SECONDS (30). Server and
//! clients share the cores, so the CPU time of each is reported.

#![allow(missing_docs, clippy::unwrap_used)]

mod client;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use client::{Connection, Server, own_cpu};
use shortlist::arena::Mode;
use shortlist::collection::Catalogue;
use shortlist::index::{Index, SearchParams};

const QUERIES: u32 = 1000;
const K: usize = 100;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [directory, name, rest @ ..] = arguments.as_slice() else {
        println!(
            "skipped: needs a data directory and a collection; cargo bench --bench http -- DIR COLLECTION"
        );
        return;
    };
    let number = |at: usize, default: usize| rest.get(at).map_or(default, |text| text.parse().unwrap());
    let (clients, seconds) = (number(0, 64), number(1, 30));
    let (vectors, engine) = in_process(Path::new(directory), name, 5);
    println!("engine in process, {} threads: {engine:.0} QPS", threads());
    let server = Server::start(directory);
    let requests: Vec<Vec<u8>> = vectors.iter().map(|vector| client::search(name, vector, K)).collect();
    let cpu = (own_cpu(), server.cpu());
    let (latencies, errors, elapsed) = load(server.port, &requests, clients, seconds as u64);
    let (client_cpu, server_cpu) = (own_cpu() - cpu.0, server.cpu() - cpu.1);
    drop(server);
    report(latencies, errors, elapsed, clients, client_cpu, server_cpu, engine);
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Vectors of some items, and how many queries a second the engine alone answers.
fn in_process(directory: &Path, name: &str, seconds: u64) -> (Vec<Vec<f32>>, f64) {
    let catalogue = Catalogue::open(directory, Mode::Mapped).unwrap();
    let collection = catalogue.get(name).expect("no such collection");
    let index = collection.index();
    let step = (index.items() / QUERIES).max(1);
    let vectors: Vec<Vec<f32>> = (0..index.items())
        .step_by(step as usize)
        .map(|item| {
            let mut vector = Vec::new();
            index.vector(item, &mut vector);
            vector
        })
        .collect();
    let done = AtomicUsize::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                while start.elapsed() < Duration::from_secs(seconds) {
                    search(&index, &vectors[done.fetch_add(1, Relaxed) % vectors.len()]);
                }
            });
        }
    });
    let qps = done.load(Relaxed) as f64 / start.elapsed().as_secs_f64();
    (vectors, qps)
}

fn search(index: &Index, vector: &[f32]) {
    let params = SearchParams { k: K, ef: index.schema().default_ef, allowed: None, exact: false };
    index.search(&index.query(vector).unwrap(), &params).unwrap();
}

/// Latencies in microseconds, errors, and how long it took.
fn load(port: u16, requests: &[Vec<u8>], clients: usize, seconds: u64) -> (Vec<u32>, usize, Duration) {
    let (next, errors, stop) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let start = Instant::now();
    let client = || {
        let mut latencies = Vec::new();
        let mut connection = Connection::open(port);
        while !stop.load(Relaxed) {
            let begun = Instant::now();
            let request = &requests[next.fetch_add(1, Relaxed) % requests.len()];
            let answer = connection.send(request);
            let good =
                answer.is_some_and(|(status, body)| status == 200 && body.starts_with(br#"{"results":[{"#));
            errors.fetch_add(usize::from(!good), Relaxed);
            latencies.push(begun.elapsed().as_micros() as u32);
            if !good {
                break;
            }
        }
        latencies
    };
    let latencies = std::thread::scope(|scope| {
        let running: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        std::thread::sleep(Duration::from_secs(seconds));
        stop.store(true, Relaxed);
        running.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    (latencies, errors.load(Relaxed), start.elapsed())
}

fn report(
    mut latencies: Vec<u32>,
    errors: usize,
    elapsed: Duration,
    clients: usize,
    client_cpu: f64,
    server_cpu: f64,
    engine: f64,
) {
    latencies.sort_unstable();
    let count = latencies.len();
    let at = |share: f64| latencies[((count as f64 * share) as usize).min(count - 1)];
    let qps = count as f64 / elapsed.as_secs_f64();
    println!("HTTP, {clients} clients, {:.0} s: {qps:.0} QPS, {errors} errors", elapsed.as_secs_f64());
    println!("latency p50 {} us, p95 {} us, p99 {} us", at(0.5), at(0.95), at(0.99));
    println!("share of the engine's QPS: {:.1} %", 100.0 * qps / engine);
    let each = |cpu: f64| cpu * 1e6 / count as f64;
    println!("CPU a request: server {:.0} us, clients {:.0} us", each(server_cpu), each(client_cpu));
    println!("engine alone: {:.0} us a query", threads() as f64 * 1e6 / engine);
    assert_eq!(errors, 0, "some requests failed");
}
