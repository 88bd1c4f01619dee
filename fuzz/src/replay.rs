//! A record of any bytes in the log of a whole data directory: the start is refused with a reason, or the record is applied,
//! and a checkpoint and a second start leave what it made as it is. No panic.
//!
//! Input: the payload of the record.

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use shortlist::arena::Mode;
use shortlist::collection::{
    Catalogue, Collection, CollectionName, EventsRequest, ExcludeSetRequest, OnceKey, StateRequest,
    WriteBatch, WriteSettings,
};
use shortlist::index::Index;
use shortlist::log::{Disk, Identity, Log, LogError, LogOptions, Position};

use super::{DIMENSION, exercise};

const BEGIN: Position = Position { seq: 0, hash: [0; 32] };
const OPTIONS: LogOptions = LogOptions { segment_bytes: 64 << 20 };

/// A data directory, and what one more record needs.
struct Whole {
    home: tempfile::TempDir,
    identity: Identity,
    /// Payloads that a server wrote.
    payloads: Vec<Vec<u8>>,
}

/// Memory if the machine has a place for files in it: starts sync much.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

fn open(data: &Path) -> Result<(Catalogue, Arc<Collection>), String> {
    let catalogue =
        Catalogue::open_with(data, Mode::Mapped, WriteSettings::default()).map_err(|e| e.to_string())?;
    let collection = catalogue.get("shop").ok_or("there is no collection shop")?;
    Ok((catalogue, collection))
}

fn whole() -> &'static Whole {
    static WHOLE: OnceLock<Whole> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let home = directory();
        let catalogue = Catalogue::open(home.path(), Mode::Mapped).expect("an empty directory");
        let name: CollectionName = "shop".parse().expect("a name");
        catalogue.create(&name, super::schema()).expect("made");
        let collection = catalogue.get("shop").expect("made");
        write(&collection);
        drop((collection, catalogue));
        let log = home.path().join("shop/log");
        let identity = identity_of(&log.join("log-00000000000000000001.slog"));
        let payloads = payloads(&log, identity);
        Whole { home, identity, payloads }
    })
}

/// As the header of a segment says.
fn identity_of(segment: &Path) -> Identity {
    let bytes = fs::read(segment).expect("a segment");
    Identity { collection: bytes[16..32].try_into().expect("16 bytes"), shard: 0 }
}

/// A record of each kind.
fn write(collection: &Collection) {
    let item = |n: usize| {
        json!({"id": format!("item-{n}"), "vector": [n % 5, n / 5, n % 3, 1], "version": n,
               "attributes": {"n": n, "price": 0.5, "sale": n.is_multiple_of(2), "colour": "red", "tags": ["a", "b"], "added": "2026-01-01T00:00:00Z"}})
    };
    let index = || collection.index();
    let of = |json: Value| serde_json::from_value(json).expect("a request");
    let upsert = |items: Value| {
        let request = serde_json::from_value(json!({ "items": items })).expect("a request");
        WriteBatch::upsert(&index(), request).expect("valid")
    };
    let once = OnceKey::new(b"key", "put", b"body").expect("a key");
    let patch = of(json!({"items": [{"id": "item-1", "attributes": {"n": 7, "colour": null}}]}));
    let delete = serde_json::from_value(json!({"ids": ["item-2"]})).expect("a request");
    let state = |request| WriteBatch::state(collection, request).expect("valid");
    let set: ExcludeSetRequest = serde_json::from_value(json!({"ids": ["item-3"]})).expect("a request");
    let events = json!({"events": [{"id": "1", "type": "impression", "item": "item-1"}, {"id": "2", "type": "click", "item": "item-1"}]});
    let events: EventsRequest = serde_json::from_value(events).expect("a request");
    let batches = [
        upsert((0..6).map(item).collect()),
        upsert(json!([item(9)])).once(once),
        state(StateRequest::PutProfile("home".to_owned(), json!({"filter": {"n": {"gt": 0}}}))),
        state(StateRequest::PutSet("seen".to_owned(), set)),
        state(StateRequest::Events(events)),
    ];
    let wait = |batch| collection.write_and_wait(batch).expect("written");
    batches.into_iter().for_each(|batch| {
        wait(batch);
    });
    wait(WriteBatch::patch(&index(), patch).expect("valid"));
    wait(WriteBatch::delete(&index(), delete).expect("valid"));
}

fn payloads(log: &Path, identity: Identity) -> Vec<Vec<u8>> {
    let (log, _) = Log::open(Box::new(Disk::new(log)), identity, BEGIN, OPTIONS).expect("whole");
    let mut payloads = Vec::new();
    log.replay(BEGIN.seq, &mut |record| {
        payloads.push(record.payload.to_vec());
        Ok::<(), LogError>(())
    })
    .expect("whole");
    payloads
}

/// A copy of the data directory; index files are never written to, so a second name for them is enough.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let from = entry.expect("an entry").path();
        let to = to.join(from.file_name().expect("a name"));
        if from.is_dir() {
            copy(&from, &to);
        } else if from.extension().is_some_and(|extension| extension == "slx") {
            fs::hard_link(&from, &to).expect("linked");
        } else {
            fs::copy(&from, &to).expect("copied");
        }
    }
}

/// Items that expire go by the clock: with them, no two moments need be alike.
fn is_steady(index: &Index) -> bool {
    let view = index.view(0);
    view.all().iter().all(|slot| view.version(slot).1 == 0)
}

/// Starts on a log that ends with the input.
pub fn run(input: &[u8]) {
    let whole = whole();
    let home = directory();
    copy(&whole.home.path().join("shop"), &home.path().join("shop"));
    let disk = Box::new(Disk::new(home.path().join("shop/log")));
    let (mut log, _) = Log::open(disk, whole.identity, BEGIN, OPTIONS).expect("whole");
    log.append([1; 16], input).and_then(|_| log.sync()).expect("written");
    drop(log);
    let (catalogue, collection) = match open(home.path()) {
        Ok(opened) => opened,
        Err(error) => return assert!(!error.is_empty()),
    };
    let (before, is_steady) = (exercise(&collection.index()), is_steady(&collection.index()));
    collection.checkpoint().expect("a checkpoint");
    drop((collection, catalogue));
    let (_catalogue, collection) = open(home.path()).expect("what was a checkpoint opens");
    let after = exercise(&collection.index());
    assert!(!is_steady || before == after, "before the checkpoint {before:?}, after it {after:?}");
    assert_eq!(collection.index().schema().dimension, DIMENSION);
}

/// Records as a server writes them.
pub fn seeds() -> Vec<Vec<u8>> {
    whole().payloads.clone()
}
