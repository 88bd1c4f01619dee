//! Writes that were checked before the schema changed, when their turn comes after it.
//!
//! A prepared write has values by the schema's ordinals, which move when an attribute comes. So the committer fits each write to
//! the index of its turn: values go by name; an attribute that the request could not know of has its default in a put, and stays
//! in a patch.

use std::sync::Arc;

use super::{Operation, WriteBatch, WriteError};
use crate::attributes::{AttributeSchema, Cell, Filter};
use crate::index::Index;

impl WriteBatch {
    /// The same write for the schema of an index.
    pub(in crate::collection) fn fitted(mut self, index: &Index) -> Result<WriteBatch, WriteError> {
        let new = index.columns().shared_schema();
        let Some(old) = self.schema.as_ref().filter(|old| !Arc::ptr_eq(old, &new) && ***old != *new) else {
            return Ok(self);
        };
        let places = places(old, &new)?;
        for operation in &mut self.operations {
            match operation {
                Operation::Upsert { cells, .. } => {
                    let default = |ordinal| new.get(ordinal).and_then(|(_, spec)| spec.default.clone());
                    *cells = moved(cells, &places, |ordinal| Cell::Set(default(ordinal)));
                }
                Operation::Patch { cells, .. } => *cells = moved(cells, &places, |_| Cell::Kept),
                Operation::DeleteMatching(filter, document) => {
                    *filter = Filter::parse(document, &new).map_err(|error| {
                        WriteError::invalid(format!("/filter{}", error.pointer), error.reason)
                    })?;
                }
                Operation::Delete { .. } | Operation::DeleteExpired | Operation::State(_) => {}
            }
        }
        self.schema = Some(new);
        Ok(self)
    }
}

/// By ordinal of the new schema: the ordinal in the old one.
fn places(old: &AttributeSchema, new: &AttributeSchema) -> Result<Vec<Option<usize>>, WriteError> {
    let place = |name: &str| old.find(name).map(|(ordinal, _)| ordinal);
    let places: Vec<Option<usize>> = new.iter().map(|(name, _)| place(name)).collect();
    if places.iter().flatten().count() == old.len() {
        return Ok(places);
    }
    let reason = "the collection's schema was replaced meanwhile: send it again";
    Err(WriteError::Closed { reason: reason.to_owned() })
}

fn moved(cells: &[Cell], places: &[Option<usize>], unknown: impl Fn(usize) -> Cell) -> Vec<Cell> {
    let known = |place: &Option<usize>| place.and_then(|place| cells.get(place)).cloned();
    places
        .iter()
        .enumerate()
        .map(|(ordinal, place)| known(place).unwrap_or_else(|| unknown(ordinal)))
        .collect()
}
