//! Profiles by name: versions that never change, and which of them is active.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

/// Versions of one profile that are kept; beyond that the oldest that is not active goes.
pub(super) const VERSIONS: usize = 100;

/// Names of deleted profiles whose numbers are remembered one by one.
const GONE: usize = 1_000;

/// All profiles of a collection.
#[derive(Debug, Clone, Default)]
pub(in crate::collection) struct Profiles {
    by_name: BTreeMap<String, Arc<StoredProfile>>,
    /// Numbers of the last versions of profiles that were deleted: a number never means two documents.
    last: BTreeMap<String, u32>,
    /// The greatest of those whose names are forgotten: names that are not known are numbered on from it.
    forgotten: u32,
}

/// A profile: its versions, one of them active.
#[derive(Debug, Clone, Default)]
pub struct StoredProfile {
    /// What its name alone stands for.
    pub active: u32,
    /// Oldest first.
    pub versions: Vec<Arc<ProfileVersion>>,
}

/// One version of a profile.
#[derive(Debug, Clone)]
pub struct ProfileVersion {
    /// From 1.
    pub version: u32,
    /// When it was stored, milliseconds since the epoch.
    pub created_at: i64,
    /// As it was stored, JSON.
    pub text: String,
    /// The text, parsed.
    pub document: Value,
}

impl StoredProfile {
    /// A version that is kept.
    pub fn version(&self, version: u32) -> Option<&Arc<ProfileVersion>> {
        self.versions.iter().find(|one| one.version == version)
    }
}

impl Profiles {
    pub fn get(&self, name: &str) -> Option<&Arc<StoredProfile>> {
        self.by_name.get(name)
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &Arc<StoredProfile>)> {
        self.by_name.iter()
    }

    /// Names that are gone, with their last versions.
    pub fn gone(&self) -> impl Iterator<Item = (&String, &u32)> {
        self.last.iter()
    }

    /// The number that the next version gets.
    pub fn next(&self, name: &str) -> u32 {
        let newest =
            self.by_name.get(name).and_then(|profile| profile.versions.last()).map(|one| one.version);
        newest.or(self.last.get(name).copied()).unwrap_or(self.forgotten).saturating_add(1)
    }

    /// The first version of a name is active at once.
    pub fn put(&mut self, name: String, version: u32, created_at: i64, text: String) {
        // It was written by this program; a text that is none ranks as an empty profile.
        let document = serde_json::from_str(&text).unwrap_or_else(|_| json!({}));
        self.last.remove(&name);
        let profile = Arc::make_mut(self.by_name.entry(name).or_default());
        if profile.versions.is_empty() {
            profile.active = version;
        }
        profile.versions.push(Arc::new(ProfileVersion { version, created_at, text, document }));
        if profile.versions.len() > VERSIONS {
            let active = profile.active;
            let oldest = profile.versions.iter().position(|one| one.version != active);
            oldest.map(|place| profile.versions.remove(place));
        }
    }

    pub fn activate(&mut self, name: &str, version: u32) {
        if let Some(profile) = self.by_name.get_mut(name) {
            Arc::make_mut(profile).active = version;
        }
    }

    pub fn remove(&mut self, name: &str, last: u32) {
        self.by_name.remove(name);
        self.last.insert(name.to_owned(), last);
        if self.last.len() > GONE {
            let greatest = std::mem::take(&mut self.last).into_values().max();
            self.forgotten = self.forgotten.max(greatest.unwrap_or(0));
        }
    }

    /// Names that are not known are numbered on from this.
    pub fn forgotten(&self) -> u32 {
        self.forgotten
    }

    /// As a file has it.
    pub fn set_forgotten(&mut self, forgotten: u32) {
        self.forgotten = forgotten;
    }
}

/// What differs between two documents: pointers with what is there in the one and in the other (null: nothing).
pub fn changes_between(from: &Value, to: &Value) -> Vec<Value> {
    let mut changes = Vec::new();
    compare(from, to, &mut String::new(), &mut changes);
    changes
}

fn compare(from: &Value, to: &Value, pointer: &mut String, changes: &mut Vec<Value>) {
    let length = pointer.len();
    let mut child = |key: &str, from: &Value, to: &Value, changes: &mut Vec<Value>| {
        pointer.push('/');
        pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        compare(from, to, pointer, changes);
        pointer.truncate(length);
    };
    match (from, to) {
        (Value::Object(from), Value::Object(to)) => {
            let keys: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
            for key in keys {
                let value =
                    |object: &serde_json::Map<String, Value>| object.get(key).cloned().unwrap_or_default();
                child(key, &value(from), &value(to), changes);
            }
        }
        (Value::Array(from), Value::Array(to)) => {
            for place in 0..from.len().max(to.len()) {
                let value = |list: &Vec<Value>| list.get(place).cloned().unwrap_or_default();
                child(&place.to_string(), &value(from), &value(to), changes);
            }
        }
        _ if from == to => {}
        _ => changes.push(json!({"pointer": pointer.as_str(), "from": from, "to": to})),
    }
}
