//! Calls of the system that fail: the Nth of a kind in every thread, for every N until none is reached, in a server that
//! writes and makes checkpoints, and in one that starts.
//!
//! Whatever fails: what was acknowledged is kept, searches go on, nothing panics, a write is answered with what is
//! known of it, and the next start is clean. A call on something that is not a file of the data directory (a wake-up
//! between threads, a library) may end the server, but loses nothing either.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::check::{Verdict, difference};
use crate::crowd::create;
use crate::house::{Server, can_trace, serve};
use crate::writer::{Step, Writer};
use crate::{is_long, take_turn};

/// How long an end may take.
const PATIENCE: Duration = Duration::from_secs(600);
const WRITERS: u64 = 8;
const LOG: &str = "live/log";
/// More than a run and its template write.
const RECORDS: u64 = 99;

/// Which calls fail, and how.
#[derive(Debug, Clone, Copy)]
struct Fault {
    call: &'static str,
    /// Only on this file of the data directory, or on the segments in `LOG`; `write` elsewhere wakes threads of the reactor.
    file: Option<&'static str>,
    error: &'static str,
    nth: u32,
    /// Whether those after it fail too.
    from_then_on: bool,
}

impl Fault {
    /// The tracer's arguments; it writes what it sees to `trace`.
    fn arguments(&self, data: &Path, trace: &Path) -> Vec<String> {
        let Fault { call, error, nth, .. } = self;
        let more = if self.from_then_on { "+" } else { "" };
        let inject = format!("inject={call}:error={error}:when={nth}{more}");
        let trace = trace.display().to_string();
        let what = format!("trace={call}");
        let mut arguments =
            ["-f", "-y", "-q", "-e", &what, "-e", &inject, "-o", &trace].map(String::from).to_vec();
        let files = match self.file {
            None => Vec::new(),
            // A segment is named after its first record; a start and a checkpoint begin a new one.
            Some(LOG) => (1..=RECORDS).map(|seq| format!("{LOG}/log-{seq:020}.slog")).collect(),
            Some(file) => vec![file.to_owned()],
        };
        for file in files {
            arguments.extend(["-P".to_owned(), data.join(file).display().to_string()]);
        }
        arguments
    }
}

/// What a run has shown.
#[derive(Debug, Default, Clone)]
struct Seen {
    /// Calls that failed.
    hits: usize,
    /// Those of them that had nothing to do with the data directory.
    foreign: usize,
    acknowledged: usize,
    no_space: usize,
    unknown: usize,
    closed: usize,
    /// Checkpoints that were refused.
    checkpoints: usize,
    /// Whether the server ended, or did not start.
    ended: usize,
}

impl Seen {
    fn add(&mut self, other: &Seen) {
        self.hits += other.hits;
        self.foreign += other.foreign;
        self.acknowledged += other.acknowledged;
        self.no_space += other.no_space;
        self.unknown += other.unknown;
        self.closed += other.closed;
        self.checkpoints += other.checkpoints;
        self.ended += other.ended;
    }

    fn count(&mut self, step: &Step) {
        match step {
            Step::Acknowledged => self.acknowledged += 1,
            Step::Refused(503) => self.closed += 1,
            Step::Refused(_) => self.no_space += 1,
            Step::Open => self.unknown += 1,
            Step::Strange(_) => {}
        }
    }
}

