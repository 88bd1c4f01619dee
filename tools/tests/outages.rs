//! `batch` against a server that fails: what is a refusal of the query, and what says nothing about it.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use common::{Ran, Shop, shortlist};
use serde_json::{Value, json};

/// Status, content type and body.
type Answer = (u16, &'static str, String);
/// By the item asked for and the number of the search.
type Answers = fn(&str, usize) -> Answer;

const PROBLEM: &str = "application/problem+json";
const PAGE: &str = "text/html";

/// A server whose searches are answered by a function of the item asked for and the number of the search.
struct Fake {
    url: String,
    searches: Arc<AtomicUsize>,
    answer: Arc<Mutex<Answers>>,
}

impl Fake {
    fn start(answer: Answers) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/shop", listener.local_addr().expect("address"));
        let fake = Fake { url, searches: Arc::default(), answer: Arc::new(Mutex::new(answer)) };
        let (searches, answer) = (Arc::clone(&fake.searches), Arc::clone(&fake.answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let answer = *answer.lock().expect("not poisoned");
                // A client that goes away is no matter.
                let _ = stream.and_then(|stream| one(stream, &searches, answer));
            }
        });
        fake
    }

    fn turn(&self, answer: Answers) {
        *self.answer.lock().expect("not poisoned") = answer;
    }
}

fn one(mut stream: TcpStream, searches: &AtomicUsize, answer: Answers) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, media, text) = if first.starts_with("GET") {
        (200, "application/json", json!({"schema": {"attributes": {}}}).to_string())
    } else {
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        answer(body["query"]["item"].as_str().unwrap_or(""), searches.fetch_add(1, SeqCst))
    };
    let length = text.len();
    write!(
        stream,
        "HTTP/1.1 {status} x\r\ncontent-type: {media}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
    )
}

fn found(item: &str) -> Answer {
    let found = json!({"results": [{"id": item, "score": 1.0, "similarity": 1.0}]});
    (200, "application/json", found.to_string())
}

fn problem(status: u16, kind: &str) -> Answer {
    let problem = json!({"type": format!("/problems/{kind}"), "status": status, "detail": "because"});
    (status, PROBLEM, problem.to_string())
}

fn batch(shop: &Shop, fake: &Fake, more: &[&str]) -> Ran {
    let line = |item: &str| format!("{}\n", json!({"id": item, "query": {"item": item}}));
    let queries = shop.arg("queries.jsonl");
    if !shop.path("queries.jsonl").exists() {
        shop.write("queries.jsonl", ["a", "bad", "c"].map(line).concat());
    }
    let out = shop.arg("out.jsonl");
    let args = [
        "batch",
        &fake.url,
        "--queries",
        &queries,
        "--out",
        &out,
        "--part",
        "1",
        "--keep-going",
        "--threads",
        "1",
    ];
    shortlist(args.iter().chain(more))
}

fn rows(shop: &Shop) -> Vec<Value> {
    let text = std::fs::read_to_string(shop.path("out.jsonl")).expect("written");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_short_outage_is_waited_for_and_a_refusal_is_a_row() {
    let shop = Shop::new();
    let fake = Fake::start(|item, number| match (item, number) {
        (_, 0) => (502, PAGE, "<html>Bad Gateway</html>".to_owned()),
        (_, 1) => problem(503, "overloaded"),
        (_, 2) => (404, PAGE, "<html>no such host</html>".to_owned()),
        (_, 3) => (200, PAGE, "<html>soon back</html>".to_owned()),
        ("bad", _) => problem(404, "unknown-item"),
        _ => found(item),
    });
    let report = batch(&shop, &fake, &["--json"]).json();
    assert_eq!((&report["queries"], &report["refused"]), (&json!(3), &json!(1)));
    let rows = rows(&shop);
    assert_eq!(rows[0]["items"][0]["id"], "a");
    assert!(rows[1]["error"].as_str().expect("an error").contains("because (404)"), "{}", rows[1]);
    assert_eq!(rows[2]["items"][0]["id"], "c");
    assert_eq!(fake.searches.load(SeqCst), 4 + 3);
}

#[test]
fn a_long_outage_stops_the_run_which_goes_on_later() {
    for bad in [
        (|_, _| (502, PAGE, "<html>Bad Gateway</html>".to_owned())) as Answers,
        |_, _| (403, PAGE, "<html>blocked</html>".to_owned()),
        |_, _| (400, "application/json", "{}".to_owned()),
        |_, _| problem(429, "busy"),
        |_, _| problem(500, "internal"),
    ] {
        let shop = Shop::new();
        let fake = Fake::start(|item, _| found(item));
        // The first part is there; the second meets the outage.
        fake.turn(|item, number| if number == 0 { found(item) } else { (503, PAGE, String::new()) });
        batch(&shop, &fake, &["--patience", "0s"]).failure(&[
            "line 2",
            "503",
            "--patience",
            "goes on from here",
        ]);
        fake.turn(bad);
        batch(&shop, &fake, &["--patience", "1s"]).failure(&["line 2", "goes on from here"]);
        assert!(fake.searches.load(SeqCst) > 3, "it was asked again");
        assert!(!shop.path("out.jsonl").exists());
        fake.turn(|item, _| found(item));
        let report = batch(&shop, &fake, &["--json"]).json();
        assert_eq!((&report["resumed"], &report["refused"]), (&json!(1), &json!(0)));
        assert_eq!(rows(&shop).len(), 3);
    }
}

#[test]
fn a_caller_who_may_not_ask_stops_at_once() {
    for answer in [
        (|_, _| problem(401, "unauthorized")) as Answers,
        |_, _| problem(403, "forbidden"),
        |_, _| problem(404, "unknown-collection"),
    ] {
        let shop = Shop::new();
        let fake = Fake::start(answer);
        batch(&shop, &fake, &[]).failure(&["line 1", "because"]);
        assert_eq!(fake.searches.load(SeqCst), 1);
    }
}
