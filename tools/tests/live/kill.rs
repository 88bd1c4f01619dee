//! Kills: what was answered is there afterwards, what nobody asked for is not, and no batch is there by half.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::check::Verdict;
use crate::crowd::{Crowd, create};
use crate::house::{Server, can_trace, fine, schema, serve_until_sync};
use crate::{Random, is_long, take_turn};

/// How long the sync that kills may take to come.
const SYNC_COMES: Duration = Duration::from_secs(600);

#[test]
fn kills_at_random_moments_lose_nothing() {
    let _turn = take_turn();
    let (kills, writers, searchers) = if is_long() { (200, 8, 4) } else { (5, 4, 2) };
    let data = tempfile::tempdir().unwrap();
    let (mut crowd, mut random) = (Crowd::new(writers, searchers), Random(7));
    let (mut verdict, mut recoveries) = (Verdict::default(), Vec::new());
    let mut server = Server::start(data.path());
    create(&server.client());
    let (mut newest, mut checkpoints) = (manifest(data.path()), 0);
    for kill in 0..kills {
        let work = Duration::from_millis(100 + random.below(1_400));
        // Every third server makes a checkpoint, every third has just been asked to end, which makes one too.
        let (in_a_checkpoint, in_its_end) = (kill % 3 == 1, kill % 3 == 2);
        // Short more often than not, but for a slow machine up to a second.
        let moment = Duration::from_millis(random.below(32).pow(2));
        let ending = AtomicBool::new(false);
        crowd.live(&mut server, &ending, |server| {
            std::thread::sleep(work);
            let client = server.client();
            std::thread::scope(|scope| {
                if in_a_checkpoint {
                    // Nobody waits for its answer.
                    scope.spawn(|| drop(client.post("/checkpoint", &json!({}))));
                    std::thread::sleep(moment);
                }
                ending.store(true, SeqCst);
                if in_its_end {
                    server.terminate();
                    std::thread::sleep(moment);
                }
                server.kill();
            });
        });
        let before = std::mem::replace(&mut newest, manifest(data.path()));
        checkpoints += usize::from(before != newest);
        let began = Instant::now();
        server = Server::start(data.path());
        recoveries.push(began.elapsed());
        verdict.check(&server.client(), &mut crowd.writers);
    }
    println!("{checkpoints} kills came behind a checkpoint, the others before one or in one");
    crowd.report(&format!("{kills} kills at random moments"), &verdict, &mut recoveries);
}

#[test]
fn kills_at_each_sync_lose_nothing() {
    let _turn = take_turn();
    if !can_trace() {
        return;
    }
    let last = if is_long() { 30 } else { 6 };
    let data = tempfile::tempdir().unwrap();
    let mut crowd = Crowd::new(2, 1);
    let (mut verdict, mut recoveries) = (Verdict::default(), Vec::new());
    let server = Server::start(data.path());
    create(&server.client());
    server.stop();
    for nth in 1..=last {
        let trace = data.path().join("trace.txt");
        match Server::try_start(&mut serve_until_sync(data.path(), nth, &trace), data.path()) {
            Ok(mut server) => {
                let mut has_ended = false;
                // The server ends when it likes: no break of a connection is a fault.
                crowd.live(&mut server, &AtomicBool::new(true), |server| {
                    has_ended = server.wait(SYNC_COMES).is_some();
                    server.kill();
                });
                assert!(has_ended, "no thread came to sync {nth}");
            }
            Err(text) => assert!(was_killed(&trace), "{text}"),
        }
        assert!(was_killed(&trace), "the server ended by itself before sync {nth}");
        let began = Instant::now();
        let mut server = Server::start(data.path());
        recoveries.push(began.elapsed());
        verdict.check(&server.client(), &mut crowd.writers);
        // The next one starts from a checkpoint, or from the log.
        if nth % 2 == 0 { server.stop() } else { server.kill() }
    }
    crowd.report(&format!("a kill at each of {last} syncs"), &verdict, &mut recoveries);
}

