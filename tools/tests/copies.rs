//! Export, build, import, backup and restore by the program, against running servers.

#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

mod common;
#[allow(dead_code, reason = "a part is used")]
#[path = "live/house.rs"]
mod house;

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Ran, Shop, program, shortlist};
use flate2::read::MultiGzDecoder;
use house::{Client, Server, fine, schema};
use serde_json::{Value, json};

fn vector(n: u64) -> Value {
    (0..4).map(|at| ((n * 7 + at * 13) % 101) as f64 / 7.0).collect()
}

/// Writes of all kinds from `from` on, three records.
fn write(client: &Client, from: u64) {
    let item = |n: u64| {
        let mut item =
            json!({"id": format!("i{n}"), "vector": vector(n), "attributes": {"n": n, "batch": "b"}});
        match n % 4 {
            0 => item["version"] = json!(n + 5),
            1 => item["expires_at"] = json!("2099-01-01T00:00:00Z"),
            2 => item["inserted_at"] = json!("2001-01-01T00:00:00Z"),
            _ => {}
        }
        item
    };
    let items: Vec<Value> = (from..from + 100).map(item).collect();
    fine(client.post("/items", &json!({ "items": items })));
    let patches = json!([{"id": format!("i{from}"), "attributes": {"batch": null, "n": -1}}]);
    fine(client.patch("/items", &json!({ "items": patches })));
    fine(client.post("/items/delete", &json!({"ids": [format!("i{}", from + 4), format!("i{}", from + 5)]})));
}

struct Live {
    server: Server,
    client: Client,
    url: String,
}

fn live(data: &Path) -> Live {
    std::fs::create_dir_all(data).unwrap();
    let server = Server::start(data);
    let (client, url) = (server.client(), format!("http://{}/live", server.address));
    Live { server, client, url }
}

fn export(source: &str, out: &str) -> Ran {
    shortlist(["export", source, "--out", out])
}

