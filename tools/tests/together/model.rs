//! What a collection must hold: a map, and what the map was at each sequence number before.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// An item as an export tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub vector: Vec<f32>,
    pub attributes: Map<String, Value>,
    pub version: u64,
    /// None until the first export tells when it was inserted.
    pub inserted_at: Option<String>,
}

/// A collection at one sequence number.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    pub items: BTreeMap<String, Item>,
    /// Versions of deleted items.
    pub deleted: BTreeMap<String, u64>,
}

/// A put as it is sent.
#[derive(Debug, Clone)]
pub struct Put {
    pub id: String,
    pub vector: Vec<f32>,
    pub attributes: Map<String, Value>,
    pub version: Option<u64>,
    pub inserted_at: Option<String>,
}

impl Put {
    pub fn to_json(&self) -> Value {
        let mut item = json!({"id": self.id, "vector": self.vector, "attributes": self.attributes});
        if let Some(version) = self.version {
            item["version"] = json!(version);
        }
        if let Some(inserted_at) = &self.inserted_at {
            item["inserted_at"] = json!(inserted_at);
        }
        item
    }
}

impl State {
    /// False when it is ignored for its version.
    pub fn put(&mut self, put: &Put) -> bool {
        let before = self.items.get(&put.id);
        let stored = before.map(|item| item.version);
        let known = stored.or(self.deleted.get(&put.id).copied()).unwrap_or(0);
        if put.version.is_some_and(|version| version < known) {
            return false;
        }
        let mut attributes = put.attributes.clone();
        attributes.entry("price").or_insert(json!(0.0));
        let item = Item {
            vector: put.vector.clone(),
            attributes,
            version: put.version.or(stored).unwrap_or(0),
            inserted_at: before.map_or(put.inserted_at.clone(), |item| item.inserted_at.clone()),
        };
        self.deleted.remove(&put.id);
        self.items.insert(put.id.clone(), item);
        true
    }

    /// False when it is not there. What is null is removed.
    pub fn patch(&mut self, id: &str, attributes: &Map<String, Value>) -> bool {
        let Some(item) = self.items.get_mut(id) else { return false };
        for (name, value) in attributes {
            match value {
                Value::Null => drop(item.attributes.remove(name)),
                value => drop(item.attributes.insert(name.clone(), value.clone())),
            }
        }
        true
    }

    /// False when it was not there.
    pub fn delete(&mut self, id: &str) -> bool {
        let Some(item) = self.items.remove(id) else { return false };
        if item.version > 0 {
            self.deleted.insert(id.to_owned(), item.version);
        }
        true
    }
}

/// What vectors a collection has.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    pub dimension: usize,
    pub metric: &'static str,
}

impl Kind {
    pub fn schema(&self) -> Value {
        json!({"dimension": self.dimension, "metric": self.metric, "attributes": attributes()})
    }
}

/// Attributes of all collections.
pub fn attributes() -> Value {
    json!({"n": "int", "batch": "keyword", "price": {"type": "float", "default": 0}})
}

/// A collection that there is.
#[derive(Debug, Clone)]
pub struct Kept {
    pub kind: Kind,
    /// None until an export tells it.
    pub uuid: Option<String>,
    pub seq: u64,
    pub state: State,
    /// By sequence number, from the oldest that is known on.
    pub before: BTreeMap<u64, State>,
    /// Whether exports of its UUID may be of another history: its log was truncated, or another collection began with its export.
    pub may_differ: bool,
}

impl Kept {
    pub fn new(kind: Kind, uuid: Option<String>, seq: u64, state: State) -> Kept {
        let before = BTreeMap::from([(seq, state.clone())]);
        Kept { kind, uuid, seq, state, before, may_differ: false }
    }

    /// A write was answered with this number.
    pub fn written(&mut self, seq: u64) {
        assert!(seq >= self.seq, "the answer says {seq}, after {}", self.seq);
        self.seq = seq;
        self.before.insert(seq, self.state.clone());
    }

    /// As it was at a sequence number.
    pub fn at(&self, seq: u64) -> Option<State> {
        self.before.range(..=seq).next_back().map(|(_, state)| state.clone())
    }

    /// The records after `seq` were given up.
    pub fn go_back(&mut self, seq: u64) {
        self.before.retain(|&number, _| number <= seq);
        self.state = self.at(seq).expect("no older than what is known");
        self.seq = seq;
    }
}