#[test]
fn a_collection_whose_making_was_killed_is_there_or_is_not() {
    let _turn = take_turn();
    if !can_trace() {
        return;
    }
    let last = if is_long() { 60 } else { 6 };
    for nth in 1..=last {
        let data = tempfile::tempdir().unwrap();
        let trace = data.path().join("trace.txt");
        let mut made = None;
        match Server::try_start(&mut serve_until_sync(data.path(), nth, &trace), data.path()) {
            Ok(server) => made = server.client().put("", &schema(2)).ok(),
            Err(text) => assert!(was_killed(&trace), "{text}"),
        }
        let server = Server::start(data.path());
        let client = server.client();
        let (before, document) = client.get("").unwrap();
        if let Some((status, answer)) = &made {
            assert_eq!((*status, before), (201, 200), "sync {nth}: answered {answer}, then {document}");
        }
        let (status, answer) = client.put("", &schema(2)).unwrap();
        let wanted = if before == 200 { 200 } else { 201 };
        assert_eq!(status, wanted, "sync {nth}: {document}, then {answer}");
        fine(client.post("/items", &json!({"items": [{"id": "a", "vector": [1, 2]}]})));
        assert_eq!(fine(client.get("/stats"))["items"], 1, "sync {nth}");
        if made.is_some() {
            println!("the making of a collection has fewer than {nth} syncs in a thread");
            return;
        }
    }
}

#[test]
fn a_change_of_the_schema_that_was_killed_is_made_or_is_not() {
    let _turn = take_turn();
    if !can_trace() {
        return;
    }
    let last = if is_long() { 60 } else { 8 };
    let change = json!({"attributes": {"aa": {"type": "int", "default": 5}, "zz": "keyword"}});
    let old = schema(2)["attributes"].clone();
    let new = json!({"aa": {"type": "int", "default": 5}, "batch": "keyword", "n": "int", "zz": "keyword"});
    let (mut made, mut not_made) = (0, 0);
    for nth in 1..=last {
        let data = tempfile::tempdir().unwrap();
        let server = Server::start(data.path());
        server.client().put("", &schema(2)).unwrap();
        let items: Vec<_> = (0..50)
            .map(|n| json!({"id": format!("i{n}"), "vector": [n, 1], "attributes": {"n": n}}))
            .collect();
        fine(server.client().post("/items", &json!({"items": items})));
        server.stop();
        let trace = data.path().join("trace.txt");
        let (mut answered, mut late) = (false, false);
        match Server::try_start(&mut serve_until_sync(data.path(), nth, &trace), data.path()) {
            Ok(server) => {
                let client = server.client();
                let item = json!({"items": [{"id": "late", "vector": [7, 7], "attributes": {"batch": "b"}}]});
                late = client.post("/items", &item).is_ok_and(|(status, _)| status == 200);
                answered = client.patch("", &change).is_ok_and(|(status, _)| status == 200);
            }
            Err(text) => assert!(was_killed(&trace), "{text}"),
        }
        let server = Server::start(data.path());
        let client = server.client();
        let attributes = fine(client.get(""))["schema"]["attributes"].clone();
        let is_made = attributes == new;
        assert!(is_made || attributes == old, "sync {nth}: {attributes}");
        assert!(is_made || !answered, "sync {nth}: an answered change is gone");
        if is_made {
            made += 1
        } else {
            not_made += 1
        }
        fine(client.patch("", &change));
        for n in 0..50 {
            let item = fine(client.get(&format!("/items/i{n}")));
            assert_eq!(item["attributes"], json!({"aa": 5, "n": n}), "sync {nth}");
        }
        let item = client.get("/items/late").unwrap();
        assert!(item.0 == 200 || !late, "sync {nth}: an answered put is gone");
        assert!(
            item.0 != 200 || item.1["attributes"] == json!({"aa": 5, "batch": "b"}),
            "sync {nth}: {}",
            item.1
        );
        if answered {
            println!("a start, a put and a change have fewer than {nth} syncs in a thread");
            break;
        }
    }
    println!("changes that were killed: {not_made} not made, {made} made");
    assert!(not_made > 0);
}

/// What names the newest checkpoint.
fn manifest(data: &Path) -> Vec<u8> {
    std::fs::read(data.join("live/manifest.json")).unwrap()
}

/// Whether that is how the traced server ended.
fn was_killed(trace: &Path) -> bool {
    let text = std::fs::read_to_string(trace).unwrap_or_default();
    text.contains("killed by SIGKILL")
}
