//! Why a result stands where it does: the API's `explain` object.

use serde_json::{Map, Value as Json, json};

use super::diversity::Pick;
use super::profile::Effect;
use super::score::{Scored, Scorer, Sheet, finite};
use crate::attributes::FilterError;

/// The ranking of one request, to be explained.
pub(super) struct Explainer<'a> {
    pub(super) scorer: &'a Scorer<'a>,
    /// By score.
    pub(super) pool: &'a [Scored],
    pub(super) picks: &'a [Pick],
}

impl Explainer<'_> {
    /// The object for the result at this place of the list, from 0.
    pub(super) fn explain(&self, place: usize) -> Result<Json, FilterError> {
        let pick = &self.picks[place];
        let scored = &self.pool[pick.place];
        let mut sheet = Sheet::default();
        self.scorer.fill(&mut sheet, scored.item, scored.similarity)?;
        let mut explain = json!({
            "u": sheet.u,
            "similarity": {
                "value": scored.similarity,
                "weight": self.scorer.recipe.similarity,
                "contribution": finite(self.scorer.recipe.similarity * sheet.u),
            },
            "terms": self.terms(&sheet),
            "base": sheet.base,
            "rules": self.rules(&mut sheet),
            "score": sheet.score,
            "position": {"by_score": pick.place + 1, "final": place + 1},
        });
        if pick.place != place
            && let Json::Object(fields) = &mut explain
        {
            fields.insert("diversity".to_owned(), self.move_of(place));
        }
        Ok(explain)
    }

    fn terms(&self, sheet: &Sheet) -> Vec<Json> {
        let terms = self.scorer.recipe.terms.iter().zip(&sheet.terms).enumerate();
        let term = |(index, (term, part)): (usize, (&super::terms::Term, &super::score::Part))| {
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

    fn rules(&self, sheet: &mut Sheet) -> Vec<Json> {
        let changes = self.scorer.changes(sheet).into_iter();
        let entries = changes.map(|(rule, change)| match rule.effect {
            Effect::Multiply(factor) => json!({"name": rule.name, "multiply": factor, "change": change}),
            Effect::Add(addend) => json!({"name": rule.name, "add": addend, "change": change}),
            Effect::Drop => json!({"name": rule.name, "drop": true}),
        });
        entries.collect()
    }

    /// Why a pick does not stand at its place by score.
    fn move_of(&self, place: usize) -> Json {
        let pick = &self.picks[place];
        let mut entry = Map::new();
        entry.insert("gained".to_owned(), Json::from(pick.place as i64 - place as i64));
        match &pick.relevance {
            Some(relevance) => {
                entry.insert("mmr".to_owned(), Json::from(relevance.value));
                if let Some((cosine, other)) = relevance.nearest {
                    let other = self.pool[self.picks[other].place].item;
                    entry.insert("max_similarity".to_owned(), Json::from(cosine));
                    entry.insert("to".to_owned(), Json::from(self.scorer.input.facts.id(other)));
                }
            }
            // By score alone only limits make room.
            None => {
                entry.insert("held_back_above".to_owned(), Json::from(pick.place - place));
            }
        }
        Json::Object(entry)
    }
}
