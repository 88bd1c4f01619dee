//! What a deadline does to a list: when refining it ends, when finishing it does, and what is said of what was left undone.
//!
//! Past the deadline a list is not refined any more: no MMR, no exchange of candidates, no explore slot, no explanation. It is
//! finished by score under the same limits, which a hundred thousand candidates take some milliseconds for. What breaks no rule
//! but the time, the length of the list, goes last.

use serde_json::Value as Json;

use super::explore;
use super::fill::Fill;
use super::{RankInput, Ranked};
use crate::deadline::Deadline;

/// What ranking may take after its deadline: for the filters of its rules, without which there is no list, and to finish the
/// list.
const FINISH: std::time::Duration = std::time::Duration::from_millis(30);

/// Why nothing more is said of an item of `why`.
pub(super) const NO_TIME: &str = "no-time";

/// When what is begun now, and not refined any more from this deadline on, is not even finished.
pub(super) fn finishing(refining: &Deadline) -> Deadline {
    refining.later(FINISH)
}

/// What there was no time for, in the order of the work.
pub(super) fn cut(
    fill: &Fill<'_>,
    drawn: explore::Cut,
    input: &RankInput<'_>,
    results: &[Ranked],
    why: &[Json],
) -> Vec<String> {
    let mut cut = Vec::new();
    let mut say = |is_so: bool, words: &str| cut.extend(is_so.then(|| words.to_owned()));
    say(drawn.coarse, "a propensity is from fewer samples");
    say(drawn.undrawn, "explore slots were left empty");
    if let Some(place) = fill.plain_from().filter(|_| input.deadline.has_passed()) {
        say(true, &format!("from position {} on by score, without mmr", place + 1));
    }
    say(fill.unrepaired, "candidates were not exchanged for a longer list");
    say(fill.is_spent(), "the list was not filled");
    let unexplained = results.iter().filter(|_| input.explain).position(|result| result.explain.is_none());
    if let Some(place) = unexplained {
        say(true, &format!("from position {} on nothing is explained", place + 1));
    }
    say(why.iter().any(|one| one["because"]["kind"] == NO_TIME), "not all of `why` is accounted for");
    cut
}

#[cfg(test)]
mod tests;
