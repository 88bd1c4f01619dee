//! Ranked lists that are paged: kept for a minute after they were last read, bounded in number and bytes.
//!
//! A kept list holds ids, not slots: so it survives checkpoints and reopenings, and what was deleted since is passed over.
//! The token names the list and a place in it; to ask again for the same page gives the same page.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use uuid::Uuid;

use super::answer::{Beside, Exploration, Hit, Id, Plan, SearchAnswer};
use super::fields::{Fields, names, terms};
use super::search::{FoundList, Moment, Search, micros};
use super::{SearchError, SearchLimits, SearchRequest};
use crate::attributes::{ItemFacts, format_time};
use crate::index::PlanKind;
use crate::rank::{Explored, Ranked};

/// How long a list is kept after it was last read.
const KEPT: Duration = Duration::from_secs(60);
const SWEEP: Duration = Duration::from_secs(1);
/// Lists of one collection, and their bytes, at most; the one that was not read for the longest time goes first.
const LISTS: usize = 10_000;
const BYTES: usize = 256 << 20;

/// One result of a kept list.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub id: Box<str>,
    pub score: f64,
    pub similarity: Option<f32>,
    pub terms: Option<Value>,
    pub explain: Option<Value>,
    pub sources: Vec<String>,
    pub pinned: Option<String>,
    pub explored: Option<Explored>,
}

/// A ranked list and what its answers repeat.
#[derive(Debug)]
pub(super) struct KeptList {
    pub results: Vec<Kept>,
    pub profile: Option<String>,
    pub fallback: Option<&'static str>,
    pub seed: u64,
    /// What `now` meant when it was ranked.
    pub now: i64,
    /// Results of a page, unless the request says.
    pub limit: usize,
}

impl KeptList {
    /// Bytes that it takes, about.
    fn bytes(&self) -> usize {
        let json = |value: &Option<Value>| value.as_ref().map_or(0, |value| 4 * value.to_string().len());
        let of = |one: &Kept| {
            let sources: usize = one.sources.iter().map(|name| name.len() + 24).sum();
            size_of::<Kept>() + one.id.len() + json(&one.terms) + json(&one.explain) + sources
        };
        size_of::<KeptList>() + self.results.iter().map(of).sum::<usize>()
    }
}

/// The lists of one collection.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    lists: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    by_name: BTreeMap<Uuid, Entry>,
    bytes: usize,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    list: Arc<KeptList>,
    bytes: usize,
    read: Instant,
}

impl Entry {
    fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.read) >= KEPT
    }
}

impl Lists {
    fn remove(&mut self, name: Uuid) {
        if let Some(entry) = self.by_name.remove(&name) {
            self.bytes -= entry.bytes;
        }
    }

    /// Drops what is too old, now and then: it is not found anyway.
    fn expire(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now.saturating_duration_since(swept) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        let gone: Vec<Uuid> =
            self.by_name.iter().filter(|(_, entry)| entry.is_old(now)).map(|(name, _)| *name).collect();
        gone.into_iter().for_each(|name| self.remove(name));
    }

    fn make_room(&mut self, bytes: usize) {
        while self.by_name.len() >= LISTS || (self.bytes + bytes > BYTES && !self.by_name.is_empty()) {
            let oldest = self.by_name.iter().min_by_key(|(_, entry)| entry.read).map(|(name, _)| *name);
            let Some(oldest) = oldest else { return };
            self.remove(oldest);
        }
    }
}

impl Cursors {
    /// Keeps a list; the token of the place `next`.
    pub fn keep(&self, list: KeptList, next: usize, now: Instant) -> String {
        let (name, bytes) = (Uuid::new_v4(), list.bytes());
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.expire(now);
        lists.make_room(bytes);
        lists.bytes += bytes;
        lists.by_name.insert(name, Entry { list: Arc::new(list), bytes, read: now });
        token(name, next)
    }

    /// The list of a token and the place in it.
    pub fn find(&self, token: &str, now: Instant) -> Result<(Uuid, Arc<KeptList>, usize), SearchError> {
        let parsed = token.split_once('.').and_then(|(name, place)| {
            let name = Uuid::try_parse(name).ok().filter(|_| name.len() == 32)?;
            Some((name, place.parse::<u32>().ok()? as usize))
        });
        let Some((name, place)) = parsed else {
            let shown: String = token.chars().take(64).collect();
            let reason = format!("{shown:?} is no cursor: `start`, or one of an answer");
            return Err(SearchError::invalid("/cursor", reason));
        };
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = lists.by_name.get_mut(&name).filter(|entry| !entry.is_old(now));
        let entry = entry.ok_or(SearchError::Gone)?;
        entry.read = now;
        Ok((name, Arc::clone(&entry.list), place))
    }
}

/// The cursor of a place in a list.
pub(super) fn token(name: Uuid, place: usize) -> String {
    format!("{}.{place}", name.simple())
}

