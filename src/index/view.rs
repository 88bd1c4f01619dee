//! A view: the index as it is at one sequence number, while writes go on.
//!
//! Everything that a request asks of items goes through one view, so filter, vector and attributes agree. A view keeps the
//! slots that it may look for from being swept: hold it for one request, not for longer.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::Index;
use super::matching::Matching;
use super::plan::PlanKind;
use super::query::{Query, QueryError};
use super::search::{Found, SearchParams};
use super::selection::Selection;
use crate::arena::Reading;
use crate::attributes::{Bitset, ItemFacts};

/// See the module's page.
#[derive(Debug)]
pub struct View<'a> {
    index: &'a Index,
    reading: Reading<'a>,
    /// When searches end with what they have.
    deadline: Mutex<Option<Instant>>,
    /// Slots below this were born at or before the view's sequence number.
    slots: u32,
    now: i64,
}

impl Index {
    /// The index as it is now; items whose time ran out before `now` (milliseconds since the epoch) are not in it.
    pub fn view(&self, now: i64) -> View<'_> {
        let reading = self.readers.enter(&self.published);
        let (items, seq) = (&self.items, reading.seq);
        let later = items.parts.facts.as_slice().get(items.base()..).unwrap_or(&[]);
        let all = later.last().is_none_or(|facts| facts.seq <= seq);
        let born = if all { later.len() } else { later.partition_point(|facts| facts.seq <= seq) };
        View { index: self, reading, deadline: Mutex::new(None), slots: (items.base() + born) as u32, now }
    }

    /// One search of the index as it is now; see [`View::search`].
    pub fn search(&self, query: &Query, params: &SearchParams<'_>) -> Result<Found, QueryError> {
        self.view(i64::MIN).search(query, params)
    }
}

