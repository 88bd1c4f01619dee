//! Which items a filter lets through, exactly, at one sequence number; kept between requests and brought up to date.
//!
//! Slots never change, so what is known of one stays right until it dies: a kept set is brought to a later state by asking the
//! filter about the slots born since, and taking out those that died since. A request whose view is older than a kept set (it
//! began before a write that another has seen) makes its own.
//!
//! Expired items that nobody has deleted yet are in the sets; searches leave them out.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use super::view::View;
use crate::attributes::{Bitset, Cache, Filter, FilterContext, FilterError, ItemFacts, TestSets};
use crate::deadline::Deadline;

/// Bytes of kept sets of filters, and of single tests.
const KEPT_BYTES: usize = 64 << 20;
/// Who waits for a set that another makes lets others run so often, then sleeps for so long at a time.
const YIELDS: u64 = 64;
const PAUSE: Duration = Duration::from_micros(100);
/// Sets of more items than this that are not kept do without the set of their nodes: a walk asks a node's items instead.
const FEW: usize = 1 << 14;

/// Takes a lock, or gives up at a deadline: who has it may be at thousands of tests, with a later deadline or none.
fn lock_until<'l, T>(lock: &'l Mutex<T>, deadline: &Deadline) -> Option<MutexGuard<'l, T>> {
    for turn in 0_u64.. {
        match lock.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if deadline.passes_now() => return None,
            // To bring a set up to date takes microseconds, mostly.
            Err(TryLockError::WouldBlock) if turn < YIELDS => std::thread::yield_now(),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
        }
    }
    None
}

/// Items of one view that pass a test.
#[derive(Debug, Clone)]
pub struct Matching {
    /// The sequence number whose state this is.
    seq: u64,
    /// The items' slots, none of them dead; as many bits as the view has slots.
    slots: Bitset,
    count: usize,
    /// The nodes that they hang on, and how many these are.
    nodes: Option<(Bitset, usize)>,
    /// Deaths that were taken into account.
    deaths: usize,
}

/// A matching that is kept. None while it is made.
type Kept = Arc<Mutex<Option<Arc<Matching>>>>;

/// What an index keeps of filters.
#[derive(Debug)]
pub(super) struct Filters {
    tests: TestSets,
    matching: Cache<Kept>,
    /// Tells this index from one that was opened later.
    index: u64,
}

impl Filters {
    pub fn new() -> Filters {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let index = NEXT.fetch_add(1, Relaxed);
        Filters { tests: TestSets::new(KEPT_BYTES), matching: Cache::new(KEPT_BYTES), index }
    }

    /// How many filters and single tests are kept.
    #[cfg(test)]
    pub fn size(&self) -> (usize, usize) {
        (self.matching.size().0, self.tests.size().0)
    }
}

impl Matching {
    /// These slots, as far as they are in the view. For a set that is used once.
    pub(super) fn once(view: &View<'_>, mut slots: Bitset) -> Matching {
        view.leave_out_dead(&mut slots);
        let count = slots.count();
        let mut matching = Matching { seq: view.seq(), slots, count, nodes: None, deaths: 0 };
        if count <= FEW {
            matching.find_nodes(view);
        }
        matching
    }

    fn nothing() -> Matching {
        let nodes = Some((Bitset::empty(0), 0));
        Matching { seq: 0, slots: Bitset::empty(0), count: 0, nodes, deaths: 0 }
    }

    /// Items.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether an item is in it.
    #[inline]
    pub fn contains(&self, slot: u32) -> bool {
        self.slots.contains(slot)
    }

    /// The items' slots.
    pub fn slots(&self) -> &Bitset {
        &self.slots
    }

    /// The nodes that they hang on, if these were looked for.
    pub(super) fn nodes(&self) -> Option<&Bitset> {
        self.nodes.as_ref().map(|(nodes, _)| nodes)
    }

    /// How many nodes they hang on, at most.
    pub(super) fn node_count(&self) -> usize {
        self.nodes.as_ref().map_or(self.count, |&(_, count)| count)
    }

    /// The sequence number whose state this is.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether any of its items may hang on a node; right where the nodes were looked for.
    #[inline]
    pub(super) fn touches(&self, node: u32) -> bool {
        self.nodes().is_none_or(|nodes| nodes.contains(node))
    }

    /// Bytes that it takes, about.
    pub fn bytes(&self) -> usize {
        self.slots.len() / 8 + self.nodes().map_or(0, Bitset::len) / 8 + 128
    }

