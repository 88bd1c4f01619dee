//! From ids to the slots of one index: remembered, as far as it stays true while the index is open.
//!
//! What is remembered are numbers of ids, which all slots of an id share: so whatever slot an id has later is found.
//! Ids that the index does not have yet are asked for again when it has got new ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use super::events::Numbers;
use super::{Counts, ExcludeSet, State};
use crate::attributes::{Cache, ItemFacts};
use crate::collection::recipe::Recipe;
use crate::deadline::Deadline;
use crate::index::{Matching, View};

const NONE: u32 = u32::MAX;
/// Bytes of exclude sets that are kept as items of the index, about.
const SETS_BYTES: usize = 256 << 20;
/// How long newcomers are remembered, for how many kinds, and how many slots may be younger.
const NEWCOMERS_KEPT_MS: i64 = 60_000;
const NEWCOMER_KEYS: usize = 8;
const NEW_SLOTS: u32 = 20_000;
/// What it is to a deadline to ask one item.
const ASKED: usize = 16;
/// Parsed profiles that are remembered; beyond that all are forgotten.
const RECIPES: usize = 1_000;

/// What is remembered of one index.
#[derive(Debug)]
pub(in crate::collection) struct SlotCaches {
    /// By name.
    sets: Cache<KnownSet>,
    counted: Mutex<Counted>,
    newcomers: Mutex<Vec<Newcomers>>,
    /// Stored profiles, parsed for this index's attributes, by name and version.
    recipes: Mutex<HashMap<String, Arc<Recipe>>>,
}

impl Default for SlotCaches {
    fn default() -> Self {
        SlotCaches {
            sets: Cache::new(SETS_BYTES),
            counted: Mutex::default(),
            newcomers: Mutex::default(),
            recipes: Mutex::default(),
        }
    }
}

/// An exclude set and the items that it names, as they were used last. None while they are looked for.
type KnownSet = Arc<Mutex<Option<(Arc<ExcludeSet>, Arc<Matching>)>>>;

/// How old and how often shown a newcomer may be.
pub(in crate::collection) type NewcomerKey = (Option<i64>, Option<u64>);

/// The newcomers of one moment. Later ones are among them, or have younger slots: items grow older and are shown more often.
#[derive(Debug, Clone)]
struct Newcomers {
    key: NewcomerKey,
    seq: u64,
    now: i64,
    slots: u32,
    items: Arc<Vec<u32>>,
}

/// Numbers of counters by the numbers of ids.
#[derive(Debug, Default)]
struct Counted {
    /// Whose numbers these are.
    of: Arc<RwLock<Numbers>>,
    by_id: Arc<Vec<u32>>,
    /// Counters that were looked at.
    numbers: usize,
    unknown: Vec<u32>,
    slots: u32,
}

impl SlotCaches {
    /// A stored profile, parsed when it is asked for first.
    pub fn recipe<E>(
        &self,
        name: &str,
        parse: impl FnOnce() -> Result<Arc<Recipe>, E>,
    ) -> Result<Arc<Recipe>, E> {
        let lock = || self.recipes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(recipe) = lock().get(name) {
            return Ok(Arc::clone(recipe));
        }
        let recipe = parse()?;
        let mut recipes = lock();
        if recipes.len() >= RECIPES {
            recipes.clear();
        }
        recipes.insert(name.to_owned(), Arc::clone(&recipe));
        Ok(recipe)
    }

    /// The items of a set that are in the view. Kept: used again, it costs what was written and what came and went since.
    pub fn excluded(&self, view: &View<'_>, name: &str, set: &Arc<ExcludeSet>) -> Arc<Matching> {
        let key = *blake3::hash(name.as_bytes()).as_bytes();
        let place = self.sets.get_or_new(&key, KnownSet::default);
        let mut known = place.lock().unwrap_or_else(PoisonError::into_inner);
        let contains = |id: &str| set.contains(id);
        let items = match known.take() {
            Some((before, items)) if items.seq() > view.seq() || before.change > set.change => {
                // Of a later moment than this one, which makes its own.
                *known = Some((before, items));
                drop(known);
                return view.named_since(None, set.ids(), std::iter::empty(), contains);
            }
            Some((before, items)) => {
                view.named_since(Some(items), set.beyond(&before), before.beyond(set), contains)
            }
            None => view.named_since(None, set.ids(), std::iter::empty(), contains),
        };
        *known = Some((Arc::clone(set), Arc::clone(&items)));
        drop(known);
        self.sets.weigh(&key, items.bytes() + set.weight(name));
        items
    }

