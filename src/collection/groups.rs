//! Results in groups by the value of an attribute.

use std::collections::{HashMap, HashSet};

use super::answer::{Group, Hit};
use super::request::GroupBy;
use super::{SearchError, SearchRequest};
use crate::attributes::{AttributeType, Value};
use crate::index::Index;
use crate::rank::{Ranked, Shortfall};

/// An attribute that results are grouped by.
pub(super) struct GroupOf {
    ordinal: usize,
}

impl GroupOf {
    /// Checks the attribute.
    pub fn check(index: &Index, by: &GroupBy) -> Result<GroupOf, SearchError> {
        let refuse = |reason: String| Err(SearchError::invalid("/group_by/attribute", reason));
        match index.schema().attributes.find(&by.attribute) {
            None => refuse(format!("unknown attribute {:?}", by.attribute)),
            Some((ordinal, spec)) => match spec.kind {
                AttributeType::Keyword | AttributeType::Int | AttributeType::Bool => Ok(GroupOf { ordinal }),
                kind => refuse(format!(
                    "{:?} is {}: allowed are keyword, int and bool",
                    by.attribute,
                    kind.name()
                )),
            },
        }
    }

    /// A value's text stands for it: values of one attribute have one type.
    fn value(&self, index: &Index, item: u32) -> Option<Value> {
        index.columns().get(self.ordinal, item)
    }

    /// Values that results have.
    pub fn count(&self, index: &Index, found: &[Ranked]) -> usize {
        let values = found.iter().filter_map(|ranked| self.value(index, ranked.item));
        values.map(|value| value.to_json().to_string()).collect::<HashSet<_>>().len()
    }

    /// Groups in the order of their first results, and what is missing.
    pub fn groups<'a>(
        &self,
        index: &Index,
        request: &SearchRequest,
        found: &[Ranked],
        hits: impl Fn(Vec<Ranked>) -> Vec<Hit<'a>>,
    ) -> (Vec<Group<'a>>, Option<Shortfall>) {
        let size = request.group_by.as_ref().map_or(1, |by| by.size);
        let mut groups: Vec<Group<'a>> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for ranked in found {
            let Some(value) = self.value(index, ranked.item) else { continue };
            let value = value.to_json();
            let place = *places.entry(value.to_string()).or_insert(groups.len());
            if place == groups.len() && place < request.limit() {
                groups.push(Group { value, results: Vec::new() });
            }
            if let Some(group) = groups.get_mut(place).filter(|group| group.results.len() < size) {
                group.results.extend(hits(vec![ranked.clone()]));
            }
        }
        let (wanted, got) = (request.limit(), groups.len());
        let missing = (got < wanted).then(|| Shortfall {
            name: "groups".to_owned(),
            wanted,
            got,
            reason: format!("{} candidates have {got} values", found.len()),
        });
        (groups, missing)
    }
}
