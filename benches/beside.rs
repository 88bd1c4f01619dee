//! Do searches notice writes? Open loop at half the saturated rate: alone, beside inserts, beside a checkpoint.
//!
//! `cargo bench --bench beside -- DIR COLLECTION [SECONDS] [INSERTS_A_SECOND] [ROUNDS]`
//!
//! DIR is a data directory whose collection is changed: work on a copy. Eight clients first saturate the server; then
//! searches are sent at half that rate whether or not earlier ones were answered, and each latency counts from the moment
//! that the search was due. Each of ROUNDS (5) has three phases: alone, for SECONDS (12); beside INSERTS_A_SECOND (500) single inserts, as
//! long; and the same beside a checkpoint, from its beginning to its end. A ratio is the median of the rounds' own, as the machine is
//! not the same from one minute to the next. Queries are vectors of the collection's items, limit 100.

#![allow(missing_docs, clippy::unwrap_used)]

mod client;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use client::{Connection, Server, percentile, request, search, upsert};
use shortlist::arena::Mode;
use shortlist::collection::Manifest;
use shortlist::index::Index;

const SEARCHERS: usize = 16;
const WRITERS: usize = 4;

struct Load<'a> {
    port: u16,
    name: &'a str,
    searches: Vec<Vec<u8>>,
    vectors: Vec<Vec<f32>>,
    inserted: AtomicUsize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [directory, name, rest @ ..] = arguments.as_slice() else {
        println!(
            "skipped: needs a data directory and a collection; cargo bench --bench beside -- DIR COLLECTION"
        );
        return;
    };
    let number = |at: usize, default: u64| rest.get(at).map_or(default, |text| text.parse().unwrap());
    let (seconds, rate, rounds) = (number(0, 12), number(1, 500), number(2, 5));
    let vectors = vectors(&Path::new(directory).join(name));
    let searches = vectors.iter().map(|vector| search(name, vector, 100)).collect();
    let server = Server::start(directory);
    let load = Load { port: server.port, name, searches, vectors, inserted: AtomicUsize::new(0) };
    let saturated = load.saturate(Duration::from_secs(10));
    println!("saturated by 8 clients: {saturated:.0} searches a second; half of it from here on");
    let time = Duration::from_secs(seconds);
    let (mut beside, mut checkpoint) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let alone = load.phase("alone", saturated / 2.0, time, 0, false);
        beside.push(load.phase("beside inserts", saturated / 2.0, time, rate, false) / alone);
        let name = "beside inserts and a checkpoint";
        checkpoint.push(load.phase(name, saturated / 2.0, time, rate, true) / alone);
    }
    println!("p99 beside inserts: {} of alone; beside a checkpoint: {}", median(beside), median(checkpoint));
    println!("the server holds {:.0} MB of its own", server.memory());
}

fn median(mut ratios: Vec<f64>) -> String {
    ratios.sort_by(f64::total_cmp);
    format!("x{:.2} ({:.2} to {:.2})", ratios[ratios.len() / 2], ratios[0], ratios[ratios.len() - 1])
}

fn vectors(collection: &Path) -> Vec<Vec<f32>> {
    let manifest = Manifest::read(collection).unwrap().unwrap();
    let index = Index::open(&collection.join(manifest.file), Mode::Mapped).unwrap();
    let step = (index.items() / 5_000).max(1) as usize;
    (0..index.items())
        .step_by(step)
        .map(|item| {
            let mut vector = Vec::new();
            index.vector(item, &mut vector);
            vector
        })
        .collect()
}

