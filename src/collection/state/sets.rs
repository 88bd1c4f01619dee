//! Named sets of ids that searches leave out, each with a time at which it is gone.

use std::sync::Arc;

use super::shards::Shards;

/// Bytes that an id or a set takes beside its text, about.
const OVERHEAD: usize = 64;
/// Sets that have expired are looked for when so much time went by between two changes, in milliseconds.
const SWEEP: i64 = 10_000;

/// All sets of a collection.
#[derive(Debug, Clone, Default)]
pub(in crate::collection) struct Sets {
    by_name: Shards<Arc<ExcludeSet>>,
    /// Of all ids and names, about.
    bytes: usize,
    /// When expired ones were last looked for.
    swept: i64,
    /// Numbers what was changed, so that a cache knows what it has.
    changes: u64,
}

/// A set of ids.
#[derive(Debug, Clone, Default)]
pub struct ExcludeSet {
    ids: Shards<()>,
    bytes: usize,
    /// Milliseconds since the epoch; 0 for never.
    pub expires_at: i64,
    /// Which of the changes of all sets made it what it is.
    pub(in crate::collection) change: u64,
}

impl ExcludeSet {
    /// Ids in it.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that it takes under its name, about.
    pub fn weight(&self, name: &str) -> usize {
        self.bytes + name.len() + OVERHEAD
    }

    /// Whether it is still there at a time.
    pub fn lives(&self, now: i64) -> bool {
        self.expires_at == 0 || now < self.expires_at
    }

    /// Its ids, in no order.
    pub fn ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.ids.iter().map(|(id, ())| id)
    }

    /// Whether it has an id.
    pub fn contains(&self, id: &str) -> bool {
        self.ids.get(id).is_some()
    }

    /// Its ids that another set lacks. What the two share, as two versions of one set do, costs nothing.
    pub fn beyond<'a>(&'a self, other: &'a ExcludeSet) -> impl Iterator<Item = &'a Arc<str>> {
        self.ids.beyond(&other.ids)
    }

    fn add(&mut self, ids: Vec<String>) {
        for id in ids {
            if self.ids.insert(&id, ()).is_none() {
                self.bytes += id.len() + OVERHEAD;
            }
        }
    }

    fn take_out(&mut self, ids: &[String]) {
        for id in ids {
            if self.ids.remove(id).is_some() {
                self.bytes -= id.len() + OVERHEAD;
            }
        }
    }
}

/// Bytes that a set of these ids takes, about.
pub(super) fn weight(name: &str, ids: &[String]) -> usize {
    name.len() + OVERHEAD + ids.iter().map(|id| id.len() + OVERHEAD).sum::<usize>()
}

impl Sets {
    pub fn get(&self, name: &str) -> Option<&Arc<ExcludeSet>> {
        self.by_name.get(name)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<ExcludeSet>)> {
        self.by_name.iter()
    }

    pub fn put(&mut self, name: &str, ids: Vec<String>, expires_at: i64) {
        let mut set = ExcludeSet { expires_at, ..ExcludeSet::default() };
        set.add(ids);
        self.replace(name, set);
    }

    pub fn change(&mut self, name: &str, add: Vec<String>, remove: &[String], expires_at: Option<i64>) {
        let Some(before) = self.by_name.get(name) else { return };
        let mut set = ExcludeSet::clone(before);
        set.take_out(remove);
        set.add(add);
        set.expires_at = expires_at.unwrap_or(set.expires_at);
        self.replace(name, set);
    }

    fn replace(&mut self, name: &str, mut set: ExcludeSet) {
        self.remove(name);
        self.changes += 1;
        set.change = self.changes;
        self.bytes += set.weight(name);
        self.by_name.insert(name, Arc::new(set));
    }

    pub fn remove(&mut self, name: &str) {
        if let Some(set) = self.by_name.remove(name) {
            self.bytes -= set.weight(name);
        }
    }

    /// When expired ones were last looked for.
    pub fn swept(&self) -> i64 {
        self.swept
    }

    /// As a file has it.
    pub fn set_swept(&mut self, swept: i64) {
        self.swept = swept;
    }

    /// Drops what has expired, every now and then by the time of the changes: a replay does the same.
    pub fn expire(&mut self, now: i64) {
        if now.saturating_sub(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        let gone: Vec<Arc<str>> =
            self.iter().filter(|(_, set)| !set.lives(now)).map(|(name, _)| Arc::clone(name)).collect();
        gone.iter().for_each(|name| self.remove(name));
    }
}