impl<'a> View<'a> {
    /// The index behind it.
    pub fn index(&self) -> &'a Index {
        self.index
    }

    /// The sequence number whose state this is.
    pub fn seq(&self) -> u64 {
        self.reading.seq
    }

    /// Searches of this view end at `deadline`, with the best that they have by then.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    /// When searches of this view end.
    pub fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every slot is visible: nothing has died or expires.
    pub(super) fn is_whole(&self) -> bool {
        self.index.items.deaths().is_empty() && !self.index.expiring()
    }

    /// Whether a slot is not younger than the view.
    #[inline]
    pub(super) fn is_born(&self, slot: u32) -> bool {
        slot < self.slots
    }

    /// Whether a slot is in the view.
    #[inline]
    pub fn sees(&self, slot: u32) -> bool {
        if slot >= self.slots {
            return false;
        }
        let died = self.index.items.died(slot);
        (died == 0 || died > self.reading.seq) && !self.has_expired(slot)
    }

    fn has_expired(&self, slot: u32) -> bool {
        self.index.expiring()
            && self
                .index
                .items
                .facts(slot)
                .is_some_and(|facts| facts.expires_at != 0 && facts.expires_at <= self.now)
    }

    /// Slots that had died by the view, in the order of their deaths, without the first `known`.
    pub(super) fn deaths_since(&self, known: usize) -> impl Iterator<Item = u32> + '_ {
        let items = &self.index.items;
        let deaths = items.deaths().get(known..).unwrap_or(&[]);
        deaths.iter().copied().take_while(|&slot| items.died(slot) <= self.reading.seq)
    }

    /// Takes out of a set the slots that had died by the view.
    pub(super) fn leave_out_dead(&self, set: &mut Bitset) {
        self.deaths_since(0).for_each(|slot| set.remove(slot));
    }

    /// The slots on a node, of whatever state.
    pub(super) fn items_on(&self, node: u32) -> impl Iterator<Item = u32> + '_ {
        self.index.items.parts.on(node)
    }

    /// Takes out of a set the slots that are not in the view.
    pub fn retain(&self, set: &mut Bitset) {
        self.leave_out_dead(set);
        if self.index.expiring() {
            let expired: Vec<u32> = set.iter().filter(|&slot| self.has_expired(slot)).collect();
            expired.into_iter().for_each(|slot| set.remove(slot));
        }
    }

    /// The slots in the view.
    pub fn all(&self) -> Bitset {
        let mut set = Bitset::full(self.slots as usize);
        self.retain(&mut set);
        set
    }

    /// Number of items in the view; expired ones that nobody has deleted yet count.
    pub fn count(&self) -> u32 {
        let (items, deaths) = (&self.index.items, self.index.items.deaths());
        let is_dead = |slot: &u32| items.died(*slot) <= self.reading.seq;
        let all = deaths.last().is_none_or(is_dead);
        let dead = if all { deaths.len() } else { deaths.partition_point(is_dead) };
        self.slots - dead as u32
    }

    /// The k nearest items. Blocking: for a pool of threads, not the reactor.
    pub fn search(&self, query: &Query, params: &SearchParams<'_>) -> Result<Found, QueryError> {
        let selection = params.allowed.map_or_else(Selection::all, |allowed| self.selection(allowed));
        self.search_within(query, params, &selection)
    }

    /// The k nearest items of a selection that was made in this view; `allowed` of the parameters is not looked at.
    pub fn search_within(
        &self,
        query: &Query,
        params: &SearchParams<'_>,
        selection: &Selection,
    ) -> Result<Found, QueryError> {
        self.index.search_view(self, query, params, selection, None)
    }

    /// As `search_within` by a plan of the caller's choice, for benchmarks and tests: a walk that cannot go on becomes a scan as
    /// always.
    pub fn search_by(
        &self,
        plan: PlanKind,
        query: &Query,
        params: &SearchParams<'_>,
        selection: &Selection,
    ) -> Result<Found, QueryError> {
        self.index.search_view(self, query, params, selection, Some(plan))
    }

    /// The selection of the slots of a set, of which those that are not in the view do not count.
    pub fn selection(&self, allowed: &Bitset) -> Selection {
        Selection::only(Arc::new(Matching::once(self, allowed.clone())))
    }

    /// The number of an item's id: the same for all its slots, while the index is open.
    pub fn id_number(&self, slot: u32) -> Option<u32> {
        self.index.items.id_number(slot)
    }

    /// The number of an id that is or was in the index.
    pub fn number_of(&self, id: &str) -> Option<u32> {
        self.index.items.parts.ids.find(id)
    }

    /// The item of an id's number.
    pub fn find_number(&self, number: u32) -> Option<u32> {
        self.visible(self.index.items.newest_of(number)?)
    }

    /// The slot of the same id that is in the view, from a newer one or the same.
    fn visible(&self, newest: u32) -> Option<u32> {
        let mut slot = newest;
        // Newer slots than this view's are passed over; older ones than the first it could see are dead to it.
        while slot >= self.slots {
            slot = self.index.items.before(slot)?;
        }
        Some(slot).filter(|&slot| self.sees(slot))
    }

    /// The caller's version of an item, and when it expires (0 for never).
    pub fn version(&self, slot: u32) -> (u64, i64) {
        self.index.items.facts(slot).map_or((0, 0), |facts| (facts.version, facts.expires_at))
    }
}

impl Deref for View<'_> {
    type Target = Index;

    fn deref(&self) -> &Index {
        self.index
    }
}

impl ItemFacts for View<'_> {
    fn items(&self) -> u32 {
        self.slots
    }
    fn id(&self, item: u32) -> &str {
        self.index.id(item)
    }
    fn find(&self, id: &str) -> Option<u32> {
        self.visible(self.index.items.newest(id)?)
    }
    fn inserted_at(&self, item: u32) -> i64 {
        self.index.items.facts(item).map_or(0, |facts| facts.inserted_at)
    }
    fn seq(&self, item: u32) -> u64 {
        self.index.items.facts(item).map_or(0, |facts| facts.seq)
    }
}
