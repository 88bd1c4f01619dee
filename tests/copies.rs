//! Exports and backups: one state, whole or an error, taken while writes, checkpoints and sweeps go on.

#![allow(missing_docs, clippy::unwrap_used)]

mod house;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use house::{Item, Random, all_found, churn, contents, delete, open, schema, settings, shop, upsert};
use serde_json::{Value, json};
use shortlist::attributes::{ItemFacts, parse_time};
use shortlist::collection::{
    BackupFile, Collection, CollectionName, ExportDeleted, ExportEnd, ExportHeader, ExportItem, OnceKey,
    WriteBatch, WriteSettings, publish, receive_backup, restore_backup,
};
use shortlist::index::{BuildOptions, IndexBuilder, Schema};
use shortlist::log::{Disk, inspect, truncate};
use shortlist::vector::Element;

/// An export's parts; its last line must fit.
fn parse(bytes: &[u8]) -> (ExportHeader, Vec<ExportItem>, Vec<ExportDeleted>) {
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    let end: ExportEnd = serde_json::from_slice(lines.pop().unwrap()).unwrap();
    let before: Vec<u8> = lines.concat();
    assert_eq!(end.blake3, blake3::hash(&before).to_hex().to_string());
    assert_eq!(end.end, lines.len() as u64 - 1);
    let header: ExportHeader = serde_json::from_slice(lines[0]).unwrap();
    let (items, deleted) = lines[1..].split_at(header.items as usize);
    assert_eq!(deleted.len() as u64, header.deleted);
    let items = items.iter().map(|line| serde_json::from_slice(line).unwrap()).collect();
    (header, items, deleted.iter().map(|line| serde_json::from_slice(line).unwrap()).collect())
}

fn export(collection: &Collection) -> Vec<u8> {
    collection.export().map(Result::unwrap).collect::<Vec<_>>().concat()
}

fn items_of(items: &[ExportItem]) -> BTreeMap<String, Item> {
    let item = |item: &ExportItem| {
        let attributes = Value::Object(item.attributes.clone());
        (item.id.clone(), (item.vector().unwrap(), attributes, item.record().unwrap()))
    };
    items.iter().map(item).collect()
}

/// Fails with the first item that differs.
#[track_caller]
fn same(found: &BTreeMap<String, Item>, wanted: &BTreeMap<String, Item>) {
    for id in found.keys().chain(wanted.keys()) {
        assert_eq!(found.get(id), wanted.get(id), "{id}");
    }
}

/// Builds an index from an export, as `shortlist build --export` does.
fn build(bytes: &[u8], file: &Path) {
    let (header, items, deleted) = parse(bytes);
    let schema = Schema::from_json(&header.schema).unwrap();
    let uuid = u128::from_str_radix(&header.uuid.replace('-', ""), 16).unwrap().to_be_bytes();
    let mut builder = IndexBuilder::new(BuildOptions {
        schema: schema.clone(),
        rows: items.len(),
        threads: 1,
        seed: 1,
        covers: header.seq,
        collection: Some(uuid),
        lineage: Value::Null,
        now: 0,
    })
    .unwrap();
    builder.set_covers_hash(header.record_hash().unwrap());
    for item in &items {
        let row: Vec<u8> = item.vector().unwrap().iter().flat_map(|number| number.to_le_bytes()).collect();
        builder.push_rows(Element::F32, &row).unwrap();
        let values = schema.attributes.parse_row(&item.attributes).unwrap();
        builder.push_record(&item.id, item.record().unwrap(), &values).unwrap();
    }
    deleted.into_iter().for_each(|deleted| builder.push_tombstone(deleted.into()));
    builder.finish(file, &|_, _, _| ()).unwrap();
}