impl Load<'_> {
    fn saturate(&self, time: Duration) -> f64 {
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut connection = Connection::open(self.port);
                    while !stop.load(Relaxed) {
                        let at = next.fetch_add(1, Relaxed);
                        let (status, _) = connection.send(&self.searches[at % self.searches.len()]).unwrap();
                        assert_eq!(status, 200);
                    }
                });
            }
            std::thread::sleep(time);
            stop.store(true, Relaxed);
        });
        next.load(Relaxed) as f64 / time.as_secs_f64()
    }

    /// Sends searches and inserts at their rates, for that time or until a checkpoint is done; returns the searches' p99 in
    /// microseconds.
    fn phase(&self, name: &str, searches: f64, time: Duration, inserts: u64, checkpoint: bool) -> f64 {
        let (latencies, acknowledged) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let took = Mutex::new(None);
        let (next_search, next_insert) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let start = Instant::now();
            let (next, next_insert, latencies, took) = (&next_search, &next_insert, &latencies, &took);
            let stop = &stop;
            for _ in 0..SEARCHERS {
                scope.spawn(move || {
                    let mut connection = Connection::open(self.port);
                    let own = open_loop(start, searches, next, stop, &mut |at| {
                        let search = &self.searches[(at * 31) % self.searches.len()];
                        assert_eq!(connection.send(search).unwrap().0, 200);
                    });
                    latencies.lock().unwrap().extend(own);
                });
            }
            for _ in 0..if inserts > 0 { WRITERS } else { 0 } {
                let (next, acknowledged) = (next_insert, &acknowledged);
                scope.spawn(move || {
                    let mut connection = Connection::open(self.port);
                    let own =
                        open_loop(start, inserts as f64, next, stop, &mut |_| self.insert(&mut connection));
                    acknowledged.lock().unwrap().extend(own);
                });
            }
            if checkpoint {
                let request = request("POST", &format!("{}/checkpoint", self.name), "");
                let (status, body) = Connection::open(self.port).send(&request).unwrap();
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
                *took.lock().unwrap() = Some(start.elapsed());
            } else {
                std::thread::sleep(time);
            }
            stop.store(true, Relaxed);
        });
        let (mut latencies, mut acknowledged) =
            (latencies.into_inner().unwrap(), acknowledged.into_inner().unwrap());
        let p99 = percentile(&mut latencies, 0.99);
        let [p50, p95] = [0.5, 0.95].map(|share| percentile(&mut latencies, share));
        print!("{name}: searches p50 {p50} us, p95 {p95} us, p99 {p99} us");
        if !acknowledged.is_empty() {
            let [p50, p99] = [0.5, 0.99].map(|share| percentile(&mut acknowledged, share));
            print!("; inserts acknowledged p50 {p50} us, p99 {p99} us");
        }
        if let Some(took) = took.into_inner().unwrap() {
            print!("; the checkpoint took {:.1} s", took.as_secs_f64());
        }
        println!();
        f64::from(p99)
    }

    fn insert(&self, connection: &mut Connection) {
        let at = self.inserted.fetch_add(1, Relaxed);
        let (a, b) =
            (&self.vectors[at % self.vectors.len()], &self.vectors[(at * 13 + 5) % self.vectors.len()]);
        // Whole numbers stay whole, so that integer elements take them.
        let vector: Vec<f32> =
            a.iter().zip(b).enumerate().map(|(at, (a, b))| if at % 2 == 0 { *a } else { *b }).collect();
        let (status, body) = connection.send(&upsert(self.name, &[(format!("new-{at}"), &vector)])).unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    }
}

/// Calls `send` at a rate shared by all threads that share `next`, until told to stop; the microseconds from when each was
/// due to its end.
fn open_loop(
    start: Instant,
    rate: f64,
    next: &AtomicUsize,
    stop: &AtomicBool,
    send: &mut dyn FnMut(usize),
) -> Vec<u32> {
    // Sleeps end when they are due, not up to 50 us later.
    rustix::thread::set_current_timer_slack(1.try_into().ok()).unwrap();
    let mut latencies = Vec::new();
    while !stop.load(Relaxed) {
        let at = next.fetch_add(1, Relaxed);
        let due = start + Duration::from_secs_f64(at as f64 / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        send(at);
        latencies.push(due.elapsed().as_micros() as u32);
    }
    latencies
}
