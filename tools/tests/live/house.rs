//! The server as a process that is started, stopped and killed, and a client of one collection of it.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::program;

/// How long a start, an end or an answer may take before the test gives up. Long, since a shared machine may stop us for minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// `shortlist serve` over a data directory.
pub fn serve(data: &Path) -> Command {
    let mut command = program();
    // Lines without colours.
    command.env("NO_COLOR", "1").args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
    command
}

/// The same, killed when one of its threads asks for its `nth` sync; `trace` takes the list of syncs.
pub fn serve_until_sync(data: &Path, nth: u32, trace: &Path) -> Command {
    let serve = serve(data);
    let mut command = Command::new("strace");
    command.args(["-f", "-q", "-e", "trace=fdatasync,fsync", "-e"]);
    command.arg(format!("inject=fdatasync,fsync:signal=SIGKILL:when={nth}"));
    command.arg("-o").arg(trace).arg(serve.get_program()).args(serve.get_args());
    for (name, _) in serve.get_envs() {
        command.env_remove(name);
    }
    command
}

/// Whether processes can be traced here; says so if not.
pub fn can_trace() -> bool {
    let mut strace = Command::new("strace");
    let strace = strace.args(["-o", "/dev/null", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    let can = strace.status().is_ok_and(|status| status.success());
    if !can {
        println!("skipped: calls that fail or kill need strace, and the right to trace");
    }
    can
}

/// Kills the process group if what it gives is not dropped in time: a start that says nothing more.
fn watch(group: u32) -> Sender<()> {
    let (keep, dropped) = channel();
    std::thread::spawn(move || {
        if dropped.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            eprintln!("a server that neither listens nor ends is killed");
            send("KILL", &format!("-{group}"));
        }
    });
    keep
}

/// Sends a signal to a process, or to a group of them. A shell has its own `kill`, and a small machine may have no other.
fn send(signal: &str, to: &str) {
    let _ =
        Command::new("sh").args(["-c", &format!("kill -s {signal} -- {to}")]).stderr(Stdio::null()).status();
}

/// A server; killed, if it still runs, when this goes.
pub struct Server {
    /// The server, or the tracer that runs it.
    child: Child,
    /// The server's own number.
    process: u32,
    pub address: String,
    /// Lines of its log that are errors or panics.
    alarms: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts the program on a directory that must serve.
    pub fn start(data: &Path) -> Server {
        match Server::try_start(&mut serve(data), data) {
            Ok(server) => server,
            Err(text) => panic!("the server did not start: {text}"),
        }
    }

    /// Starts the program and waits until it is ready. If it ends before that, what it said.
    pub fn try_start(command: &mut Command, data: &Path) -> Result<Server, String> {
        let command =
            command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let (mut said, listens) = (String::new(), watch(child.id()));
        let address = loop {
            let Some(line) = lines.next() else {
                let status = child.wait().unwrap();
                return Err(format!("{status}\n{said}"));
            };
            if let Some((_, rest)) = line.split_once("listening on http://") {
                drop(listens);
                break rest.split(',').next().unwrap().to_owned();
            }
            said.push_str(&line);
            said.push('\n');
        };
        let is_alarm =
            |line: &String| ["ERROR", "panicked", "error: "].iter().any(|word| line.contains(word));
        let alarms = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&alarms);
        let reading = std::thread::spawn(move || {
            lines.filter(is_alarm).for_each(|line| {
                eprintln!("server: {line}");
                kept.lock().unwrap().push(line);
            });
        });
        let lock = std::fs::read_to_string(data.join("serve.lock")).unwrap();
        let mut server = Server { child, process: lock.trim().parse().unwrap(), address, alarms };
        match server.wait_until_ready() {
            Ok(()) => Ok(server),
            Err(text) => {
                reading.join().unwrap();
                Err(format!("{text}\n{}", server.alarms.lock().unwrap().join("\n")))
            }
        }
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let (client, since) = (self.client(), Instant::now());
        while !client.is_ready() {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Err(format!("{status}, before it was ready"));
            }
            assert!(since.elapsed() < PATIENCE, "the server does not become ready");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The server's own process number.
    pub fn process(&self) -> u32 {
        self.process
    }

    /// What it said when a thread of it panicked.
    pub fn panic(&self) -> Option<String> {
        self.alarms.lock().unwrap().iter().find(|line| line.contains("panicked")).cloned()
    }

    pub fn client(&self) -> Client {
        Client::new(&self.address)
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Asks it to end and waits until it has.
    pub fn stop(mut self) {
        self.terminate();
        let status = self.wait(PATIENCE).expect("the server ends when it is asked to");
        assert!(status.success(), "{status}");
    }

    /// Kills it (SIGKILL), unless it has ended already.
    pub fn kill(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            return;
        }
        if self.process == self.child.id() {
            let _ = self.child.kill();
        } else {
            // The tracer ends with what it traces; without it the server would run on.
            self.signal("KILL");
        }
        let _ = self.child.wait();
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let since = Instant::now();
        while since.elapsed() < patience {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        send(name, &self.process.to_string());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Status and JSON of an answer. An error is a broken connection: nobody knows what became of the request.
pub type Answer = Result<(u16, Value), String>;

/// One connection to a collection, `live` unless it is said.
pub struct Client {
    agent: ureq::Agent,
    server: String,
    collection: String,
}

impl Client {
    pub fn new(address: &str) -> Client {
        Client::of(address, "live")
    }

    pub fn of(address: &str, collection: &str) -> Client {
        let config = ureq::Agent::config_builder();
        let config = config.timeout_global(Some(PATIENCE)).http_status_as_error(false).proxy(None);
        let (server, collection) = (format!("http://{address}"), collection.to_owned());
        Client { agent: config.build().into(), server, collection }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v1/collections/{}{path}", self.server, self.collection)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.text(path).map(document)
    }

    /// Status and text of an answer, which need not be a document of JSON.
    pub fn text(&self, path: &str) -> Result<(u16, String), String> {
        read_text(self.agent.get(self.url(path)).call())
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        read(self.agent.put(self.url(path)).send_json(body))
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        read(self.agent.post(self.url(path)).send_json(body))
    }

    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        read(self.agent.patch(self.url(path)).send_json(body))
    }

    pub fn delete(&self, path: &str) -> Answer {
        read(self.agent.delete(self.url(path)).call())
    }

    fn is_ready(&self) -> bool {
        let answer = self.agent.get(format!("{}/readyz", self.server)).call();
        answer.is_ok_and(|answer| answer.status() == 200)
    }
}

type Response = Result<ureq::http::Response<ureq::Body>, ureq::Error>;

fn read(answer: Response) -> Answer {
    read_text(answer).map(document)
}

fn document((status, text): (u16, String)) -> (u16, Value) {
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

fn read_text(answer: Response) -> Result<(u16, String), String> {
    let mut answer = answer.map_err(|error| error.to_string())?;
    let text = answer.body_mut().with_config().limit(1 << 30).read_to_string();
    Ok((answer.status().as_u16(), text.map_err(|error| error.to_string())?))
}

/// The JSON of an answer that must be 200.
#[track_caller]
pub fn fine(answer: Answer) -> Value {
    let (status, document) = answer.unwrap();
    assert_eq!(status, 200, "{document}");
    document
}

/// The problem of an answer that must have this status and point there.
#[track_caller]
pub fn refused(answer: Answer, status: u16, pointer: &str) -> Value {
    let (given, problem) = answer.unwrap();
    assert_eq!((given, problem["pointer"].as_str().unwrap_or("")), (status, pointer), "{problem}");
    problem
}

/// The schema that all these tests use, but for the dimension.
pub fn schema(dimension: usize) -> Value {
    json!({"dimension": dimension, "metric": "l2", "attributes": {"n": "int", "batch": "keyword"}})
}