#[test]
fn an_export_is_the_state_at_its_beginning_whatever_happens_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let (_catalogue, collection) = open(directory.path(), settings());
    let mut random = Random(3);
    churn(&collection, &mut random, 200);
    let filler: Vec<Value> =
        (0..4_000).map(|n| json!({"id": format!("f{n}"), "vector": random.vector()})).collect();
    upsert(&collection, json!(filler)).unwrap();
    let (state, seq) = (contents(&collection.index()), collection.index().seq());
    let mut pieces = collection.export();
    assert_eq!((pieces.header().seq, pieces.header().items), (seq, state.len() as u64));
    let mut bytes = pieces.next().unwrap().unwrap();
    // All that is not yet written is changed or deleted, swept, checkpointed, and the collection reopened.
    let ids: Vec<String> = (0..4_000).map(|n| format!("f{n}")).collect();
    delete(&collection, json!(ids)).unwrap();
    churn(&collection, &mut random, 100);
    collection.checkpoint().unwrap();
    churn(&collection, &mut random, 50);
    collection.checkpoint().unwrap();
    bytes.extend(pieces.map(Result::unwrap).collect::<Vec<_>>().concat());
    let (header, items, _) = parse(&bytes);
    assert_eq!(header.schema, schema().to_json());
    assert_eq!(items.len(), state.len());
    same(&items_of(&items), &state);
    assert!(contents(&collection.index()) != state, "the collection has gone on");
}

#[test]
fn a_build_from_before_a_change_of_the_schema_is_refused_and_one_from_after_it_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let (catalogue, collection) = open(directory.path(), settings());
    let mut random = Random(8);
    churn(&collection, &mut random, 60);
    let old = directory.path().join("old.slx");
    build(&export(&collection), &old);
    let change =
        json!({"attributes": {"aa": {"type": "int", "default": 4}, "zz": "keyword"}, "embedding": "tower"});
    assert!(collection.change_schema(&serde_json::from_value(change).unwrap()).unwrap());
    let error = publish(directory.path(), &shop(), &old).unwrap_err().to_string();
    assert!(error.contains("\"aa\" (int)") && error.contains("export again"), "{error}");
    assert!(old.exists() && catalogue.reload().opened.is_empty(), "nothing has happened");

    let exported = export(&collection);
    let new = directory.path().join("new.slx");
    build(&exported, &new);
    churn(&collection, &mut random, 30);
    upsert(&collection, json!([{"id": "z", "vector": random.vector(), "attributes": {"zz": "z", "aa": 5}}]))
        .unwrap();
    let (wanted, schema) = (contents(&collection.index()), collection.index().schema().clone());
    drop(collection);
    publish(directory.path(), &shop(), &new).unwrap();
    let reload = catalogue.reload();
    assert_eq!((reload.opened.len(), reload.failed.len()), (1, 0), "{reload:?}");
    let collection = catalogue.get("shop").unwrap();
    assert_eq!(*collection.index().schema(), schema);
    assert_eq!(schema.embedding.as_deref(), Some("tower"));
    same(&contents(&collection.index()), &wanted);

    // A backup has the schema, its defaults too.
    let backup = directory.path().join("backup");
    let BackupFile { mut file, bytes, seq, collection: name, uuid } = collection.backup().unwrap();
    receive_backup(&backup, &mut file, (&name, &uuid, seq, bytes), &|_, _| ()).unwrap();
    let other: CollectionName = "other".parse().unwrap();
    restore_backup(&backup, directory.path(), Some(&other), &|_, _| ()).unwrap();
    assert_eq!(catalogue.reload().opened.len(), 1);
    let restored = catalogue.get("other").unwrap();
    assert_eq!(*restored.index().schema(), schema);
    upsert(&restored, json!([{"id": "new", "vector": random.vector()}])).unwrap();
    assert_eq!(contents(&restored.index())["new"].1, json!({"aa": 4, "colour": "grey"}));
}