    fn find_nodes(&mut self, view: &View<'_>) {
        let mut nodes = Bitset::empty(view.graph().nodes());
        self.slots.iter().for_each(|slot| nodes.insert(view.node(slot)));
        let count = nodes.count();
        self.nodes = Some((nodes, count));
    }

    /// Brings a set to the state of a view that is no older; `since(start)` gives the passing slots from `start` (a multiple
    /// of 64) on, counted from there.
    fn advance(
        &mut self,
        view: &View<'_>,
        since: impl FnOnce(usize) -> Result<Bitset, FilterError>,
    ) -> Result<(), FilterError> {
        let known = self.slots.len();
        if view.items() as usize > known || known == 0 {
            let start = known / 64 * 64;
            self.slots.extend(start, &since(start)?);
        }
        let (nodes, node_count) = self.nodes.get_or_insert_with(|| (Bitset::empty(0), 0));
        nodes.grow(view.graph().nodes());
        for slot in self.slots.iter_from(known as u32) {
            self.count += 1;
            nodes.insert(view.node(slot));
        }
        *node_count = nodes.count();
        self.bury(view);
        self.seq = view.seq();
        Ok(())
    }

    /// Adds slots that were found to pass, as far as they are known and in the view.
    fn add(&mut self, view: &View<'_>, slots: impl Iterator<Item = u32>) {
        let Some((nodes, node_count)) = &mut self.nodes else { return };
        for slot in slots {
            if (slot as usize) < self.slots.len() && !self.slots.contains(slot) {
                self.slots.insert(slot);
                self.count += 1;
                nodes.insert(view.node(slot));
            }
        }
        *node_count = nodes.count();
    }

    /// Takes out what died up to the view.
    fn bury(&mut self, view: &View<'_>) {
        let before = self.deaths;
        let died = view.deaths_since(before).inspect(|_| self.deaths += 1).collect::<Vec<u32>>();
        self.take_out(view, died.into_iter());
    }

    /// Takes out slots, and nodes that carry nothing of the set any more.
    fn take_out(&mut self, view: &View<'_>, slots: impl Iterator<Item = u32>) {
        let Some((nodes, node_count)) = &mut self.nodes else { return };
        let mut left = Vec::new();
        for slot in slots {
            if self.slots.contains(slot) {
                self.slots.remove(slot);
                self.count -= 1;
                left.push(view.node(slot));
            }
        }
        left.sort_unstable();
        left.dedup();
        for node in left {
            if nodes.contains(node) && !view.items_on(node).any(|slot| self.slots.contains(slot)) {
                nodes.remove(node);
                *node_count -= 1;
            }
        }
    }
}

