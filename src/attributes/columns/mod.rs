//! The values of all items, a column an attribute, in flat arrays that map from a file.
//!
//! | type | data, one element an item | missing |
//! |---|---|---|
//! | keyword | u32 code | 0 |
//! | keywords | u32: 1 + a position in `Lists` (u32 words), where a count and as many codes stand | 0 |
//! | int | i64 | `i64::MIN` |
//! | float | f64 | the canonical NaN |
//! | bool | u8: 1 false, 2 true | 0 |
//! | time | i64 milliseconds since the epoch | `i64::MIN` |
//!
//! A **code** is 1 + the number of a string in the attribute's dictionary (a [`StringTable`](super::StringTable)): so a code is never 0,
//! and the stored element of a keyword is its code. Lists are only appended; equal lists may share one place.
//! The bytes of a file are not trusted: an element that breaks these rules reads as missing, and `verify` names it.

mod build;
mod column;

pub use build::ColumnsBuilder;
pub(super) use column::{Column, gather, list_at};

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use super::{AttributeSchema, AttributeType, Value};
use crate::arena::{ArenaError, Region};

/// Which array of a column a file section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnPart {
    /// One fixed-size element an item.
    Data,
    /// Lists (keywords): u32 words.
    Lists,
    /// Dictionary, see [`StringTable`](super::StringTable).
    DictionaryRefs,
    /// Dictionary, see [`StringTable`](super::StringTable).
    DictionaryHeap,
    /// Dictionary, see [`StringTable`](super::StringTable).
    DictionarySlots,
}

/// A column could not be made, opened or verified; names the attribute.
#[derive(Debug, thiserror::Error)]
#[error("attribute {attribute:?}: {reason}")]
pub struct ColumnsError {
    /// The attribute's name.
    pub attribute: String,
    /// What is wrong.
    pub reason: String,
}

impl ColumnsError {
    fn new(attribute: &str, reason: impl ToString) -> Self {
        ColumnsError { attribute: attribute.to_owned(), reason: reason.to_string() }
    }
}

/// All columns.
#[derive(Debug)]
pub struct Columns {
    schema: Arc<AttributeSchema>,
    columns: Vec<Column>,
    /// By ordinal: where a list of codes with this hash stands, of those appended since the columns were opened.
    shared: Mutex<Vec<HashMap<u64, u32>>>,
}

/// What a new row has of one attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// What the row before it has.
    Kept,
    /// This value, or none.
    Set(Option<Value>),
}

impl Columns {
    /// Starts columns for `items` rows.
    pub fn builder(
        schema: &AttributeSchema,
        items: usize,
        seed: u64,
    ) -> Result<ColumnsBuilder, ColumnsError> {
        ColumnsBuilder::new(schema, items, seed)
    }

    /// Opens from file sections: `section(part, ordinal)` gives each array, or None when the file has none.
    ///
    /// Cheap: checks only that each column has one element an item. An array that is not there is an empty one.
    pub fn open(
        schema: &AttributeSchema,
        items: usize,
        seed: u64,
        section: &mut dyn FnMut(ColumnPart, u32) -> Result<Option<Region>, String>,
    ) -> Result<Columns, ColumnsError> {
        let mut columns = Vec::with_capacity(schema.len());
        for (ordinal, (name, spec)) in (0..).zip(schema.iter()) {
            let column = Column::open(spec.kind, seed, &mut |part| match section(part, ordinal)? {
                Some(region) => Ok(region),
                None => Region::anonymous(0, 0).map_err(|error| error.to_string()),
            })
            .map_err(|reason| ColumnsError::new(name, reason))?;
            if column.len() != items {
                let reason = format!("the column has {} values for {items} items", column.len());
                return Err(ColumnsError::new(name, reason));
            }
            columns.push(column);
        }
        let shared = Mutex::new(vec![HashMap::new(); columns.len()]);
        Ok(Columns { schema: Arc::new(schema.clone()), columns, shared })
    }

    /// Every array to write: part, ordinal, bytes of one element, bytes.
    pub fn sections(&self) -> Vec<(ColumnPart, u32, usize, Cow<'_, [u8]>)> {
        let parts = (0..).zip(&self.columns).map(|(ordinal, column)| (ordinal, column.sections()));
        parts
            .flat_map(|(ordinal, parts)| {
                parts.into_iter().map(move |(part, element, bytes)| (part, ordinal, element, bytes))
            })
            .collect()
    }

    /// The schema.
    pub fn schema(&self) -> &AttributeSchema {
        &self.schema
    }

    /// The schema, to be kept beside values that are by its ordinals.
    pub fn shared_schema(&self) -> Arc<AttributeSchema> {
        Arc::clone(&self.schema)
    }