    /// The slots that `is_new`, which goes by the key: only those that were new a while ago are asked, and younger ones. Past the
    /// deadline no more are asked, and nothing is remembered.
    pub fn newcomers(
        &self,
        view: &View<'_>,
        key: NewcomerKey,
        now: i64,
        is_new: &dyn Fn(u32) -> bool,
        deadline: &Deadline,
    ) -> Vec<u32> {
        let is_new = |item: u32| !deadline.spends(ASKED) && is_new(item);
        let lock = || self.newcomers.lock().unwrap_or_else(PoisonError::into_inner);
        let (slots, seq) = (ItemFacts::items(view), view.seq());
        let fits = |known: &&Newcomers| {
            let fresh = known.now <= now && now - known.now < NEWCOMERS_KEPT_MS;
            known.key == key && known.seq <= seq && fresh && slots.saturating_sub(known.slots) <= NEW_SLOTS
        };
        let known = lock().iter().find(fits).cloned();
        if let Some(known) = known {
            let old = known.items.iter().copied().filter(|&item| is_new(item));
            return old.chain((known.slots..slots).filter(|&item| is_new(item))).collect();
        }
        let items: Vec<u32> = (0..slots).filter(|&item| is_new(item)).collect();
        if deadline.has_passed() {
            return items;
        }
        let mut all = lock();
        all.retain(|known| known.key != key);
        if all.len() >= NEWCOMER_KEYS {
            all.remove(0);
        }
        all.push(Newcomers { key, seq, now, slots, items: Arc::new(items.clone()) });
        items
    }

    /// Numbers of counters by the numbers of ids.
    fn counted(&self, view: &View<'_>, state: &State) -> Arc<Vec<u32>> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&counted.of, &state.numbers) {
            *counted = Counted { of: Arc::clone(&state.numbers), ..Counted::default() };
        }
        let slots = ItemFacts::items(view);
        let numbers = state.numbers();
        let grown = slots > counted.slots && !counted.unknown.is_empty();
        if numbers.ids.len() == counted.numbers && !grown {
            return Arc::clone(&counted.by_id);
        }
        let mut asked = std::mem::take(&mut counted.unknown);
        asked.extend(counted.numbers as u32..numbers.ids.len() as u32);
        let mut by_id = std::mem::take(&mut counted.by_id);
        for number in asked {
            match view.number_of(&numbers.ids[number as usize]) {
                Some(id) => {
                    let by_id = Arc::make_mut(&mut by_id);
                    by_id.resize(by_id.len().max(id as usize + 1), NONE);
                    by_id[id as usize] = number;
                }
                None => counted.unknown.push(number),
            }
        }
        counted.numbers = numbers.ids.len();
        counted.slots = slots;
        counted.by_id = by_id;
        Arc::clone(&counted.by_id)
    }
}

/// A view's facts with the counters of its moment.
pub(in crate::collection) struct Facts<'a> {
    view: &'a View<'a>,
    state: &'a State,
    caches: &'a SlotCaches,
    counted: OnceLock<Arc<Vec<u32>>>,
}

impl<'a> Facts<'a> {
    pub fn new(view: &'a View<'a>, state: &'a State, caches: &'a SlotCaches) -> Self {
        Facts { view, state, caches, counted: OnceLock::new() }
    }

    /// Counters of an item; zeros when nothing was counted.
    pub fn counts(&self, item: u32) -> Counts {
        let counted = self.counted.get_or_init(|| self.caches.counted(self.view, self.state));
        let number = self.view.id_number(item).and_then(|id| counted.get(id as usize).copied());
        let number = number.filter(|&number| number != NONE);
        number.and_then(|number| self.state.counters.get(number)).copied().unwrap_or_default()
    }
}

impl ItemFacts for Facts<'_> {
    fn items(&self) -> u32 {
        ItemFacts::items(self.view)
    }
    fn id(&self, item: u32) -> &str {
        self.view.id(item)
    }
    fn find(&self, id: &str) -> Option<u32> {
        self.view.find(id)
    }
    fn inserted_at(&self, item: u32) -> i64 {
        self.view.inserted_at(item)
    }
    fn seq(&self, item: u32) -> u64 {
        ItemFacts::seq(self.view, item)
    }
    fn impressions(&self, item: u32) -> u64 {
        self.counts(item).impressions
    }
    fn clicks(&self, item: u32) -> u64 {
        self.counts(item).clicks
    }
}
