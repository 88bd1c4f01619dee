//! A map by text of which a changed copy costs little: spread over shards by hash, a change copies one shard.

use std::collections::HashMap;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

/// Shards of one map.
const SHARDS: usize = 64;

type Shard<V> = Arc<HashMap<Arc<str>, V>>;

/// A map whose clones share what is equal.
#[derive(Debug, Clone)]
pub(super) struct Shards<V> {
    shards: Arc<[Shard<V>]>,
    len: usize,
}

impl<V> Default for Shards<V> {
    fn default() -> Self {
        let empty = Arc::new(HashMap::new());
        Shards { shards: (0..SHARDS).map(|_| Arc::clone(&empty)).collect(), len: 0 }
    }
}

impl<V: Clone> Shards<V> {
    fn place(key: &str) -> usize {
        xxh3_64(key.as_bytes()) as usize % SHARDS
    }

    fn shard(&mut self, key: &str) -> &mut HashMap<Arc<str>, V> {
        Arc::make_mut(&mut Arc::make_mut(&mut self.shards)[Self::place(key)])
    }

    pub fn get(&self, key: &str) -> Option<&V> {
        self.shards[Self::place(key)].get(key)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// What was there before.
    pub fn insert(&mut self, key: &str, value: V) -> Option<V> {
        let before = self.shard(key).insert(key.into(), value);
        self.len += usize::from(before.is_none());
        before
    }

    pub fn remove(&mut self, key: &str) -> Option<V> {
        self.get(key)?;
        let before = self.shard(key).remove(key);
        self.len -= usize::from(before.is_some());
        before
    }

    /// Keys that another map lacks, in no order; shards that both share are passed over.
    pub fn beyond<'a>(&'a self, other: &'a Shards<V>) -> impl Iterator<Item = &'a Arc<str>> {
        let pairs = self.shards.iter().zip(other.shards.iter());
        let differ = pairs.filter(|(own, other)| !Arc::ptr_eq(own, other));
        differ.flat_map(|(own, other)| own.keys().filter(|key| !other.contains_key(*key)))
    }

    /// In no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }
}