#[test]
fn a_build_from_an_older_export_takes_over_and_catches_up() {
    let directory = tempfile::tempdir().unwrap();
    let (catalogue, collection) = open(directory.path(), settings());
    let mut random = Random(5);
    churn(&collection, &mut random, 150);
    upsert(&collection, json!([{"id": "gone", "vector": random.vector(), "version": 9}])).unwrap();
    delete(&collection, json!(["gone"])).unwrap();
    let exported = export(&collection);
    for _ in 0..4 {
        churn(&collection, &mut random, 60);
        collection.checkpoint().unwrap();
    }
    assert!(collection.figures().log_segments > 5, "{:?}", collection.figures());
    churn(&collection, &mut random, 20);
    let (state, seq) = (contents(&collection.index()), collection.index().seq());

    let file = directory.path().join("built.slx");
    build(&exported, &file);
    publish(directory.path(), &shop(), &file).unwrap();
    let report = catalogue.reload();
    assert_eq!((report.opened.len(), report.failed.len()), (1, 0), "{report:?}");
    let collection = catalogue.get("shop").unwrap();
    assert_eq!(collection.index().seq(), seq);
    same(&contents(&collection.index()), &state);
    all_found(&collection.index());
    let late = upsert(&collection, json!([{"id": "gone", "vector": random.vector(), "version": 8}])).unwrap();
    assert_eq!(late.ignored, Some(1), "the version of what was deleted came along");
    // And from there it goes on, through a checkpoint and a restart.
    churn(&collection, &mut random, 30);
    let state = contents(&collection.index());
    collection.checkpoint().unwrap();
    drop((collection, catalogue));
    let (_catalogue, collection) = open(directory.path(), settings());
    same(&contents(&collection.index()), &state);
}

/// Puts an item under an idempotency key; whether it was there already.
fn put_once(collection: &Collection, key: &str) -> bool {
    let items = json!([{"id": key, "vector": vec![0.5; house::DIMENSION]}]);
    let request = serde_json::from_value(json!({ "items": items })).unwrap();
    let once = OnceKey::new(key.as_bytes(), "put", items.to_string().as_bytes()).unwrap();
    let batch = WriteBatch::upsert(&collection.index(), request).unwrap().once(once);
    collection.write_and_wait(batch).unwrap().replayed
}

#[test]
fn answers_under_idempotency_keys_outlive_a_published_build() {
    let directory = tempfile::tempdir().unwrap();
    let (mut catalogue, mut collection) = open(directory.path(), settings());
    // In the file that is replaced; in the log alone, before the export; and after it.
    assert!(!put_once(&collection, "checkpointed"));
    collection.checkpoint().unwrap();
    assert!(!put_once(&collection, "exported"));
    let exported = export(&collection);
    assert!(!put_once(&collection, "after"));
    let file = directory.path().join("built.slx");
    build(&exported, &file);
    publish(directory.path(), &shop(), &file).unwrap();
    assert_eq!(catalogue.reload().opened.len(), 1);
    for round in ["published", "restarted", "restarted again", "checkpointed"] {
        collection = catalogue.get("shop").unwrap();
        for key in ["checkpointed", "exported", "after"] {
            assert!(put_once(&collection, key), "{round}: {key}");
        }
        if round == "restarted again" {
            collection.checkpoint().unwrap();
            assert!(!directory.path().join("shop/notes.lines").exists(), "the checkpoint has them");
        }
        drop((collection, catalogue));
        (catalogue, collection) = open(directory.path(), settings());
        drop(collection);
    }
}

#[test]
fn a_build_takes_over_while_writes_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let (catalogue, collection) = open(directory.path(), settings());
    let mut random = Random(31);
    churn(&collection, &mut random, 100);
    drop(collection);
    let (ended, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut random = Random(32);
            while !ended.load(SeqCst) {
                let n = answered.load(SeqCst);
                let item = json!([{"id": format!("w{n}"), "vector": random.vector(), "version": n}]);
                // None is refused, and each is found at once.
                upsert(&catalogue.get("shop").unwrap(), item).unwrap();
                let index = catalogue.get("shop").unwrap().index();
                assert!(index.view(0).find(&format!("w{n}")).is_some(), "w{n}");
                answered.store(n + 1, SeqCst);
            }
        });
        for round in 0..3 {
            let collection = catalogue.get("shop").unwrap();
            let exported = export(&collection);
            churn(&collection, &mut random, 60);
            let file = directory.path().join("built.slx");
            build(&exported, &file);
            publish(directory.path(), &shop(), &file).unwrap();
            let report = catalogue.reload();
            assert_eq!((report.opened.len(), report.failed.len()), (1, 0), "{round}: {report:?}");
            assert!(catalogue.reload().opened.is_empty(), "it is told once");
            if round == 1 {
                catalogue.get("shop").unwrap().checkpoint().unwrap();
            }
        }
        ended.store(true, SeqCst);
        writer.join().unwrap();
    });
    let collection = catalogue.get("shop").unwrap();
    let state = contents(&collection.index());
    for n in 0..answered.load(SeqCst) {
        assert!(state.contains_key(&format!("w{n}")), "w{n} of {}", answered.load(SeqCst));
    }
    all_found(&collection.index());
    drop((collection, catalogue));
    let (_catalogue, collection) = open(directory.path(), settings());
    same(&contents(&collection.index()), &state);
}

