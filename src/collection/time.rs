//! The time that a search has: the sooner of its budget and of the end of the request. Filters, walks, scans and ranking all look
//! at it, as the deadline of the search's view.
//!
//! Past its budget a search answers with the best so far, and says so. Past the request's end nobody waits for an answer: the
//! search gives up, so that its thread comes free.

use std::time::{Duration, Instant};

use super::SearchError;
use super::query::Prepared;
use super::retrieve::{Effort, Pool};
use super::search::{FoundList, Search, micros};
use crate::deadline::Deadline;
use crate::rank::Shortfall;

/// The shortfall of a search that was cut short.
pub(super) const BUDGET: &str = "budget_ms";

/// What short work that is under way at the end of a budget may take to be finished.
pub(super) const FINISH: Duration = Duration::from_millis(30);

/// Ranking has so long of its own, however late it begins: enough for some hundred candidates.
const LEAST: Duration = Duration::from_millis(1);

impl Search<'_, '_> {
    /// When the search ends: by its budget, or when the request does.
    pub(super) fn begin_budget(&self) {
        let (started, budget) = (self.moment.started, self.request.budget_ms);
        let budget = budget.and_then(|budget| started.checked_add(Duration::from_millis(budget)));
        self.view().set_deadline(budget.into_iter().chain(self.request.until).min());
    }

    /// From now on the search takes the time that it needs, as long as the request lasts.
    pub(super) fn end_budget(&self) {
        self.view().set_deadline(self.request.until);
    }

    /// Refuses to go on when the request has ended.
    pub(super) fn check_time(&self) -> Result<(), SearchError> {
        match self.request.until {
            Some(until) if Instant::now() >= until => Err(SearchError::Timeout),
            _ => Ok(()),
        }
    }

    pub(super) fn deadline(&self) -> Deadline {
        Deadline::at(self.view().deadline())
    }

    pub(super) fn ranking_deadline(&self) -> Deadline {
        Deadline::at(self.view().deadline().map(|at| at.max(Instant::now() + LEAST)))
    }

    /// The answer of a search whose filters were not evaluated within its budget: what the fallback finds, or nothing. A filter is
    /// never half evaluated.
    pub(super) fn too_late(
        &self,
        query: &Prepared,
        fallback: Option<&'static str>,
        effort: Effort,
    ) -> Result<FoundList, SearchError> {
        self.check_time()?;
        let mut pool = Pool::late(query.vectors().next().is_some());
        if fallback.is_some() || self.fallback()?.is_none() {
            let reason = "filters were not evaluated by then: nothing is known to match";
            let shortfalls = self.cut_short(reason.to_owned()).into_iter().collect();
            let (ranked, why, rules) = (Vec::new(), Vec::new(), Vec::new());
            return Ok(FoundList { ranked, why, pool, shortfalls, fallback, rules });
        }
        self.end_budget();
        self.join_fallback(query, &mut pool, effort)?;
        let (allowed, dropped) = self.allowed(query)?;
        let extras = self.extras(query, &allowed, effort)?;
        let ranking = self.order(query, &pool, &extras, self.length(&pool, effort))?;
        self.check_time()?;
        Ok(self.list(pool, extras, ranking, dropped, Some("budget")))
    }

    /// What is said of a search that its budget cut short.
    pub(super) fn cut_short(&self, reason: String) -> Option<Shortfall> {
        let got = (micros(self.moment.started) / 1_000) as usize;
        let wanted = self.request.budget_ms? as usize;
        Some(Shortfall { name: BUDGET.to_owned(), wanted, got, reason })
    }
}

/// What was cut short: the search, ranking, or both.
pub(super) fn cut_words(searching: bool, ranking: &[String]) -> String {
    let searching = searching.then(|| "the search was cut short: these are the best by then".to_owned());
    let ranking = (!ranking.is_empty()).then(|| format!("ranking was cut short: {}", ranking.join(", ")));
    searching.into_iter().chain(ranking).collect::<Vec<String>>().join("; ")
}
