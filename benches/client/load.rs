//! The load generator: so many connections, each sending its next request when the last was answered, in a process of its
//! own. It knows nothing of what it sends: a file holds whole HTTP requests, each behind its length (u32, little-endian).
//!
//! One thread asks all connections in turn and never sleeps: to wake a sleeping client would be the server's work, which a
//! client on another machine does not cause.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{cpu, percentile};

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
    let connections =
        (0..connections.parse().unwrap()).map(|_| Client::open(port.parse().unwrap())).collect();
    let seconds = Duration::from_secs(seconds.parse().unwrap());
    println!("{}", run(connections, &requests, seconds, process.first().map_or("none", String::as_str)));
}

fn run(mut clients: Vec<Client>, requests: &[Vec<u8>], time: Duration, server: &str) -> Value {
    let mut next = requests.iter().cycle();
    clients.iter_mut().for_each(|client| client.send(next.next().unwrap()));
    exchange(&mut clients, &mut next, WARM_UP);
    let (before, start) = (cpu::of_process(server), Instant::now());
    let mut latencies = exchange(&mut clients, &mut next, time);
    let (used, elapsed) = (cpu::of_process(server) - before, start.elapsed());
    json!({
        "answers": latencies.len(), "errors": clients.iter().filter(|client| client.failed).count(),
        "p50_us": percentile(&mut latencies, 0.5), "p99_us": percentile(&mut latencies, 0.99),
        "seconds": elapsed.as_secs_f64(), "server_cpu": used.as_secs_f64(),
    })
}

/// Sends and receives for a time; microseconds of each answer.
fn exchange<'a>(
    clients: &mut [Client],
    next: &mut impl Iterator<Item = &'a Vec<u8>>,
    time: Duration,
) -> Vec<u32> {
    let (start, mut latencies) = (Instant::now(), Vec::new());
    while start.elapsed() < time {
        for client in clients.iter_mut().filter(|client| !client.failed) {
            if client.receive() {
                latencies.push(client.sent.elapsed().as_micros() as u32);
                client.send(next.next().unwrap());
            }
        }
    }
    latencies
}

/// One connection, which waits for an answer.
struct Client {
    stream: TcpStream,
    sent: Instant,
    /// What has come of the answer.
    answer: Vec<u8>,
    /// Bytes of the whole answer, when its head has come.
    length: Option<usize>,
    buffer: Vec<u8>,
    failed: bool,
}

impl Client {
    fn open(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        let (answer, buffer) = (Vec::new(), vec![0; 1 << 16]);
        Client { stream, sent: Instant::now(), answer, length: None, buffer, failed: false }
    }

    fn send(&mut self, request: &[u8]) {
        self.sent = Instant::now();
        let mut rest = request;
        while !rest.is_empty() && !self.failed {
            match self.stream.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) => self.failed = error.kind() != io::ErrorKind::WouldBlock,
            }
        }
    }

    /// Takes what has come; whether the answer is whole. One that is not 200 ends the connection.
    fn receive(&mut self) -> bool {
        match self.stream.read(&mut self.buffer) {
            Ok(0) => self.failed = true,
            Ok(count) => self.answer.extend_from_slice(&self.buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(_) => self.failed = true,
        }
        self.length = self.length.or_else(|| whole_length(&self.answer));
        self.failed |= self.length.is_some() && !self.answer.starts_with(b"HTTP/1.1 200 ");
        if self.failed || self.length.is_none_or(|length| self.answer.len() < length) {
            return false;
        }
        self.answer.clear();
        self.length = None;
        true
    }
}

/// Bytes of head and body, when the head has come.
fn whole_length(answer: &[u8]) -> Option<usize> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).expect("a head is text").to_ascii_lowercase();
    let value = head.split("content-length:").nth(1).expect("answers say how long they are");
    Some(end + value.lines().next()?.trim().parse::<usize>().expect("a number"))
}