#[test]
fn a_published_file_that_the_server_cannot_open_is_put_back() {
    let directory = tempfile::tempdir().unwrap();
    let (catalogue, collection) = open(directory.path(), settings());
    let mut random = Random(33);
    churn(&collection, &mut random, 100);
    let file = directory.path().join("built.slx");
    build(&export(&collection), &file);
    let published = publish(directory.path(), &shop(), &file).unwrap();
    // As a program of a later version would have written it.
    let home = directory.path().join("shop");
    fs::remove_file(home.join(&published.file)).unwrap();
    let later = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/version-1-unknown-required.slx");
    fs::copy(later, home.join(&published.file)).unwrap();
    assert_eq!(catalogue.reload().failed.len(), 1);
    assert!(catalogue.reload().failed.is_empty(), "it is told once");
    churn(&collection, &mut random, 20);
    collection.checkpoint().unwrap();
    let state = contents(&collection.index());
    drop((collection, catalogue));
    let (_catalogue, collection) = open(directory.path(), settings());
    same(&contents(&collection.index()), &state);
}

#[test]
fn without_retention_an_older_build_is_refused_and_names_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let keep_none = WriteSettings { log_retention_bytes: 0, ..settings() };
    let (_catalogue, collection) = open(directory.path(), keep_none);
    let mut random = Random(6);
    churn(&collection, &mut random, 100);
    let exported = export(&collection);
    churn(&collection, &mut random, 100);
    collection.checkpoint().unwrap();
    assert_eq!(collection.figures().log_segments, 1, "{:?}", collection.figures());
    let file = directory.path().join("built.slx");
    build(&exported, &file);
    let error = publish(directory.path(), &shop(), &file).unwrap_err().to_string();
    assert!(error.contains("export again"), "{error}");
}

#[test]
fn what_is_kept_of_the_log_gives_way_to_its_limits() {
    let directory = tempfile::tempdir().unwrap();
    let most = 60_000;
    let limited = WriteSettings { log_retention_bytes: 30_000, log_max_bytes: most, ..settings() };
    let (_catalogue, collection) = open(directory.path(), limited);
    let mut random = Random(8);
    for _ in 0..10 {
        churn(&collection, &mut random, 25);
        collection.checkpoint().unwrap();
        let bytes = collection.figures().log_bytes;
        assert!(bytes <= 30_000 + 12_000, "{bytes}");
    }
    assert!(collection.figures().log_segments > 1, "some is kept: {:?}", collection.figures());
    // Between checkpoints the kept part goes first; only what no file covers is ever refused.
    let filler = |random: &mut Random| json!([{"id": "x", "vector": random.vector(), "attributes": {"tags": ["y".repeat(900)]}}]);
    for _ in 0..45 {
        upsert(&collection, filler(&mut random)).unwrap();
    }
}

#[test]
fn segments_go_when_their_time_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let brief = WriteSettings { log_retention: std::time::Duration::from_millis(1), ..settings() };
    let (_catalogue, collection) = open(directory.path(), brief);
    churn(&collection, &mut Random(9), 100);
    assert!(collection.figures().log_segments > 3);
    std::thread::sleep(std::time::Duration::from_millis(20));
    collection.checkpoint().unwrap();
    assert_eq!(collection.figures().log_segments, 1);
}

