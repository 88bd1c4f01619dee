//! Why a result stands where it does, and why something else does not: the API's `explain` and `why` objects.

use serde_json::{Map, Value as Json, json};

use super::fill::Fill;
use super::line::{How, Placed};
use super::mmr::Relevance;
use super::pool::Pool;
use super::profile::{Effect, Rule};
use super::score::{Part, Scored, Scorer, Sheet};
use super::terms::Term;
use crate::attributes::FilterError;
use crate::index::Candidate;

/// The ranking of one request, to be explained.
pub(super) struct Explainer<'a> {
    pub(super) scorer: &'a Scorer<'a>,
    pub(super) pool: &'a Pool,
    pub(super) fill: &'a Fill<'a>,
    /// The list.
    pub(super) results: &'a [Placed],
}

impl Explainer<'_> {
    /// The object for the result at this place of the list, from 0.
    pub(super) fn result(&self, rank: usize) -> Result<Json, FilterError> {
        let placed = &self.results[rank];
        let scored = self.pool.scored[placed.place];
        let mut fields = self.score(scored.item, scored.similarity)?;
        let by_score = self.by_score(placed.place, &scored);
        fields.insert("position".to_owned(), json!({"by_score": by_score + 1, "final": rank + 1}));
        match &placed.how {
            How::Pinned(rule) => {
                fields.insert("pinned".to_owned(), Json::from(self.rule(*rule).name.as_str()));
            }
            How::Explored(explored) => {
                fields.insert("explored".to_owned(), json!(explored));
            }
            How::Filled(relevance) if by_score != rank => {
                fields.insert("diversity".to_owned(), self.moved(rank, by_score, relevance.as_ref()));
            }
            How::Filled(_) => {}
        }
        Ok(Json::Object(fields))
    }

    /// The object for an item that somebody misses on the list. `relevance` is what MMR makes of it after all results.
    pub(super) fn missing(
        &self,
        candidate: Candidate,
        relevance: Option<Relevance>,
    ) -> Result<Json, FilterError> {
        let on_list = |placed: &Placed| self.pool.scored[placed.place].item == candidate.item;
        if let Some(rank) = self.results.iter().position(on_list) {
            return self.result(rank);
        }
        let mut fields = self.score(candidate.item, candidate.similarity)?;
        let place = self.pool.place(candidate.item).filter(|place| *place < self.pool.main);
        let score = fields["score"].as_f64().unwrap_or_default();
        let u = fields["u"].as_f64().unwrap_or_default();
        // What is no candidate stands behind those that are.
        let tie = place.map_or(u32::MAX, |place| self.pool.scored[place].place);
        let scored = Scored { item: candidate.item, similarity: candidate.similarity, u, score, place: tie };
        let by_score = self.pool.better(&scored, self.scorer.input.facts);
        fields.insert("position".to_owned(), json!({"by_score": by_score + 1, "final": null}));
        let because = match place {
            None => json!({"kind": "not-a-candidate", "candidates": self.pool.main}),
            Some(place) => self.because(place, relevance),
        };
        fields.insert("because".to_owned(), because);
        Ok(Json::Object(fields))
    }

    /// What kept a candidate off the list.
    fn because(&self, place: usize, relevance: Option<Relevance>) -> Json {
        if let Some(refusal) = self.fill.refusals[place] {
            let limits = &self.fill.limits;
            let rivals =
                self.results.iter().filter(|placed| limits.compete(refusal.limit, place, placed.place));
            return json!({
                "kind": "limit",
                "limit": limits.name(refusal.limit),
                "at": refusal.position + 1,
                "displaced_by": rivals.map(|placed| self.id(placed.place)).collect::<Vec<_>>(),
            });
        }
        let filled = || self.results.iter().filter(|placed| matches!(placed.how, How::Filled(_)));
        let last = filled().next_back().map(|placed| self.id(placed.place));
        let worse: Vec<&str> =
            filled().filter(|placed| placed.place > place).map(|placed| self.id(placed.place)).collect();
        match relevance {
            Some(Relevance { value, nearest }) => {
                let mut because =
                    json!({"kind": "diversity", "mmr": value, "displaced_by": worse, "last": last});
                if let Some((cosine, to)) = nearest {
                    because["max_similarity"] = Json::from(cosine);
                    because["to"] = Json::from(self.id(to));
                }
                because
            }
            None => json!({"kind": "score", "displaced_by": last.into_iter().collect::<Vec<_>>()}),
        }
    }

    /// What there is to say of a score.
    fn score(&self, item: u32, similarity: f32) -> Result<Map<String, Json>, FilterError> {
        let sheet = self.scorer.sheet(Candidate { item, similarity })?;
        let weight = self.scorer.recipe.similarity;
        let fields = json!({
            "u": sheet.u,
            "similarity": {
                "value": similarity,
                "weight": weight,
                "contribution": super::algebra::finite(weight * sheet.u),
            },
            "terms": self.terms(&sheet),
            "base": sheet.base,
            "rules": self.rules(&sheet),
            "score": sheet.score,
        });
        match fields {
            Json::Object(fields) => Ok(fields),
            _ => Ok(Map::new()),
        }
    }

    fn terms(&self, sheet: &Sheet) -> Vec<Json> {
        let terms = self.scorer.recipe.terms.iter().zip(&sheet.terms).enumerate();
        let term = |(index, (term, part)): (usize, (&Term, &Part))| {
            let mut entry = json!({
                "index": index,
                "kind": term.source.kind(),
                "attribute": term.source.attribute(),
                "value": part.value,
                "weight": term.weight,
                "contribution": part.contribution,
            });
            if part.missing {
                entry["missing"] = Json::from(true);
            }
            entry
        };
        terms.map(term).collect()
    }

    fn rules(&self, sheet: &Sheet) -> Vec<Json> {
        let entry = |(rule, change): (&Rule, f64)| match rule.effect {
            Effect::Multiply { factor, .. } => {
                Some(json!({"name": rule.name, "multiply": factor, "change": change}))
            }
            Effect::Add { addend, .. } => Some(json!({"name": rule.name, "add": addend, "change": change})),
            Effect::Drop { .. } | Effect::Pin { .. } => None,
        };
        self.scorer.changes(sheet).into_iter().filter_map(entry).collect()
    }

    /// Why a result does not stand at its place by score.
    fn moved(&self, rank: usize, by_score: usize, relevance: Option<&Relevance>) -> Json {
        let mut entry = Map::new();
        entry.insert("gained".to_owned(), Json::from(by_score as i64 - rank as i64));
        if let Some(Relevance { value, nearest }) = relevance {
            entry.insert("mmr".to_owned(), Json::from(*value));
            if let Some((cosine, to)) = nearest {
                entry.insert("max_similarity".to_owned(), Json::from(*cosine));
                entry.insert("to".to_owned(), Json::from(self.id(*to)));
            }
        }
        let place = self.results[rank].place;
        if let Some(refusal) = self.fill.refusals[place] {
            entry.insert("held_back_by".to_owned(), Json::from(self.fill.limits.name(refusal.limit)));
            entry.insert("held_back_at".to_owned(), Json::from(refusal.position + 1));
        }
        if relevance.is_none() {
            // By score alone only limits make room.
            let before = self.results[..rank].iter().filter(|placed| placed.place < place).count();
            if place > before {
                entry.insert("held_back_above".to_owned(), Json::from(place - before));
            }
        }
        Json::Object(entry)
    }

    /// How many candidates come before by score.
    fn by_score(&self, place: usize, scored: &Scored) -> usize {
        if place < self.pool.main { place } else { self.pool.better(scored, self.scorer.input.facts) }
    }

    fn rule(&self, place: usize) -> &Rule {
        &self.scorer.recipe.rules[place]
    }

    fn id(&self, place: usize) -> &str {
        self.scorer.input.facts.id(self.pool.scored[place].item)
    }
}
