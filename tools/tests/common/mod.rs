//! Runs the program as a user would, over small files that are made here.
#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A directory with inputs, gone at the end.
pub struct Shop {
    pub dir: tempfile::TempDir,
}

/// What a run gave.
pub struct Ran {
    pub ok: bool,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Standard output of a run that must succeed.
    pub fn success(self) -> String {
        assert!(self.ok, "failed: {}{}", self.out, self.err);
        self.out
    }

    /// Its JSON.
    pub fn json(self) -> Value {
        serde_json::from_str(&self.success()).expect("JSON on standard output")
    }

    /// The error of a run that must fail, which has all these words and is no panic.
    pub fn failure(self, words: &[&str]) -> String {
        assert!(!self.ok, "should fail: {}", self.out);
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in the error: {}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self.err
    }
}

/// Runs `shortlist` with these arguments.
pub fn shortlist<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    let Output { status, stdout, stderr } = program().args(args).output().expect("the program starts");
    Ran { ok: status.success(), out: text(stdout), err: text(stderr) }
}

/// The program, to start in other ways.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shortlist"));
    command.env_remove("SHORTLIST_KEYS").env_remove("SHORTLIST_KEY").env_remove("RUST_LOG");
    command
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("UTF-8")
}

impl Shop {
    pub fn new() -> Self {
        Shop { dir: tempfile::tempdir().expect("directory") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The path as an argument.
    pub fn arg(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), content).expect("written");
        self.arg(name)
    }

    /// An .npy of f32 rows.
    pub fn npy(&self, name: &str, rows: &[Vec<f32>]) -> String {
        self.write(name, npy(rows))
    }

    /// Runs `build` with these arguments behind the usual ones: metric cosine, out shop.slx.
    pub fn build(&self, vectors: &str, items: Option<&str>, more: &[&str]) -> Ran {
        let out = self.arg("shop.slx");
        let mut args = vec!["build", "--vectors", vectors, "--out", &out];
        if !more.contains(&"--metric") {
            args.extend(["--metric", "cosine"]);
        }
        if let Some(items) = items {
            args.extend(["--items", items]);
        }
        args.extend(more);
        shortlist(args)
    }
}

/// Bytes of an .npy of f32 rows.
pub fn npy(rows: &[Vec<f32>]) -> Vec<u8> {
    let columns = rows.first().map_or(0, Vec::len);
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {columns}), }}", rows.len());
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(rows.iter().flatten().flat_map(|number| number.to_le_bytes()));
    bytes
}

/// Bytes of a .fbin or, of whole numbers, a .u8bin.
pub fn bin(rows: &[Vec<f32>], small: bool) -> Vec<u8> {
    let mut bytes = (rows.len() as u32).to_le_bytes().to_vec();
    bytes.extend((rows[0].len() as u32).to_le_bytes());
    for number in rows.iter().flatten() {
        if small { bytes.push(*number as u8) } else { bytes.extend(number.to_le_bytes()) }
    }
    bytes
}

/// `rows` vectors that are all different and the same in every run.
pub fn vectors(rows: usize, dimension: usize) -> Vec<Vec<f32>> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as f32
    };
    (0..rows).map(|_| (0..dimension).map(|_| next() + 1.0).collect()).collect()
}

/// Lines of items `item-0`, `item-1`, ...: section, price, code, and a day of 2026 for `added`.
pub fn jsonl(rows: usize) -> String {
    let line = |row: usize| {
        let section = ["games", "python", "mail"][row % 3];
        let day = row % 28 + 1;
        format!(
            "{{\"id\": \"item-{row}\", \"section\": \"{section}\", \"price\": {row}.5, \"code\": \"{row:05}\", \
             \"added\": \"2026-01-{day:02}T00:00:00Z\", \"tags\": [\"t{}\", \"all\"], \"new\": {}}}\n",
            row % 2,
            row.is_multiple_of(2)
        )
    };
    (0..rows).map(line).collect()
}

/// Reads a file.
pub fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("readable")
}

/// A server that is stopped when the test ends.
pub struct Server {
    child: Child,
    log: Option<std::thread::JoinHandle<Vec<u8>>>,
    pub address: String,
}

impl Server {
    pub fn start(data: &str) -> Server {
        let mut command = program();
        command.args(["serve", "--data", data, "--listen", "127.0.0.1:0"]).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        let mut lines = BufReader::new(child.stderr.take().expect("standard error"));
        let mut line = String::new();
        while !line.contains("listening on http://") {
            line.clear();
            assert_ne!(lines.read_line(&mut line).expect("a line"), 0, "the server ended");
        }
        let log = std::thread::spawn(move || {
            let mut rest = Vec::new();
            lines.read_to_end(&mut rest).expect("it reads");
            rest
        });
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(',').next()).expect("address");
        let server = Server { child, log: Some(log), address: address.to_owned() };
        while !server.is_ready() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        server
    }

    /// Stops it; what it told since it listened.
    pub fn stop(mut self) -> String {
        self.child.kill().expect("it runs");
        let log = self.log.take().expect("it was not stopped").join();
        String::from_utf8(log.expect("it read")).expect("UTF-8")
    }

    fn is_ready(&self) -> bool {
        let mut stream = std::net::TcpStream::connect(&self.address).expect("it listens");
        let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n");
        let mut status = [0; 12];
        asked.and_then(|()| stream.read_exact(&mut status)).is_ok() && &status == b"HTTP/1.1 200"
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
