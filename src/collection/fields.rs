//! What results carry beside id and scores.

use serde_json::{Map, Value};

use super::answer::{Beside, Exploration, Hit, Id};
use super::error::nearest;
use super::request::Return;
use super::retrieve::Pool;
use super::{SearchError, SearchRequest};
use crate::index::Index;
use crate::rank::Ranked;

/// The attributes that results carry, by ordinal.
pub(super) struct Fields<'a> {
    attributes: Vec<(&'a str, usize)>,
}

impl<'a> Fields<'a> {
    pub fn check(index: &'a Index, fill: &Return) -> Result<Self, SearchError> {
        let schema = &index.schema().attributes;
        let (names, known) = (fill.attributes.len(), schema.iter().count());
        let mut attributes = Vec::with_capacity(names.min(known));
        // Of more than there are, one among the first is unknown, or one stands there twice.
        for (at, name) in fill.attributes.iter().enumerate().take(known + 1) {
            // The schema's own copy of the name outlives the request.
            match schema.iter().zip(0..).find(|((known, _), _)| known == name) {
                Some(((known, _), ordinal)) => attributes.push((known, ordinal)),
                None => {
                    let near = nearest(name, schema.iter().map(|(name, _)| name));
                    let hint = near.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
                    let reason = format!("the collection has no attribute {name:?}{hint}");
                    return Err(SearchError::invalid(format!("/return/attributes/{at}"), reason));
                }
            }
        }
        if names > known {
            let reason =
                format!("{names} attributes are named, the collection has {known}: one stands there twice");
            return Err(SearchError::invalid("/return/attributes", reason));
        }
        Ok(Fields { attributes })
    }

    /// What an item itself carries, as the request says.
    pub fn of_item(&self, index: &Index, fill: &Return, item: u32) -> Beside {
        let attributes = (!self.attributes.is_empty()).then(|| {
            let values = self.attributes.iter().filter_map(|&(name, ordinal)| {
                index.columns().get(ordinal, item).map(|value| (name.to_owned(), value.to_json()))
            });
            values.collect::<Map<String, Value>>()
        });
        let vector = fill.vector.then(|| {
            let mut vector = Vec::new();
            index.vector(item, &mut vector);
            vector
        });
        Beside { attributes, vector, ..Beside::default() }
    }

    /// Results, in their order.
    pub fn hits(
        &self,
        index: &'a Index,
        request: &SearchRequest,
        page: Vec<Ranked>,
        pool: &Pool,
        sources: &[&str],
    ) -> Vec<Hit<'a>> {
        let items: Vec<u32> = page.iter().map(|ranked| ranked.item).collect();
        let bare = self.attributes.is_empty() && !request.fill.vector && pool.sources.is_empty();
        let hit = |(ranked, id): (Ranked, &'a [u8])| Hit {
            id: Id::new(id),
            score: ranked.score,
            similarity: pool.has_similarities.then_some(ranked.similarity),
            beside: match &ranked {
                Ranked { pinned: None, explored: None, explain: None, .. } if bare => None,
                _ => self.beside(index, request, ranked, pool, sources).boxed(),
            },
        };
        page.into_iter().zip(index.ids(&items)).map(hit).collect()
    }

    fn beside(
        &self,
        index: &Index,
        request: &SearchRequest,
        ranked: Ranked,
        pool: &Pool,
        sources: &[&str],
    ) -> Beside {
        Beside {
            terms: terms(&ranked).filter(|_| request.fill.terms),
            sources: names(pool, ranked.item, sources),
            explored: ranked.explored.map(Exploration::of),
            propensity: ranked.explored.map(|explored| explored.propensity),
            pinned: ranked.pinned,
            explain: ranked.explain.filter(|_| request.explain),
            ..self.of_item(index, &request.fill, ranked.item)
        }
    }
}

/// The terms of an explained result.
pub(super) fn terms(ranked: &Ranked) -> Option<Value> {
    ranked.explain.as_ref().and_then(|explain| explain.get("terms")).cloned()
}

/// The names of an item's sources.
pub(super) fn names(pool: &Pool, item: u32, sources: &[&str]) -> Vec<String> {
    let of = pool.sources.get(&item).into_iter().flatten();
    of.filter_map(|&source| sources.get(source)).map(|name| (*name).to_owned()).collect()
}
