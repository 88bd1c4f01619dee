//! What is kept between requests: values by key, bounded in bytes, those used longest ago dropped first.
//!
//! A value counts what its owner says it takes, and what its place takes: values that take nothing are bounded, too.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Names a value by all that it depends on; a hash without known collisions, so that nobody can ask for another's.
pub type CacheKey = [u8; 32];

/// Bytes of a place with its key, about.
const PLACE: usize = 128;

/// Values by key, shared between threads. A value that is larger than the bound is kept alone.
#[derive(Debug)]
pub struct Cache<V> {
    inner: Mutex<Inner<V>>,
    most: usize,
}

#[derive(Debug)]
struct Inner<V> {
    entries: HashMap<CacheKey, Entry<V>>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: usize,
    used: u64,
}

impl<V: Clone> Cache<V> {
    /// An empty cache of at most so many bytes.
    pub fn new(most: usize) -> Self {
        Cache { inner: Mutex::new(Inner { entries: HashMap::new(), bytes: 0, clock: 0 }), most }
    }

    /// The value of a key.
    pub fn get(&self, key: &CacheKey) -> Option<V> {
        let mut inner = self.lock();
        let now = inner.tick();
        let entry = inner.entries.get_mut(key)?;
        entry.used = now;
        Some(entry.value.clone())
    }

    /// The value of a key; a new one, of no bytes of its own yet, when there is none.
    pub fn get_or_new(&self, key: &CacheKey, new: impl FnOnce() -> V) -> V {
        let mut inner = self.lock();
        let now = inner.tick();
        if let Some(entry) = inner.entries.get_mut(key) {
            entry.used = now;
            return entry.value.clone();
        }
        let value = new();
        inner.entries.insert(*key, Entry { value: value.clone(), bytes: PLACE, used: now });
        inner.bytes += PLACE;
        inner.shrink(self.most);
        value
    }

    /// Keeps a value, in place of the one that its key had.
    pub fn put(&self, key: &CacheKey, value: V, bytes: usize) {
        self.get_or_new(key, || value.clone());
        let mut inner = self.lock();
        if let Some(entry) = inner.entries.get_mut(key) {
            entry.value = value;
        }
        drop(inner);
        self.weigh(key, bytes);
    }

    /// Says how many bytes a value takes by now, its place not counted.
    pub fn weigh(&self, key: &CacheKey, bytes: usize) {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(key) else { return };
        let before = std::mem::replace(&mut entry.bytes, PLACE + bytes);
        inner.bytes = inner.bytes - before + PLACE + bytes;
        inner.shrink(self.most);
    }

    /// Values, and the bytes of them and their places.
    pub fn size(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.entries.len(), inner.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Inner<V>> {
        // Nothing is left half done under the lock but a sum of bytes, which bounds and decides nothing else.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Inner<V> {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// When there are more bytes, drops those used longest ago until a quarter of them is free, so that not every new value has
    /// to look for one; the last used stays in any case.
    fn shrink(&mut self, most: usize) {
        if self.bytes <= most {
            return;
        }
        let mut by_age: Vec<(u64, CacheKey)> =
            self.entries.iter().map(|(key, entry)| (entry.used, *key)).collect();
        by_age.sort_unstable();
        by_age.pop();
        for (_, key) in by_age {
            if self.bytes <= most / 4 * 3 {
                break;
            }
            if let Some(entry) = self.entries.remove(&key) {
                self.bytes -= entry.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> CacheKey {
        [number; 32]
    }

    #[test]
    fn the_longest_unused_goes_first_and_bytes_stay_within_the_bound() {
        let each = PLACE + 10;
        let cache = Cache::new(10 * each);
        for number in 0..10 {
            cache.put(&key(number), number, 10);
        }
        assert_eq!(cache.size(), (10, 10 * each));
        assert_eq!(cache.get(&key(0)), Some(0));
        cache.put(&key(10), 10, 10);
        let (entries, bytes) = cache.size();
        assert!(bytes <= 10 * each && bytes == entries * each && entries >= 7);
        assert_eq!((cache.get(&key(0)), cache.get(&key(1)), cache.get(&key(10))), (Some(0), None, Some(10)));
    }

    #[test]
    fn values_are_replaced_grow_and_are_kept_alone_when_too_large() {
        let cache = Cache::new(1000);
        cache.put(&key(1), 1, 40);
        cache.put(&key(1), 2, 60);
        assert_eq!((cache.get(&key(1)), cache.size()), (Some(2), (1, PLACE + 60)));
        assert_eq!(cache.get_or_new(&key(2), || 7), 7);
        assert_eq!(cache.get_or_new(&key(2), || 8), 7);
        cache.weigh(&key(2), 1000);
        assert_eq!((cache.get(&key(2)), cache.size()), (Some(7), (1, PLACE + 1000)));
        cache.weigh(&key(9), 5);
        assert_eq!(cache.size(), (1, PLACE + 1000));
    }

    #[test]
    fn values_that_take_nothing_are_bounded() {
        let cache = Cache::new(10 * PLACE);
        for number in 0..=255 {
            assert_eq!(cache.get_or_new(&key(number), || number), number);
            assert!(cache.size().0 <= 10, "{:?}", cache.size());
        }
    }
}