#[test]
fn a_build_of_records_that_were_given_up_since_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (catalogue, collection) = open(directory.path(), settings());
    let put = |collection: &Collection, id: &str| {
        upsert(collection, json!([{"id": id, "vector": Random(9).vector()}])).unwrap().seq
    };
    put(&collection, "kept");
    put(&collection, "given up");
    let exported = export(&collection);
    drop((collection, catalogue));
    let mut log = Disk::new(directory.path().join("shop/log"));
    let segment = inspect(&log).unwrap().pop().unwrap();
    truncate(&mut log, &segment.file, segment.bytes - 1).unwrap();

    let (catalogue, collection) = open(directory.path(), settings());
    assert_eq!((put(&collection, "second"), put(&collection, "third")), (2, 3));
    let file = directory.path().join("built.slx");
    build(&exported, &file);
    let error = publish(directory.path(), &shop(), &file).unwrap_err().to_string();
    assert!(
        error.contains("record 2 of the log is not the one") && error.contains("export again"),
        "{error}"
    );
    // An export of now is of this log.
    build(&export(&collection), &file);
    put(&collection, "fourth");
    publish(directory.path(), &shop(), &file).unwrap();
    assert_eq!(catalogue.reload().opened.len(), 1);
    let ids = contents(&catalogue.get("shop").unwrap().index()).into_keys().collect::<Vec<_>>();
    assert_eq!(ids, ["fourth", "kept", "second", "third"]);
}

fn back_up(collection: &Collection, out: &Path) -> u64 {
    let BackupFile { mut file, bytes, seq, collection, uuid } = collection.backup().unwrap();
    let manifest = receive_backup(out, &mut file, (&collection, &uuid, seq, bytes), &|_, _| ()).unwrap();
    assert_eq!(manifest.seq, seq);
    seq
}

#[test]
fn a_backup_beside_writers_has_whole_batches_and_all_that_was_answered() {
    let directory = tempfile::tempdir().unwrap();
    let (_catalogue, collection) =
        open(directory.path(), WriteSettings { log_retention_bytes: 0, ..settings() });
    let (answered, ending) = (AtomicU64::new(0), AtomicBool::new(false));
    let backups = std::thread::scope(|scope| {
        let (collection, answered, ending) = (&collection, &answered, &ending);
        scope.spawn(move || {
            let mut random = Random(1);
            for round in 1.. {
                // Every batch leaves all of its items at the same n.
                let item = |at: u64| json!({"id": format!("b{at}"), "vector": random.vector(), "attributes": {"n": round}});
                let items: Vec<Value> = (0..10).map(item).collect();
                upsert(collection, json!(items)).unwrap();
                answered.store(round, SeqCst);
                if ending.load(SeqCst) {
                    return;
                }
            }
        });
        scope.spawn(move || {
            while !ending.load(SeqCst) {
                collection.checkpoint().unwrap();
                std::thread::sleep(std::time::Duration::from_millis(3));
            }
        });
        let mut backups = Vec::new();
        house::eventually("writes", || answered.load(SeqCst) > 20);
        for number in 0..6 {
            let before = answered.load(SeqCst);
            let out = directory.path().join(format!("backup-{number}"));
            backups.push((out.clone(), before, back_up(collection, &out)));
        }
        ending.store(true, SeqCst);
        backups
    });
    for (number, (out, before, seq)) in backups.into_iter().enumerate() {
        let data = directory.path().join(format!("data-{number}"));
        let (name, manifest) = restore_backup(&out, &data, None, &|_, _| ()).unwrap();
        assert_eq!((name.as_str(), manifest.seq, manifest.items), ("shop", seq, 10));
        let (_catalogue, restored) = open(&data, settings());
        assert_eq!(restored.index().seq(), seq);
        let rounds: Vec<u64> =
            contents(&restored.index()).values().map(|item| item.1["n"].as_u64().unwrap()).collect();
        assert!(rounds.iter().all(|&round| round == rounds[0]), "half a batch: {rounds:?}");
        assert!(rounds[0] >= before, "{} was answered, the backup has {}", before, rounds[0]);
        churn(&restored, &mut Random(2), 10);
        restored.checkpoint().unwrap();
    }
}