impl View<'_> {
    /// The items of this view that pass a filter, and how many. Kept by what the filter tests: the same filter again costs no
    /// more than what was written in between. Errors only for a context value that is missing or of the wrong type, and when
    /// the view's deadline comes first.
    pub fn matching(&self, filter: &Filter, context: &FilterContext) -> Result<Arc<Matching>, FilterError> {
        let filter = filter.bind(context)?;
        let filters = &self.index().filters;
        let deadline = Deadline::at(self.deadline());
        let tests = &filters.tests;
        let since = |start| filter.evaluate_since(start, &deadline, self.columns(), self, context, tests);
        let Some(key) = filter.key() else { return Ok(Arc::new(Matching::once(self, since(0)?))) };
        let kept = filters.matching.get_or_new(&key, Kept::default);
        let mut place = lock_until(&kept, &deadline).ok_or_else(FilterError::late)?;
        // Taken out while it is changed, so that a panic leaves none rather than half of one.
        let mut matching = match place.take() {
            Some(matching) if matching.seq > self.seq() => {
                *place = Some(matching);
                drop(place);
                return Ok(Arc::new(Matching::once(self, since(0)?)));
            }
            Some(matching) => matching,
            None => Arc::new(Matching::nothing()),
        };
        let mut advanced = Ok(());
        if matching.seq < self.seq() || matching.slots.len() < self.items() as usize {
            advanced = Arc::make_mut(&mut matching).advance(self, since);
            filters.matching.weigh(&key, matching.bytes());
        }
        // After an error it is what it was.
        *place = Some(Arc::clone(&matching));
        advanced.map(|()| matching)
    }

    /// The items of this view that a set of ids names. The set keeps what it found: used again, it looks for new ids alone, and
    /// for new versions of items among what was written in between.
    pub fn named(&self, ids: &IdSet) -> Arc<Matching> {
        let mut inner = ids.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { ids, fresh, known } = &mut *inner;
        let contains = |id: &str| ids.contains(id);
        let here = known.take().filter(|(index, _)| *index == self.index().filters.index);
        let matching = match here {
            Some((index, matching)) if matching.seq > self.seq() => {
                *known = Some((index, matching));
                return self.named_since(None, ids.iter(), std::iter::empty(), contains);
            }
            Some((_, matching)) => {
                self.named_since(Some(matching), fresh.iter(), std::iter::empty(), contains)
            }
            None => self.named_since(None, ids.iter(), std::iter::empty(), contains),
        };
        fresh.clear();
        *known = Some((self.index().filters.index, Arc::clone(&matching)));
        matching
    }

    /// The items of this view that ids name: those that `contains` holds for. `known` is what was found in an earlier state of
    /// this index, before the ids of `coming` came and those of `going` went; without it, `coming` are all.
    pub fn named_since<'i>(
        &self,
        known: Option<Arc<Matching>>,
        coming: impl Iterator<Item = &'i Arc<str>>,
        going: impl Iterator<Item = &'i Arc<str>>,
        contains: impl Fn(&str) -> bool,
    ) -> Arc<Matching> {
        let coming: Vec<&str> = coming.map(|id| &**id).collect();
        let going: Vec<&str> = going.map(|id| &**id).collect();
        let Some(mut shared) = known else { return self.these(self.find_all(&coming)) };
        let is_old = shared.seq < self.seq() || shared.slots.len() < self.items() as usize;
        if is_old || !coming.is_empty() || !going.is_empty() {
            let matching = Arc::make_mut(&mut shared);
            let since = |start: usize| {
                let named = |slot: u32| contains(self.id(slot));
                Ok(Bitset::from_fn(self.items() as usize - start, |at| named(at + start as u32)))
            };
            // The ids are asked about slots born since; it cannot fail, as no filter is evaluated.
            let _ = matching.advance(self, since);
            matching.take_out(self, self.find_all(&going).into_iter());
            matching.add(self, self.find_all(&coming).into_iter());
        }
        shared
    }

    /// The items of those ids that are there. Quicker for many than one after another.
    pub fn find_all(&self, ids: &[&str]) -> Vec<u32> {
        let numbers = self.index().items.parts.ids.find_all(ids);
        numbers.into_iter().filter_map(|number| self.find_number(number?)).collect()
    }

    /// The items of this view among these slots.
    pub fn these(&self, slots: impl IntoIterator<Item = u32>) -> Arc<Matching> {
        let mut set = Bitset::empty(self.items() as usize);
        slots.into_iter().for_each(|slot| set.insert(slot));
        let mut matching = Matching::once(self, set);
        if matching.nodes.is_none() {
            matching.find_nodes(self);
        }
        Arc::new(matching)
    }
}

/// Ids of items that are there or not, to be found again in every state of an index, or in another index. Shared between
/// threads.
#[derive(Debug, Default)]
pub struct IdSet {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    ids: HashSet<Arc<str>>,
    /// Those that `known` has not been told of.
    fresh: Vec<Arc<str>>,
    /// Of one index, the items that the others name.
    known: Option<(u64, Arc<Matching>)>,
}

impl IdSet {
    /// These ids.
    pub fn new<'a>(ids: impl IntoIterator<Item = &'a str>) -> IdSet {
        let set = IdSet::default();
        set.add(ids);
        set
    }

    /// Adds ids.
    pub fn add<'a>(&self, ids: impl IntoIterator<Item = &'a str>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            let id: Arc<str> = id.into();
            if inner.ids.insert(Arc::clone(&id)) {
                inner.fresh.push(id);
            }
        }
    }

    /// Takes ids out; all others are looked for afresh.
    pub fn remove<'a>(&self, ids: impl IntoIterator<Item = &'a str>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            inner.ids.remove(id);
        }
        inner.fresh.clear();
        inner.known = None;
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_lock_gives_up_at_the_deadline() {
        let (lock, past) = (Mutex::new(7), Deadline::at(Some(std::time::Instant::now())));
        assert_eq!(lock_until(&lock, &past).map(|guard| *guard), Some(7), "a free one is taken all the same");
        let held = lock.lock();
        assert!(lock_until(&lock, &past).is_none());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| lock_until(&lock, &Deadline::never()).map(|guard| *guard));
            std::thread::sleep(20 * PAUSE);
            drop(held);
            assert_eq!(waiting.join().ok(), Some(Some(7)));
        });
    }
}
