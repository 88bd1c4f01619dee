//! The load generator: so many connections, each sending its next request when the last was answered, in a process of its
//! own. It knows nothing of what it sends: a file holds whole HTTP requests, each behind its length (u32, little-endian).

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Connection, cpu, percentile};

/// Sent before the clock starts.
const WARM_UP: Duration = Duration::from_secs(1);

/// Writes requests where [`main`] reads them.
pub fn write(file: &Path, requests: &[Vec<u8>]) -> io::Result<()> {
    let framed = requests.iter().map(|request| [&(request.len() as u32).to_le_bytes()[..], request].concat());
    std::fs::write(file, framed.collect::<Vec<_>>().concat())
}

fn read(file: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(file).expect("the file of requests");
    let (mut rest, mut requests) = (&bytes[..], Vec::new());
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let (request, more) = more.split_at(u32::from_le_bytes(*length) as usize);
        requests.push(request.to_vec());
        rest = more;
    }
    requests
}

/// `load PORT CONNECTIONS SECONDS FILE [PROCESS]`: prints what came of it as JSON, with the CPU time that PROCESS used meanwhile.
pub fn main(arguments: &[String]) {
    let [port, connections, seconds, file, process @ ..] = arguments else {
        panic!("load PORT CONNECTIONS SECONDS FILE [PROCESS]");
    };
    let requests = read(Path::new(file));
    let (port, connections) = (port.parse().unwrap(), connections.parse().unwrap());
    let seconds = Duration::from_secs(seconds.parse().unwrap());
    let server = process.first().map_or("none", String::as_str);
    println!("{}", run(port, &requests, connections, seconds, server));
}

/// What the connections share.
#[derive(Default)]
struct Progress {
    next: AtomicUsize,
    errors: AtomicUsize,
    timed: AtomicBool,
    stop: AtomicBool,
}

fn run(port: u16, requests: &[Vec<u8>], connections: usize, time: Duration, server: &str) -> Value {
    let progress = Progress::default();
    let used = || [cpu::of_process(server), cpu::of_process("self")];
    std::thread::scope(|scope| {
        let client = || client(port, requests, &progress);
        let running: Vec<_> = (0..connections).map(|_| scope.spawn(client)).collect();
        std::thread::sleep(WARM_UP);
        let (before, start) = (used(), Instant::now());
        progress.timed.store(true, Relaxed);
        std::thread::sleep(time);
        progress.timed.store(false, Relaxed);
        let (after, elapsed) = (used(), start.elapsed().as_secs_f64());
        progress.stop.store(true, Relaxed);
        let mut latencies: Vec<u32> =
            running.into_iter().flat_map(|client| client.join().expect("no panic")).collect();
        let cpu = |at: usize| (after[at] - before[at]).as_secs_f64();
        json!({
            "answers": latencies.len(), "errors": progress.errors.load(Relaxed), "seconds": elapsed,
            "p50_us": percentile(&mut latencies, 0.5), "p99_us": percentile(&mut latencies, 0.99),
            "server_cpu": cpu(0), "client_cpu": cpu(1),
        })
    })
}

/// Sends until it is told to stop, or an answer is not what it should be; microseconds of each answer of the timed part.
fn client(port: u16, requests: &[Vec<u8>], progress: &Progress) -> Vec<u32> {
    let (mut latencies, mut body) = (Vec::new(), Vec::new());
    let mut connection = Connection::open(port);
    while !progress.stop.load(Relaxed) {
        let request = &requests[progress.next.fetch_add(1, Relaxed) % requests.len()];
        let begun = Instant::now();
        let status = connection.send_into(request, &mut body);
        if status != Some(200) || body.is_empty() {
            progress.errors.fetch_add(1, Relaxed);
            break;
        }
        if progress.timed.load(Relaxed) {
            latencies.push(begun.elapsed().as_micros() as u32);
        }
    }
    latencies
}
