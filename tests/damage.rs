//! One flipped bit anywhere in a small data directory: a typed error or the same answer, never a wrong one.
//!
//! The normal run takes a sample; every byte in use: `SHORTLIST_LONG=1 cargo test --release --test damage`.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde_json::{Value, json};
use shortlist::arena::Mode;
use shortlist::attributes::{Filter, FilterContext, ItemFacts};
use shortlist::collection::{
    Catalogue, Collection, CollectionName, WriteBatch, WriteError, WriteSettings, Written,
};
use shortlist::file::IndexFile;
use shortlist::index::{Index, QueryError, Schema, SearchParams};

const DIMENSION: usize = 18;
/// Of the padding of an index file, which only verification reads, one byte in so many.
const PADDING_STEP: usize = 4_099;

fn schema() -> Schema {
    let attributes = json!({"n": "int", "colour": "keyword", "tags": "keywords"});
    Schema::from_json(&json!({"dimension": DIMENSION, "metric": "l2", "attributes": attributes})).unwrap()
}

fn open(directory: &Path) -> Result<(Catalogue, Arc<Collection>), String> {
    let catalogue =
        Catalogue::open_with(directory, Mode::Mapped, settings()).map_err(|error| error.to_string())?;
    let collection = catalogue.get("shop").ok_or("there is no collection shop")?;
    Ok((catalogue, collection))
}

fn upsert(collection: &Collection, items: Value) -> Result<Written, WriteError> {
    let request = serde_json::from_value(json!({ "items": items })).unwrap();
    collection.write_and_wait(WriteBatch::upsert(&collection.index(), request)?)
}

fn item(n: usize) -> Value {
    let mut vector = [0; DIMENSION];
    vector[..4].copy_from_slice(&[n % 5, n / 5, n % 3, 1]);
    let colour = ["red", "green"][n % 2];
    let tags = [format!("t{}", n % 4), "all".to_owned()];
    json!({"id": format!("item-{n}"), "vector": vector,
           "attributes": {"n": n, "colour": colour, "tags": tags}})
}

/// Nothing of the log is kept for its age: what is damaged here is needed.
fn settings() -> WriteSettings {
    WriteSettings { log_retention: std::time::Duration::ZERO, ..WriteSettings::default() }
}

/// Everything that can be asked: all items with vector and attributes, searches of all kinds.
fn answers(index: &Index) -> Result<Vec<Value>, QueryError> {
    let view = index.view(0);
    let mut answers: Vec<Value> = Vec::new();
    for slot in view.all().iter() {
        let mut vector = Vec::new();
        view.vector(slot, &mut vector);
        let (id, attributes) = (view.id(slot), view.columns().to_json(slot));
        answers.push(json!([id, vector, attributes, view.find(id), ItemFacts::seq(&view, slot)]));
    }
    let filter = Filter::parse(&json!({"colour": "red"}), &index.schema().attributes);
    let allowed = filter.ok().and_then(|filter| {
        filter.evaluate(view.columns(), &view, &FilterContext::default()).ok().map(|mut allowed| {
            view.retain(&mut allowed);
            allowed
        })
    });
    for (exact, filtered) in [(true, false), (false, false), (true, true), (false, true)] {
        let query = index.query(&vec![1.0; index.schema().dimension])?;
        let allowed = if filtered { allowed.as_ref() } else { None };
        let found = view.search(&query, &SearchParams { k: 10, ef: 50, allowed, exact })?;
        let hits = found.candidates.iter().map(|hit| json!([index.id(hit.item), hit.similarity]));
        answers.push(hits.collect());
    }
    Ok(answers)
}

/// A data directory with an index file and a log behind it, and the answers at each sequence number.
struct Sample {
    home: tempfile::TempDir,
    /// Bytes of every file that is damaged.
    files: Vec<(PathBuf, Vec<u8>)>,
    states: BTreeMap<u64, Vec<Value>>,
    covers: u64,
    /// Where the last sync group of the log begins.
    last_group: usize,
}

fn sample() -> Sample {
    let home = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open_with(home.path(), Mode::Mapped, settings()).unwrap();
    let name: CollectionName = "shop".parse().unwrap();
    catalogue.create(&name, schema()).unwrap();
    let collection = catalogue.get("shop").unwrap();
    // The checkpoint ends the segment before, and record 8 begins this one.
    let log = home.path().join("shop/log/log-00000000000000000008.slog");
    let mut states = BTreeMap::new();
    let mut last_group = 0;
    for n in 0..12 {
        if n == 7 {
            collection.checkpoint().unwrap();
            states.clear();
            states.insert(collection.index().seq(), answers(&collection.index()).unwrap());
        }
        last_group = fs::metadata(&log).map_or(0, |file| file.len() as usize);
        let written = if n == 10 {
            let request = serde_json::from_value(json!({"filter": {"n": {"lt": 3}}})).unwrap();
            collection.write_and_wait(WriteBatch::delete(&collection.index(), request).unwrap()).unwrap()
        } else {
            upsert(&collection, json!([item(2 * n), item(2 * n + 1)])).unwrap()
        };
        states.insert(written.seq, answers(&collection.index()).unwrap());
    }
    let (covers, index) = (collection.manifest().covers, collection.manifest().file);
    drop((collection, catalogue));
    let paths = [home.path().join("shop").join(index), log, home.path().join("shop/manifest.json")];
    fs::set_permissions(&paths[0], fs::Permissions::from_mode(0o644)).unwrap();
    let files = paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    Sample { home, files, states, covers, last_group }
}

