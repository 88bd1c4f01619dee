//! What the HTTP benchmarks share: the program as a child process, plain connections, and who used how much CPU.

#![allow(dead_code, reason = "each benchmark uses a part")]

pub mod cpu;
pub mod load;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;

/// `shortlist serve` over a data directory, by the program of this checkout or by `SHORTLIST_PROGRAM`; killed when dropped.
pub struct Server {
    child: Child,
    pub port: u16,
}

impl Server {
    pub fn start(directory: &str) -> Server {
        Server::start_by(|program| Command::new(program), directory)
    }

    /// A server whose threads all stay on one core.
    pub fn start_on(core: usize, directory: &str) -> Server {
        Server::start_by(|program| cpu::on(core, program), directory)
    }

    fn start_by(command: impl FnOnce(&Path) -> Command, directory: &str) -> Server {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release/shortlist");
        let program = std::env::var_os("SHORTLIST_PROGRAM").map_or(built, PathBuf::from);
        let listen = format!("127.0.0.1:{port}");
        let child = command(&program)
            .args(["serve", "--data", directory, "--listen", &listen])
            .env("RUST_LOG", "warn")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("build the program first: cargo build --release");
        let server = Server { child, port };
        for _ in 0..6_000 {
            if is_ready(&listen) {
                return server;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the server on {listen} was not ready within 10 minutes");
    }

    /// User and system time so far, in seconds.
    pub fn cpu(&self) -> f64 {
        cpu_seconds(&self.child.id().to_string())
    }

    /// The number of its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Megabytes of memory of its own.
    pub fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0 / 1e6
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn is_ready(address: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut status = [0; 12];
    asked.and_then(|()| stream.read_exact(&mut status)).is_ok() && &status == b"HTTP/1.1 200"
}

/// User and system time of this process so far, in seconds.
pub fn own_cpu() -> f64 {
    cpu_seconds("self")
}

fn cpu_seconds(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// One connection that stays open.
pub struct Connection {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Connection {
    pub fn open(port: u16) -> Connection {
        let writer = TcpStream::connect(("127.0.0.1", port)).unwrap();
        writer.set_nodelay(true).unwrap();
        Connection { reader: BufReader::new(writer.try_clone().unwrap()), writer }
    }

    /// Sends a whole request; the status and the body of the answer, or None when the connection broke.
    pub fn send(&mut self, request: &[u8]) -> Option<(u16, Vec<u8>)> {
        self.writer.write_all(request).ok()?;
        let (mut line, mut length, mut status) = (String::new(), 0, 0);
        loop {
            line.clear();
            if self.reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest.split_whitespace().next()?.parse().ok()?;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).ok()?;
        Some((status, body))
    }
}

/// A request with a JSON body.
pub fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} /v1/collections/{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A search by a vector.
pub fn search(name: &str, vector: &[f32], limit: usize) -> Vec<u8> {
    request("POST", &format!("{name}/search"), &search_body(vector, limit))
}

/// Searches by several vectors in one request.
pub fn batch(name: &str, vectors: &[Vec<f32>], limit: usize) -> Vec<u8> {
    let searches: Vec<String> = vectors.iter().map(|vector| search_body(vector, limit)).collect();
    let body = format!(r#"{{"searches":[{}]}}"#, searches.join(","));
    request("POST", &format!("{name}/search/batch"), &body)
}

fn search_body(vector: &[f32], limit: usize) -> String {
    format!(r#"{{"query":{{"vector_f32":"{}"}},"limit":{limit}}}"#, base64_of(vector))
}

/// Items to put, without attributes.
pub fn upsert(name: &str, items: &[(String, &[f32])]) -> Vec<u8> {
    let items: Vec<String> = items
        .iter()
        .map(|(id, vector)| {
            format!(r#"{{"id":{},"vector_f32":"{}"}}"#, serde_json::json!(id), base64_of(vector))
        })
        .collect();
    request("POST", &format!("{name}/items"), &format!(r#"{{"items":[{}]}}"#, items.join(",")))
}

pub fn base64_of(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The value below which a share of the values lies.
pub fn percentile(values: &mut [u32], share: f64) -> u32 {
    values.sort_unstable();
    values[((values.len() as f64 * share) as usize).min(values.len() - 1)]
}