/// The lines of an export between the first and the last, sorted, without the members that are not compared.
fn lines(file: &str, without: &[&str]) -> Vec<String> {
    let bytes = std::fs::read(file).unwrap();
    let mut text = String::new();
    match file.ends_with(".gz") {
        true => MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap(),
        false => (&bytes[..]).read_to_string(&mut text).unwrap(),
    };
    let all: Vec<&str> = text.lines().collect();
    let mut lines: Vec<String> = all[1..all.len() - 1]
        .iter()
        .map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            without.iter().for_each(|name| drop(line.as_object_mut().unwrap().remove(*name)));
            line.to_string()
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn an_export_is_built_published_and_catches_up() {
    let shop = Shop::new();
    let data = shop.path("data");
    let Live { server, client, url } = live(&data);
    assert_eq!(client.put("", &schema(4)).unwrap().0, 201);
    write(&client, 0);
    let old = shop.arg("old.jsonl.gz");
    let said = export(&url, &old).success();
    assert!(said.contains("98 items") && said.contains("sequence number 3"), "{said}");
    write(&client, 50);
    fine(client.post("/checkpoint", &json!({})));
    write(&client, 200);
    let before = shop.arg("before.jsonl");
    export(&url, &before).success();

    let build = fine(client.get(""))["build"].clone();
    let report = shortlist(["build", "--export", &old, "--out", &shop.arg("data/live"), "--json"]).json();
    assert_eq!(report["gate"]["items"], 98);
    let since = Instant::now();
    while fine(client.get(""))["build"] == build {
        assert!(since.elapsed() < Duration::from_secs(30), "the build is not taken up");
        std::thread::sleep(Duration::from_millis(50));
    }
    let after = shop.arg("after.jsonl");
    export(&url, &after).success();
    assert_eq!(lines(&after, &[]), lines(&before, &[]));
    write(&client, 300);
    server.stop();

    // The directory itself, when nobody serves it; and while somebody does.
    let direct = shop.arg("direct.jsonl");
    export(&shop.arg("data/live"), &direct).success();
    assert!(lines(&direct, &[]).len() > lines(&after, &[]).len());
    let _serving = Server::start(&data);
    export(&shop.arg("data/live"), &direct).failure(&["serve.lock", "another server"]);
    export(&shop.arg("data/nothing"), &direct).failure(&["data/nothing"]);
}

#[test]
fn a_build_of_files_takes_no_collection_that_was_written_to_for_its_own() {
    let shop = Shop::new();
    let live = live(&shop.path("data"));
    assert_eq!(live.client.put("", &schema(4)).unwrap().0, 201);
    let vectors = shop.npy("vectors.npy", &common::vectors(3, 4));
    let schema = shop.write("schema.json", schema(4).to_string());
    let (place, out) = (shop.path("data/live"), shop.arg("data/live"));
    let build = ["build", "--vectors", &vectors, "--schema", &schema, "--out", &out];
    let before = fine(live.client.get(""))["uuid"].clone();
    shortlist(build).success();
    let manifest: Value = serde_json::from_slice(&common::read(&place.join("manifest.json"))).unwrap();
    assert_eq!(manifest["collection"], before, "nothing was written: it stays the same collection");
    drop(live);

    let live = self::live(&shop.path("data"));
    let item = json!({"id": "a", "vector": [1, 0, 0, 0]});
    fine(live.client.post("/items", &json!({ "items": [item] })));
    shortlist(build).failure(&["was written to", "--collection-uuid"]);
    assert_eq!(fine(live.client.get(""))["items"], 4);
}

#[test]
fn a_log_that_is_cut_before_its_index_file_is_given_up_whole() {
    let shop = Shop::new();
    let (data, out) = (shop.path("data"), shop.arg("data/live"));
    let running = live(&data);
    assert_eq!(running.client.put("", &schema(4)).unwrap().0, 201);
    write(&running.client, 0);
    let old = shop.arg("old.jsonl");
    export(&running.url, &old).success();
    write(&running.client, 50);
    running.server.stop();
    let segment = &shortlist(["log", "inspect", "--json", &out]).json()[0];
    let file = segment["file"].as_str().unwrap();
    shortlist(["log", "truncate", &out, "--file", file, "--at", "100"]).success();

    let running = live(&data);
    assert_eq!(fine(running.client.get(""))["seq"], 6, "the index file has all of it");
    // The records after that export are in no log any more.
    shortlist(["build", "--export", &old, "--out", &out]).failure(&["begins with record 7", "export again"]);
    write(&running.client, 100);
    assert_eq!(fine(running.client.get(""))["seq"], 9);
    shortlist(["build", "--export", &old, "--out", &out]).failure(&["begins with record 7", "export again"]);
}

#[test]
fn an_import_of_an_export_gives_the_same_items() {
    let shop = Shop::new();
    let from = live(&shop.path("from"));
    assert_eq!(from.client.put("", &schema(4)).unwrap().0, 201);
    write(&from.client, 0);
    write(&from.client, 70);
    let file = shop.arg("items.jsonl.gz");
    export(&from.url, &file).success();
    let to = live(&shop.path("to"));
    shortlist(["import", &to.url, "--export", &file, "--batch", "7"]).success();
    let again = shop.arg("again.jsonl");
    export(&to.url, &again).success();
    // Versions of deleted items stay behind, and each collection counts by itself.
    let live_only = |file: &str| {
        let mut lines = lines(file, &["seq"]);
        lines.retain(|line| !line.contains("\"deleted\":"));
        lines
    };
    assert_eq!(live_only(&again), live_only(&file));
    assert_eq!(live_only(&again).len(), 166);
}

#[test]
fn files_that_do_not_pair_up_are_refused_before_anything_is_sent() {
    let shop = Shop::new();
    let live = live(&shop.path("data"));
    assert_eq!(live.client.put("", &schema(4)).unwrap().0, 201);
    let vectors = shop.npy("vectors.npy", &common::vectors(20, 4));
    let ids = |count: usize| (0..count).map(|n| format!("{{\"id\": \"i{n}\"}}\n")).collect::<String>();
    for count in [19, 21] {
        let items = shop.write("items.jsonl", ids(count));
        let import = ["import", &live.url, "--vectors", &vectors, "--items", &items, "--batch", "5"];
        shortlist(import).failure(&["20 vectors", &format!("{count} items")]);
    }
    let import = ["import", &live.url, "--vectors", &vectors, "--from", "20"];
    shortlist(import).failure(&["20 vectors", "--from is 20"]);
    assert_eq!(live.client.get("").unwrap().1["items"], 0);
    let items = shop.write("items.jsonl", ids(20));
    shortlist(["import", &live.url, "--vectors", &vectors, "--items", &items, "--batch", "7"]).success();
    assert_eq!(live.client.get("").unwrap().1["items"], 20);
}

#[test]
fn half_an_export_is_never_taken_for_a_whole_one() {
    let shop = Shop::new();
    let Live { server: _running, client, url } = live(&shop.path("data"));
    assert_eq!(client.put("", &schema(4)).unwrap().0, 201);
    write(&client, 0);
    let file = shop.arg("items.jsonl");
    export(&url, &file).success();
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let without = |place: usize| {
        let mut lines = lines.clone();
        lines.remove(place);
        lines.concat()
    };
    for (wrong, words) in [
        (without(lines.len() - 1), &["not whole"][..]),
        (without(5), &["blake3"]),
        (text.replacen("\"n\":7", "\"n\":8", 1), &["blake3"]),
        (text.clone() + "{}\n", &["more behind"]),
        (text[..text.len() - 1].to_owned(), &["not whole"]),
        (without(0), &["line 1", "first line of an export"]),
        (text.replacen("\"export\":1", "\"export\":2", 1), &["format 2"]),
    ] {
        let wrong = shop.write("wrong.jsonl", wrong);
        let out = shop.arg("out.slx");
        shortlist(["build", "--export", &wrong, "--out", &out]).failure(&[&["wrong.jsonl"], words].concat());
        assert!(!Path::new(&out).exists());
        let target = url.replace("/live", "/other");
        shortlist(["import", &target, "--export", &wrong]).failure(words);
    }
}

#[test]
fn a_backup_of_a_running_server_is_restored_and_served() {
    let shop = Shop::new();
    let data = shop.path("data");
    let Live { server, client, url } = live(&data);
    assert_eq!(client.put("", &schema(4)).unwrap().0, 201);
    write(&client, 0);
    let backup = shop.arg("backup");
    let said = shortlist(["backup", &url, "--out", &backup]).success();
    assert!(said.contains("98 items") && said.contains("sequence number 3"), "{said}");
    let then = shop.arg("then.jsonl");
    export(&url, &then).success();
    write(&client, 100);
    shortlist(["backup", &url, "--out", &backup]).failure(&["not empty"]);
    shortlist(["restore", &backup, "--data", &shop.arg("data")]).failure(&["is there already"]);

    // Beside the running collection, which goes on; and into another data directory.
    let said = shortlist(["restore", &backup, "--data", &shop.arg("data"), "--name", "before"]).success();
    assert!(said.contains("collection before: 98 items"), "{said}");
    let now = shop.arg("now.jsonl");
    let since = Instant::now();
    let before = url.replace("/live", "/before");
    while !export(&before, &now).ok {
        assert!(since.elapsed() < Duration::from_secs(30), "it is not taken up");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(lines(&now, &[]), lines(&then, &[]));
    shortlist(["restore", &backup, "--data", &shop.arg("elsewhere")]).success();
    let elsewhere = live(&shop.path("elsewhere"));
    export(&elsewhere.url, &now).success();
    assert_eq!(lines(&now, &[]), lines(&then, &[]));
    write(&elsewhere.client, 500);

    // Of a directory that is not served: what its log has is in it.
    export(&url, &then).success();
    drop(server);
    let said = shortlist(["backup", &shop.arg("data/live"), "--out", &shop.arg("second")]).success();
    assert!(said.contains("sequence number 6"), "{said}");
    shortlist(["restore", &shop.arg("second"), "--data", &shop.arg("third")]).success();
    export(&shop.arg("third/live"), &now).success();
    assert_eq!(lines(&now, &[]), lines(&then, &[]));
}

#[test]
fn copies_need_an_admin_key() {
    let shop = Shop::new();
    let (data, keys) = (shop.path("data"), shop.path("keys"));
    std::fs::create_dir_all(&data).unwrap();
    let mut file = std::fs::File::create(&keys).unwrap();
    for scope in ["read", "write", "admin"] {
        use sha2::Digest;
        let digest = sha2::Sha256::digest(format!("key-of-{scope}"));
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(file, "{scope} {digest}").unwrap();
    }
    let mut serve = house::serve(&data);
    serve.arg("--keys").arg(&keys);
    let server = Server::try_start(&mut serve, &data).unwrap();
    let url = format!("http://{}/live", server.address);
    let run = |key: &str, args: &[&str]| {
        let ran = program().env("SHORTLIST_KEY", format!("key-of-{key}")).args(args).output().unwrap();
        (ran.status.success(), String::from_utf8_lossy(&ran.stderr).into_owned())
    };
    let out = shop.arg("out.jsonl");
    for key in ["read", "write"] {
        let (ok, said) = run(key, &["export", &url, "--out", &out]);
        assert!(!ok && said.contains("admin") && said.contains("403"), "{said}");
        let (ok, said) = run(key, &["backup", &url, "--out", &shop.arg("backup")]);
        assert!(!ok && said.contains("admin") && !Path::new(&shop.arg("backup")).exists(), "{said}");
    }
    // There is no such collection, which only an admin is told.
    let (_, said) = run("admin", &["export", &url, "--out", &out]);
    assert!(said.contains("404"), "{said}");
}