/// Keeps a ranked list for further pages; its first page.
pub(super) fn keep_list(
    search: &Search<'_, '_>,
    made: &mut SearchAnswer<'_>,
    found: &FoundList,
    sources: &[&str],
) -> Result<Vec<Ranked>, SearchError> {
    let Some(cursors) = search.moment.cursors else {
        return Err(SearchError::invalid("/cursor", "an index alone keeps no lists: ask a server"));
    };
    let limit = search.request.limit();
    let page = found.ranked.iter().take(limit).cloned().collect();
    if found.ranked.len() > limit {
        let view = search.view();
        let kept = |ranked: &Ranked| Kept {
            id: view.id(ranked.item).into(),
            score: ranked.score,
            similarity: found.pool.has_similarities.then_some(ranked.similarity),
            terms: terms(ranked).filter(|_| search.request.fill.terms),
            explain: ranked.explain.clone().filter(|_| search.request.explain),
            sources: names(&found.pool, ranked.item, sources),
            pinned: ranked.pinned.clone(),
            explored: ranked.explored,
        };
        let list = KeptList {
            results: found.ranked.iter().map(kept).collect(),
            profile: made.profile.clone(),
            fallback: made.fallback,
            seed: made.seed,
            now: search.moment.now,
            limit,
        };
        let bytes = list.bytes();
        if bytes > BYTES {
            let reason = format!(
                "the list would take {bytes} bytes, {BYTES} are kept: fewer `candidates`, or no `explain`"
            );
            return Err(SearchError::invalid("/candidates", reason));
        }
        made.cursor = Some(cursors.keep(list, limit, Instant::now()));
    }
    Ok(page)
}

/// A page of a kept list: what is still there, filled as the request says.
pub(super) fn next_page<'a>(
    moment: &Moment<'a, '_>,
    request: &SearchRequest,
    cursor: &str,
    fields: &Fields<'a>,
    limits: &SearchLimits,
) -> Result<SearchAnswer<'a>, SearchError> {
    if let Some(field) = request.beside_a_cursor() {
        let reason =
            format!("{field} belongs to the search that began the list; with a cursor go limit and return");
        return Err(SearchError::invalid(format!("/{field}"), reason));
    }
    request.check(limits)?;
    let cursors = moment.cursors.ok_or(SearchError::Gone)?;
    let (name, list, mut place) = cursors.find(cursor, Instant::now())?;
    let limit = request.limit.unwrap_or(list.limit);
    let mut results = Vec::with_capacity(limit.min(list.results.len()));
    while let Some(kept) = list.results.get(place).filter(|_| results.len() < limit) {
        place += 1;
        let Some(item) = moment.view.find(&kept.id) else { continue };
        let beside = Beside {
            terms: kept.terms.clone(),
            explain: kept.explain.clone(),
            sources: kept.sources.clone(),
            pinned: kept.pinned.clone(),
            explored: kept.explored.map(Exploration::of),
            propensity: kept.explored.map(|one| one.propensity),
            ..fields.of_item(moment.index, &request.fill, item)
        };
        let id = Id::new(moment.index.id(item).as_bytes());
        let (score, similarity) = (kept.score, kept.similarity);
        results.push(Hit { id, score, similarity, beside: beside.boxed() });
    }
    let matching = list.results.len();
    let plan = Plan { kind: PlanKind::None, matching, ef: 0, visited: 0, interrupted: false };
    Ok(SearchAnswer {
        results,
        groups: None,
        plan,
        shortfalls: Vec::new(),
        skipped: Vec::new(),
        missing_sets: Vec::new(),
        took_us: micros(moment.started),
        seq: moment.view.seq(),
        build: moment.index.build(),
        seed: list.seed,
        now: format_time(list.now),
        profile: list.profile.clone(),
        fallback: list.fallback,
        why: Vec::new(),
        cursor: (place < matching).then(|| token(name, place)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(results: usize) -> KeptList {
        let one = Kept {
            id: "an-id".into(),
            score: 0.0,
            similarity: None,
            terms: None,
            explain: None,
            sources: Vec::new(),
            pinned: None,
            explored: None,
        };
        KeptList { results: vec![one; results], profile: None, fallback: None, seed: 0, now: 0, limit: 1 }
    }

    #[test]
    fn a_list_goes_a_minute_after_it_was_last_read() {
        let (cursors, start) = (Cursors::default(), Instant::now());
        let token = cursors.keep(list(3), 1, start);
        let later = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(cursors.find(&token, later(59)).unwrap().2, 1);
        assert!(cursors.find(&token, later(118)).is_ok());
        assert_eq!(cursors.find(&token, later(178)).unwrap_err(), SearchError::Gone);
        let next = cursors.keep(list(0), 0, later(179));
        assert_eq!(cursors.lists.lock().unwrap().by_name.len(), 1, "old ones have gone");
        assert!(cursors.find(&next, later(179)).is_ok());
        for token in ["", "start.1", "x.1", "00000000000000000000000000000000.-1"] {
            assert!(matches!(cursors.find(token, start), Err(SearchError::Invalid { .. })), "{token}");
        }
    }

    #[test]
    fn number_and_bytes_are_bounded_and_the_oldest_goes_first() {
        let (cursors, start) = (Cursors::default(), Instant::now());
        let at = |step: usize| start + Duration::from_micros(step as u64);
        let first = cursors.keep(list(1), 0, at(0));
        let tokens: Vec<String> = (1..=LISTS).map(|step| cursors.keep(list(1), 0, at(step))).collect();
        assert_eq!(cursors.lists.lock().unwrap().by_name.len(), LISTS);
        assert_eq!(cursors.find(&first, at(LISTS)).unwrap_err(), SearchError::Gone);
        assert!(cursors.find(&tokens[LISTS - 1], at(LISTS)).is_ok());
        let large = BYTES / list(1).bytes() / 2;
        for step in 0..5 {
            cursors.keep(list(large), 0, at(LISTS + step));
            assert!(cursors.lists.lock().unwrap().bytes <= BYTES);
        }
    }
}