/// A data directory with a checkpoint, a log behind it, and what a crash may have left; and what was promised in it.
fn template(data: &Path) -> Vec<Writer> {
    let mut writers: Vec<Writer> = (0..WRITERS).map(Writer::new).collect();
    let server = Server::start(data);
    let client = server.client();
    create(&client);
    let write = |writers: &mut Vec<Writer>| {
        writers.iter_mut().for_each(|writer| assert_eq!(writer.step(&client), Step::Acknowledged));
    };
    write(&mut writers);
    assert_eq!(client.post("/checkpoint", &json!({})).unwrap().0, 200);
    write(&mut writers);
    drop(server);
    std::fs::write(data.join("live/manifest.json.tmp"), "left by a crash").unwrap();
    writers
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.as_ref().unwrap(), to.join(entry.as_ref().unwrap().file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Lets calls of a running server fail from now on.
fn attach(server: &Server, fault: &Fault, data: &Path, trace: &Path) -> Child {
    let mut strace = Command::new("strace");
    strace.args(fault.arguments(data, trace)).args(["-p", &server.process().to_string()]);
    let child = strace.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let since = Instant::now();
    while !is_traced(server.process()) {
        assert!(since.elapsed() < PATIENCE, "the tracer does not attach");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

fn is_traced(process: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let mut status = tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("status")));
    status.all(|status| status.is_ok_and(|status| !status.contains("TracerPid:\t0\n")))
}

/// Writes, checkpoints and searches while calls fail.
fn work(server: &Server, writers: &mut [Writer], seen: &mut Seen) -> Result<(), String> {
    let client = server.client();
    for at in 0..3 * writers.len() {
        let writer = &mut writers[at % WRITERS as usize];
        if writer.open.is_none() {
            let step = writer.step(&client);
            seen.count(&step);
            if let Step::Strange(answer) = step {
                return Err(format!("{} was answered {answer}", writer.name));
            }
        }
        if at % 7 == 5 {
            match client.post("/checkpoint", &json!({})) {
                Ok((200, _)) => {}
                Ok((500 | 503 | 507, _)) => seen.checkpoints += 1,
                answer => return Err(format!("a checkpoint was answered {answer:?}")),
            }
        }
        if at % 5 == 4
            && let Some(difference) = difference(&client, writers)
        {
            return Err(difference);
        }
    }
    Ok(())
}

/// A file that cannot be read when it is verified is damaged: its searches are refused, and say so.
fn is_damage_told(worked: &Result<(), String>, fault: &Fault) -> bool {
    fault.call == "pread64" && worked.as_ref().is_err_and(|text| text.contains("/problems/damaged"))
}

/// What was promised is there at a start without faults, and writing goes on.
fn check_again(data: &Path, writers: &mut [Writer], fault: &Fault) {
    let server = Server::start(data);
    let mut verdict = Verdict::default();
    verdict.check(&server.client(), writers);
    assert_eq!((verdict.lost, verdict.phantoms, verdict.half), (0, 0, 0), "{fault:?}: {:#?}", verdict.faults);
    for writer in writers {
        assert_eq!(writer.step(&server.client()), Step::Acknowledged, "{fault:?}");
        assert!(writer.surprises.is_empty(), "{fault:?}: {:?}", writer.surprises);
    }
}

/// Counts what failed.
fn read_trace(trace: &Path, data: &Path, seen: &mut Seen) {
    let text = std::fs::read_to_string(trace).unwrap_or_default();
    let hits: Vec<&str> = text.lines().filter(|line| line.contains("(INJECTED)")).collect();
    let ours = data.to_str().unwrap();
    seen.hits = hits.len();
    seen.foreign = hits.iter().filter(|line| !line.contains(ours)).count();
}

/// A server at work, one fault.
fn run_working(template: &Path, promised: &[Writer], fault: &Fault) -> Seen {
    let (home, mut seen) = (tempfile::tempdir().unwrap(), Seen::default());
    let (data, trace) = (home.path().join("data"), home.path().join("trace.txt"));
    copy(template, &data);
    let mut writers = promised.to_vec();
    let mut server = Server::start(&data);
    let mut tracer = attach(&server, fault, &data, &trace);
    let worked = work(&server, &mut writers, &mut seen);
    server.terminate();
    let status = server.wait(PATIENCE);
    let panic = server.panic();
    server.kill();
    tracer.wait().unwrap();
    read_trace(&trace, &data, &mut seen);
    let is_well = status.is_some_and(|status| status.success());
    seen.ended = usize::from(!is_well);
    if seen.foreign == 0 {
        let text = std::fs::read_to_string(&trace).unwrap_or_default();
        assert!(worked.is_ok() || is_damage_told(&worked, fault), "{fault:?}: {worked:?}: {text}");
        assert_eq!(panic, None, "{fault:?}: {text}");
        assert!(is_well, "{fault:?}: the server ended with {status:?}: {text}");
        if fault.error == "ENOSPC" {
            assert_eq!((seen.unknown, seen.closed), (0, 0), "{fault:?}: a full disk is 507: {text}");
        }
    }
    // Whoever had no answer has a batch in the open.
    check_again(&data, &mut writers, fault);
    seen
}

/// A server that starts, one fault.
fn run_starting(template: &Path, promised: &[Writer], fault: &Fault) -> Seen {
    let (home, mut seen) = (tempfile::tempdir().unwrap(), Seen::default());
    let (data, trace) = (home.path().join("data"), home.path().join("trace.txt"));
    copy(template, &data);
    let mut writers = promised.to_vec();
    let plain = serve(&data);
    let mut command = Command::new("strace");
    command.args(fault.arguments(&data, &trace)).arg(plain.get_program()).args(plain.get_args());
    for (name, _) in plain.get_envs() {
        command.env_remove(name);
    }
    match Server::try_start(&mut command, &data) {
        Ok(server) => {
            let worked = work(&server, &mut writers, &mut seen);
            let panic = server.panic();
            drop(server);
            read_trace(&trace, &data, &mut seen);
            if seen.foreign == 0 {
                assert!(worked.is_ok() || is_damage_told(&worked, fault), "{fault:?}: {worked:?}");
                assert_eq!(panic, None, "{fault:?}");
            }
        }
        Err(text) => {
            read_trace(&trace, &data, &mut seen);
            seen.ended = 1;
            assert!(seen.hits > 0, "{fault:?}: {text}");
            assert!(seen.foreign > 0 || !text.contains("panicked"), "{fault:?}: {text}");
        }
    }
    check_again(&data, &mut writers, fault);
    seen
}

/// A kind of call; on one file, or on any.
type Call = (&'static str, Option<&'static str>);

const MANIFEST: Option<&str> = Some("live/manifest.json.tmp");

type Run = fn(&Path, &[Writer], &Fault) -> Seen;

/// Every N until no thread comes so far; at most `most`.
fn sweep(run: Run, calls: &[Call], most: u32) {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("template");
    std::fs::create_dir(&data).unwrap();
    let promised = template(&data);
    let mut all = Seen::default();
    for &(call, file) in calls {
        for (error, from_then_on) in [("EIO", false), ("ENOSPC", false), ("EIO", true)] {
            let on = file.map_or(String::new(), |file| format!(" of {file}"));
            let name = format!("{call}{on}, {error}{}", if from_then_on { " from then on" } else { "" });
            let (mut runs, mut total) = (0, Seen::default());
            for nth in 1..=most {
                let seen = run(&data, &promised, &Fault { call, file, error, nth, from_then_on });
                if seen.hits == 0 {
                    break;
                }
                runs += 1;
                total.add(&seen);
            }
            println!("{name}: {runs} runs, {total:?}");
            assert!(file.is_none() || runs > 0, "{name}: there is no such call");
            all.add(&total);
        }
    }
    println!("all: {all:?}");
    assert!(all.hits > all.foreign, "no call of ours failed");
}

#[test]
fn calls_may_fail_while_a_server_writes() {
    let _turn = take_turn();
    if !can_trace() {
        return;
    }
    let short = [("write", Some(LOG)), ("fdatasync", None), ("rename", None)];
    let long = [
        "fdatasync",
        "fsync",
        "openat",
        "rename",
        "unlink",
        "ftruncate",
        "fallocate",
        "pwrite64",
        "pread64",
        "read",
        "mmap",
        "mkdir",
        "fchmod",
        "flock",
        "statx",
        "newfstatat",
        "getdents64",
        "lseek",
    ]
    .into_iter()
    .map(|call| (call, None));
    let long: Vec<Call> = [("write", Some(LOG)), ("write", MANIFEST)].into_iter().chain(long).collect();
    if is_long() { sweep(run_working, &long, 60) } else { sweep(run_working, &short, 1) }
}

#[test]
fn calls_may_fail_while_a_server_starts() {
    let _turn = take_turn();
    if !can_trace() {
        return;
    }
    let short = [("fdatasync", None)];
    let long: Vec<Call> = [
        "fdatasync",
        "fsync",
        "openat",
        "unlink",
        "ftruncate",
        "pread64",
        "read",
        "mmap",
        "mkdir",
        "flock",
        "statx",
        "newfstatat",
        "getdents64",
    ]
    .into_iter()
    .map(|call| (call, None))
    .chain([("write", Some(LOG)), ("write", Some("serve.lock"))])
    .collect();
    if is_long() { sweep(run_starting, &long, 60) } else { sweep(run_starting, &short, 1) }
}

#[test]
fn a_start_that_gets_no_threads_ends_with_a_word() {
    let _turn = take_turn();
    if !can_trace() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (template_dir, call, error) = (home.path().join("template"), "clone,clone3", "EAGAIN");
    std::fs::create_dir(&template_dir).unwrap();
    let writers = template(&template_dir);
    for nth in 1.. {
        let (data, trace) = (home.path().join(format!("data-{nth}")), home.path().join("trace.txt"));
        copy(&template_dir, &data);
        let (fault, plain) = (Fault { call, file: None, error, nth, from_then_on: true }, serve(&data));
        let mut command = Command::new("strace");
        command.args(fault.arguments(&data, &trace)).arg(plain.get_program()).args(plain.get_args());
        let started = Server::try_start(&mut command, &data);
        let is_whole = !std::fs::read_to_string(&trace).unwrap().contains("(INJECTED)");
        match started {
            Ok(server) => assert_eq!(server.panic(), None, "{fault:?}"),
            Err(text) => assert!(text.contains("error: ") && !text.contains("panicked"), "{fault:?}: {text}"),
        }
        check_again(&data, &mut writers.clone(), &fault);
        if is_whole {
            assert!(nth > 2, "no thread failed to start");
            break;
        }
    }
}