#[test]
fn a_restored_collection_is_the_same_and_another_one() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    let (catalogue, collection) = open(&data, settings());
    let mut random = Random(4);
    churn(&collection, &mut random, 100);
    let (exported, state) = (export(&collection), contents(&collection.index()));
    let out = directory.path().join("backup");
    back_up(&collection, &out);

    let refused = restore_backup(&out, &data, None, &|_, _| ()).unwrap_err().to_string();
    assert!(refused.contains("is there already"), "{refused}");
    let name: CollectionName = "again".parse().unwrap();
    restore_backup(&out, &data, Some(&name), &|_, _| ()).unwrap();
    assert_eq!(catalogue.reload().opened, std::slice::from_ref(&name), "beside a running server");
    let again = catalogue.get("again").unwrap();
    same(&contents(&again.index()), &state);
    assert_ne!(again.manifest().collection, collection.manifest().collection);
    churn(&again, &mut random, 5);
    let file = directory.path().join("built.slx");
    build(&exported, &file);
    let error = publish(&data, &name, &file).unwrap_err().to_string();
    assert!(error.contains("its log belongs to collection"), "{error}");
    same(&contents(&collection.index()), &state);
}

#[test]
fn damaged_backups_are_refused_and_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (_catalogue, collection) = open(directory.path(), settings());
    churn(&collection, &mut Random(7), 20);
    let out = directory.path().join("backup");
    back_up(&collection, &out);
    let data = directory.path().join("data");
    let (file, manifest) = (out.join("index.slx"), out.join("backup.json"));
    let (good, good_manifest) = (fs::read(&file).unwrap(), fs::read_to_string(&manifest).unwrap());
    let refuse = |what: &str| {
        let error = restore_backup(&out, &data, None, &|_, _| ()).unwrap_err().to_string();
        assert!(!data.join("shop/manifest.json").exists(), "{what}");
        let left = fs::read_dir(&data).map_or(0, |entries| entries.count());
        assert_eq!(left, 0, "{what}");
        error
    };
    for at in [0, 100, good.len() / 3, good.len() / 2, good.len() - 1] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&file, bytes).unwrap();
        assert!(refuse("a bit flipped").contains("blake3"));
    }
    fs::write(&file, &good[..good.len() - 10]).unwrap();
    assert!(refuse("cut").contains("bytes"));
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
    assert!(refuse("a link").contains("is not the file"));
    fs::remove_file(&file).unwrap();
    fs::write(&file, &good).unwrap();
    for (from, to) in
        [("\"shop\"", "\"../shop\""), ("\"backup\": 1", "\"backup\": 2"), ("\"seq\"", "\"file\"")]
    {
        fs::write(&manifest, good_manifest.replace(from, to)).unwrap();
        refuse(to);
    }
    fs::write(&manifest, &good_manifest).unwrap();
    restore_backup(&out, &data, None, &|_, _| ()).unwrap();

    // One that breaks off while it comes in, or comes damaged.
    let bad = directory.path().join("bad");
    for bytes in [&good[..good.len() - 1], &[&good[..5_000], b"x", &good[5_001..]].concat()] {
        let of = (
            "shop",
            "",
            serde_json::from_str::<Value>(&good_manifest).unwrap()["seq"].as_u64().unwrap(),
            good.len() as u64,
        );
        receive_backup(&bad, &mut bytes.take(u64::MAX), of, &|_, _| ()).unwrap_err();
        assert!(!bad.exists());
    }
    let error = receive_backup(&out, &mut &good[..], ("shop", "", 0, 0), &|_, _| ()).unwrap_err().to_string();
    assert!(error.contains("not empty"), "{error}");
}

#[test]
fn times_of_an_export_are_exact() {
    let directory = tempfile::tempdir().unwrap();
    let (_catalogue, collection) = open(directory.path(), settings());
    let vector: Vec<f32> =
        [0.1, -1e-30, 3e9].into_iter().chain((3..).map(|at| at as f32)).take(house::DIMENSION).collect();
    let item = json!({"id": "a", "vector": vector, "version": u64::MAX,
        "inserted_at": "1969-12-31T23:59:59.999Z", "expires_at": "2001-01-01T00:00:00.001Z"});
    upsert(&collection, json!([item])).unwrap();
    let (_, items, _) = parse(&export(&collection));
    let record = items[0].record().unwrap();
    assert_eq!((record.inserted_at, record.version), (-1, u64::MAX));
    assert_eq!(
        Ok(record.expires_at),
        parse_time("2001-01-01T00:00:00.001Z"),
        "expired, and still in the copy"
    );
    assert_eq!(items[0].vector().unwrap()[..3], [0.1, -1e-30, 3e9]);
}
