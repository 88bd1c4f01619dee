//! The server's whole state against the map.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::house::fine;
use super::model::{Item, Kept, State};
use super::world::{NAMES, World};

/// An export as it was read.
pub struct Found {
    pub uuid: String,
    pub seq: u64,
    pub state: State,
}

/// Reads an export. Items that have expired are as good as deleted.
pub fn parse(text: &str) -> Found {
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (header, end) = (&lines[0], &lines[lines.len() - 1]);
    assert_eq!(end["end"], lines.len() - 2, "an export is not whole: {end}");
    let (mut items, mut deleted) = (BTreeMap::new(), BTreeMap::new());
    for line in &lines[1..lines.len() - 1] {
        if let Some(id) = line["deleted"].as_str() {
            deleted.insert(id.to_owned(), line["version"].as_u64().unwrap());
        } else if line["expires_at"].is_null() {
            let id = line["id"].as_str().unwrap().to_owned();
            assert!(items.insert(id.clone(), item(line)).is_none(), "{id} is there twice");
        }
    }
    let uuid = header["uuid"].as_str().unwrap().to_owned();
    Found { uuid, seq: header["seq"].as_u64().unwrap(), state: State { items, deleted } }
}

fn item(line: &Value) -> Item {
    let bytes = STANDARD.decode(line["vector_f32"].as_str().unwrap()).unwrap();
    let vector = bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    Item {
        vector,
        attributes: line["attributes"].as_object().unwrap().clone(),
        version: line["version"].as_u64().unwrap_or(0),
        inserted_at: Some(line["inserted_at"].as_str().unwrap().to_owned()),
    }
}

/// Where two states differ. Times of insertion that are not known yet do not count.
pub fn difference(found: &State, wanted: &State) -> Option<String> {
    for id in found.items.keys().chain(wanted.items.keys()) {
        let (has, mut wants) = (found.items.get(id), wanted.items.get(id).cloned());
        if let (Some(has), Some(wants)) = (has, &mut wants) {
            wants.inserted_at = wants.inserted_at.take().or(has.inserted_at.clone());
        }
        if has != wants.as_ref() {
            return Some(format!("{id} is {has:?}, was answered as {wants:?}"));
        }
    }
    let (has, wants) = (&found.deleted, &wanted.deleted);
    (has != wants).then(|| format!("versions of deleted items are {has:?}, were answered as {wants:?}"))
}

/// Fails with the first difference.
#[track_caller]
pub fn same(what: &str, found: &State, wanted: &State) {
    if let Some(difference) = difference(found, wanted) {
        panic!("{what}: {difference}");
    }
}

/// Whether a collection is this one, with its schema and all its items.
pub fn is(world: &World, name: &str, found: &Found, kept: &Kept) -> bool {
    let schema = &fine(world.client(name).get(""))["schema"];
    let kind = (&schema["dimension"], &schema["metric"]);
    kind == (&json!(kept.kind.dimension), &json!(kept.kind.metric))
        && difference(&found.state, &kept.state).is_none()
}

/// Compares a collection with what is there, and learns what only the server knows: its UUID, times of insertion, and numbers of
/// the records by which expired items go.
#[track_caller]
pub fn learn(name: &str, kept: &mut Kept, found: Found) {
    assert!(found.seq >= kept.seq, "{name} is at {}, {} was answered", found.seq, kept.seq);
    same(name, &found.state, &kept.state);
    assert_eq!(*kept.uuid.get_or_insert(found.uuid.clone()), found.uuid, "the UUID of {name}");
    kept.state = found.state;
    kept.written(found.seq);
}

/// What the server has of a collection.
pub fn now(world: &World, name: &str) -> Found {
    let (status, text) = world.client(name).text("/export").unwrap();
    assert_eq!(status, 200, "export of {name}: {text}");
    parse(&text)
}

/// Every collection, whole, and those that are not there.
pub fn all(world: &mut World) {
    for name in NAMES {
        if !world.kept.contains_key(name) {
            assert_eq!(world.client(name).get("").unwrap().0, 404, "{name} is there again");
            continue;
        }
        let found = now(world, name);
        learn(name, world.kept.get_mut(name).unwrap(), found);
        one_item(world, name);
    }
}

/// An item as `GET` tells it.
fn one_item(world: &mut World, name: &str) {
    let id = format!("i{}", world.random.below(40));
    let (kept, client) = (&world.kept[name], world.client(name));
    let answer = client.get(&format!("/items/{id}?vector=true"));
    match kept.state.items.get(&id) {
        None => assert_eq!(answer.unwrap().0, 404, "{id} of {name} is there"),
        Some(item) => {
            let document = fine(answer);
            assert_eq!(document["attributes"], Value::Object(item.attributes.clone()), "{id} of {name}");
            assert_eq!(document["vector"], json!(item.vector), "{id} of {name}");
        }
    }
}
