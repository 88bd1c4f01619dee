//! What ranking needs beside the candidates: newcomers to explore, pinned items, and the items that `why` asks about.

use serde_json::{Value, json};

use super::SearchError;
use super::query::Prepared;
use super::retrieve::{Effort, best_similarity};
use super::search::{Allowed, Search};
use super::time::FINISH;
use crate::attributes::{Filter, FilterError, ItemFacts};
use crate::index::Candidate;
use crate::rank::Profile;

/// Beside the candidates.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// Found apart from the candidates: others would be in the way of all of them.
    pub newcomers: Vec<Candidate>,
    pub pinned: Vec<Candidate>,
    /// Items of `why` that may be candidates.
    pub why: Vec<Candidate>,
    /// Whether there was no time to look for all newcomers.
    pub interrupted: bool,
    /// What is said of each id of `why`: None for those in `why`, in their order.
    pub said: Vec<(String, Option<Value>)>,
}

impl Search<'_, '_> {
    /// Everything beside the candidates; `allowed` is what may be one.
    pub(super) fn extras(
        &self,
        query: &Prepared,
        allowed: &Allowed,
        effort: Effort,
    ) -> Result<Extras, SearchError> {
        let mut extras = Extras::default();
        let view = self.view();
        let similar = |item: u32| Candidate { item, similarity: self.similarity(query, item) };
        if let Some(profile) = self.chosen.profile() {
            (extras.newcomers, extras.interrupted) = self.newcomers(profile, query, allowed, effort)?;
            let pins = profile.pins(&self.context).map_err(|error| self.in_profile(error))?;
            let mut pinned: Vec<u32> = pins.iter().filter_map(|pin| view.find(pin.id)).collect();
            pinned.sort_unstable();
            pinned.dedup();
            pinned.retain(|&item| allowed.items.contains(view, item));
            extras.pinned = pinned.into_iter().map(similar).collect();
        }
        for id in &self.request.why {
            let said = match view.find(id) {
                None => Some(json!({"because": {"kind": "unknown"}})),
                Some(item) if allowed.items.contains(view, item) => {
                    extras.why.push(similar(item));
                    None
                }
                Some(item) => Some(json!({"because": self.refusal(item, query)?})),
            };
            extras.said.push((id.clone(), said));
        }
        Ok(extras)
    }

    /// The newcomers that are most like the query, and whether there was no time to look for all.
    fn newcomers(
        &self,
        profile: &Profile,
        query: &Prepared,
        allowed: &Allowed,
        effort: Effort,
    ) -> Result<(Vec<Candidate>, bool), SearchError> {
        let explore = profile.explore(&self.context).map_err(|error| self.in_profile(error))?;
        let Some(explore) = explore else { return Ok((Vec::new(), false)) };
        let (view, now) = (self.view(), self.moment.now);
        let is_new = |item: u32| explore.is_newcomer(item, &self.facts, now);
        let key = (explore.max_age, explore.max_impressions);
        let deadline = self.deadline().later(FINISH);
        let mut new = self.moment.caches.newcomers(view, key, now, &is_new, &deadline);
        new.retain(|&item| allowed.items.contains(view, item));
        let effort = Effort { wanted: explore.candidates.max(1), ..effort };
        let mut found = self.retrieve_among(query, &new, effort)?;
        // A given list brings only its own.
        found.candidates.truncate(explore.candidates);
        Ok((found.candidates, found.plan.interrupted || deadline.has_passed()))
    }

    fn similarity(&self, query: &Prepared, item: u32) -> f32 {
        match query.vectors().next() {
            Some(_) => best_similarity(self.view(), query, item),
            None => 0.0,
        }
    }

    /// Why an item that is there cannot be a candidate.
    fn refusal(&self, item: u32, query: &Prepared) -> Result<Value, SearchError> {
        let (columns, facts) = (self.view().columns(), &self.facts);
        if query.own.contains(&item) {
            return Ok(json!({"kind": "query"}));
        }
        if let Some(document) = &self.request.filter {
            let filter = Filter::parse(document, &self.view().schema().attributes);
            let blame = filter.and_then(|filter| filter.blame(item, columns, facts, &self.context));
            let blame = blame.map_err(|error| super::search::filter_error("/filter", error))?;
            if let Some(clauses) = blame {
                let clauses: Vec<String> = clauses.iter().map(|clause| format!("/filter{clause}")).collect();
                return Ok(json!({"kind": "filter", "clauses": clauses}));
            }
        }
        if let Some(profile) = self.chosen.profile() {
            let refusal = profile.refusal(item, columns, facts, &self.context);
            if let Some(refusal) = refusal.map_err(|error| self.in_profile(error))? {
                let mut said = json!(refusal);
                said["kind"] = json!(if refusal.rule.is_some() { "rule" } else { "profile" });
                return Ok(said);
            }
        }
        let id = self.view().id(item);
        let sets = self.request.exclude.sets.iter();
        let set = sets.into_iter().find(|name| {
            self.moment.state.sets.get(name).is_some_and(|set| set.lives(self.moment.now) && set.contains(id))
        });
        Ok(json!({"kind": "excluded", "set": set}))
    }

    /// An error whose pointer is into the profile.
    pub(super) fn in_profile(&self, error: FilterError) -> SearchError {
        if error.is_late {
            return SearchError::Timeout;
        }
        SearchError::Filter { pointer: self.chosen.pointer(&error.pointer), reason: error.reason }
    }
}