impl Sample {
    /// Puts back what opening the damaged directory has changed, but for the index file, which nobody changes.
    fn restore(&self) {
        for (path, bytes) in &self.files[1..] {
            fs::write(path, bytes).unwrap();
        }
        let log = self.files[1].0.parent().unwrap();
        for entry in fs::read_dir(log).unwrap() {
            let path = entry.unwrap().path();
            if path != self.files[1].0 {
                fs::remove_file(path).unwrap();
            }
        }
    }

    /// Opens, searches, verifies and writes with one bit flipped; what came of it.
    fn flip(&self, file: usize, at: usize) -> Outcome {
        let (path, bytes) = &self.files[file];
        let write = |byte: u8| {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(&[byte], at as u64).unwrap();
        };
        write(bytes[at] ^ (1 << (at % 8)));
        let outcome = self.look(file, at);
        if file == 0 {
            write(bytes[at]);
        }
        self.restore();
        outcome
    }

    fn look(&self, file: usize, at: usize) -> Outcome {
        let (_catalogue, collection) = match open(self.home.path()) {
            Ok(open) => open,
            Err(error) => {
                assert!(error.contains("shop"), "the error names no file: {error}");
                return Outcome::Refused;
            }
        };
        let index = collection.index();
        let (seq, found) = (index.seq(), answers(&index));
        let is_right = self.states.get(&seq) == found.as_ref().ok();
        let last = *self.states.keys().last().unwrap();
        if file == 1 {
            // The log is checked whenever it is read; only the last group may be taken for a torn write.
            assert!(is_right, "byte {at} of the log: {found:?}");
            assert!(seq == last || at >= self.last_group, "byte {at} of the log: cut to {}", seq);
        }
        collection.verify_slowly(u64::MAX, &|| false);
        let damage = collection.damage();
        assert!(
            damage.is_some() || is_right,
            "byte {at} of file {file}: wrong, and nobody says so: {found:?}"
        );
        assert!(damage.is_none() || file == 0, "byte {at} of file {file}: {damage:?}");
        // Whatever it is answered, it is answered.
        let written = upsert(&collection, json!([item(30)]));
        if damage.is_none() {
            written.unwrap();
        }
        let _ = answers(&collection.index());
        match damage {
            Some(_) => Outcome::Told,
            None if seq < last => Outcome::Trimmed,
            None => Outcome::Same,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The directory did not open.
    Refused,
    /// Verification found it.
    Told,
    /// The log's last group was cut off.
    Trimmed,
    /// The same answers.
    Same,
}

#[test]
fn a_flipped_bit_is_an_error_or_changes_nothing() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Relaxed);
        print(info);
    }));
    let sample = sample();
    assert!(sample.covers > 0 && sample.states.len() > 4);
    let long = std::env::var_os("SHORTLIST_LONG").is_some();
    let used = used_bytes(&sample.files[0].0);
    for (file, name) in ["index", "log", "manifest"].into_iter().enumerate() {
        let mut outcomes: BTreeMap<Outcome, usize> = BTreeMap::new();
        for at in 0..sample.files[file].1.len() {
            let step = match (file, used.iter().any(|range| range.contains(&at))) {
                (0, false) => PADDING_STEP,
                _ if long => 1,
                (0, true) => 61,
                _ => 17,
            };
            if at % step == 0 {
                *outcomes.entry(sample.flip(file, at)).or_default() += 1;
            }
            assert_eq!(PANICS.load(Relaxed), 0, "a panic at byte {at} of the {name}");
        }
        println!("{name}: {outcomes:?}");
        assert!(outcomes.contains_key(&Outcome::Refused), "{name}");
        assert_eq!(outcomes.contains_key(&Outcome::Trimmed), file == 1, "{name}");
        assert_eq!(outcomes.contains_key(&Outcome::Told), file == 0, "{name}");
    }
    // Whole again.
    let (_catalogue, collection) = open(sample.home.path()).unwrap();
    assert_eq!(sample.states.get(&collection.index().seq()), answers(&collection.index()).ok().as_ref());
}

/// Header, footer and sections of an index file.
fn used_bytes(path: &Path) -> Vec<std::ops::Range<usize>> {
    let file = IndexFile::open(path).unwrap();
    let sections = file.sections().iter();
    let length = fs::metadata(path).unwrap().len() as usize;
    let ends = [0..4096, length - 4096..length];
    sections
        .map(|section| section.offset as usize..(section.offset + section.length) as usize)
        .chain(ends)
        .collect()
}