    /// Appends a row: cells by ordinal, `before` being the item whose values are kept. Values fit the schema and there is
    /// room, as the caller has checked; an error leaves the columns of unequal length.
    pub fn append(&self, before: Option<u32>, cells: &[Cell]) -> Result<(), ColumnsError> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let columns = self.schema.iter().zip(&self.columns).zip(cells).zip(shared.iter_mut());
        for ((((name, _), column), cell), shared) in columns {
            let pushed = match (cell, before) {
                (Cell::Kept, Some(item)) => column.push_as(item).map_err(|error| error.to_string()),
                (Cell::Kept, None) => column.push(None, shared),
                (Cell::Set(value), _) => column.push(value.as_ref(), shared),
            };
            pushed.map_err(|reason| ColumnsError::new(name, reason))?;
        }
        Ok(())
    }

    /// Columns with the values of these items alone, in their order, and dictionaries of what they use.
    pub fn compacted(&self, items: &[u32]) -> Result<Columns, ColumnsError> {
        let columns = self.schema.iter().zip(&self.columns).map(|((name, spec), column)| {
            column.compacted(spec.kind, items).map_err(|reason| ColumnsError::new(name, reason))
        });
        let columns: Vec<Column> = columns.collect::<Result<_, _>>()?;
        let shared = Mutex::new(vec![HashMap::new(); columns.len()]);
        Ok(Columns { schema: Arc::clone(&self.schema), columns, shared })
    }

    /// The same `items` rows under a schema that has these attributes and more: of each that is new they have its default, or
    /// nothing. Dictionaries of new columns hash with `seed`.
    pub fn widened(self, schema: &AttributeSchema, items: usize, seed: u64) -> Result<Columns, ColumnsError> {
        let names = self.schema.iter().map(|(name, spec)| (name, spec.kind));
        let mut had: BTreeMap<(&str, AttributeType), Column> = names.zip(self.columns).collect();
        let columns = schema.iter().map(|(name, spec)| match had.remove(&(name, spec.kind)) {
            Some(column) => Ok(column),
            None => Column::uniform(spec.kind, spec.default.as_ref(), items, seed)
                .map_err(|reason| ColumnsError::new(name, reason)),
        });
        let columns: Vec<Column> = columns.collect::<Result<_, _>>()?;
        if let Some(((name, kind), _)) = had.first_key_value() {
            return Err(ColumnsError::new(name, format!("the new schema does not have it as {kind}")));
        }
        let shared = Mutex::new(vec![HashMap::new(); columns.len()]);
        Ok(Columns { schema: Arc::new(schema.clone()), columns, shared })
    }

    /// Whether so many rows, with so many bytes of values in all, can be appended.
    pub fn has_room(&self, rows: usize, bytes: usize) -> bool {
        self.columns.iter().all(|column| column.has_room(rows, bytes))
    }

    /// Makes sure that so many keywords more can be told apart, in each column that has a dictionary.
    pub fn secure(&self, keywords: usize) -> Result<(), ArenaError> {
        self.columns.iter().try_for_each(|column| column.secure(keywords))
    }

    /// An item's value of the attribute with this ordinal; None when missing.
    pub fn get(&self, ordinal: usize, item: u32) -> Option<Value> {
        self.columns.get(ordinal)?.get(item)
    }

    /// An item's value as a number: int, float, bool (0, 1), time (ms); None when missing or not numeric. No allocation.
    pub fn number(&self, ordinal: usize, item: u32) -> Option<f64> {
        self.columns.get(ordinal)?.number(item)
    }

    /// Adds the numbers of these items, as [`Columns::number`] gives them, NaN for a missing one. One look at the column's
    /// type for all of them.
    pub fn numbers(&self, ordinal: usize, items: &[u32], out: &mut Vec<f64>) {
        match self.columns.get(ordinal) {
            Some(column) => column.numbers(items, out),
            None => out.extend(items.iter().map(|_| f64::NAN)),
        }
    }

    /// Dictionary codes of a keyword or keywords value (empty when missing or another type). No allocation.
    pub fn codes(&self, ordinal: usize, item: u32) -> &[u32] {
        self.columns.get(ordinal).map_or(&[], |column| column.codes(item))
    }

    /// The codes of these items, each as by [`Columns::codes`]: read together, for whoever will look at each in turn.
    pub fn code_lists(&self, ordinal: usize, items: &[u32]) -> Vec<&[u32]> {
        self.columns
            .get(ordinal)
            .map_or_else(|| vec![&[][..]; items.len()], |column| column.code_lists(items))
    }

    /// The dictionary code of a keyword, if any item has it. Codes begin at 1.
    pub fn code(&self, ordinal: usize, keyword: &str) -> Option<u32> {
        self.columns.get(ordinal)?.code(keyword)
    }

    /// The codes of many keywords, each as by [`Columns::code`].
    pub fn find_codes(&self, ordinal: usize, keywords: &[&str]) -> Vec<Option<u32>> {
        self.columns
            .get(ordinal)
            .map_or_else(|| vec![None; keywords.len()], |column| column.find_codes(keywords))
    }

    /// The keyword of a dictionary code.
    pub fn keyword(&self, ordinal: usize, code: u32) -> Option<&str> {
        self.columns.get(ordinal)?.keyword(code)
    }

    /// All codes of the attribute are below this: the length of a table by code. 1 when there is no dictionary.
    pub fn code_bound(&self, ordinal: usize) -> u32 {
        self.columns.get(ordinal).map_or(1, Column::code_bound)
    }

    /// All of an item's attributes as the API's object (missing ones left out).
    pub fn to_json(&self, item: u32) -> serde_json::Map<String, serde_json::Value> {
        let values = self.schema.iter().zip(&self.columns);
        values
            .filter_map(|((name, _), column)| Some((name.to_owned(), column.get(item)?.to_json())))
            .collect()
    }

    /// Checks every value and dictionary (codes in range, lists in range, floats finite, bools 0 to 2).
    pub fn verify(&self) -> Result<(), ColumnsError> {
        for ((name, _), column) in self.schema.iter().zip(&self.columns) {
            column.verify().map_err(|reason| ColumnsError::new(name, reason))?;
        }
        Ok(())
    }

    /// The column of an ordinal, for scans.
    pub(super) fn column(&self, ordinal: usize) -> Option<&Column> {
        self.columns.get(ordinal)
    }
}

#[cfg(test)]
mod tests;
