//! The values of all items, a column an attribute, in flat arrays that map from a file.

use super::{AttributeSchema, StringTable, Value};
use crate::arena::Region;

/// Which array of a column a file section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnPart {
    /// One fixed-size element an item.
    Data,
    /// Lists (keywords): u32 words.
    Lists,
    /// Dictionary, see [`StringTable`].
    DictionaryRefs,
    /// Dictionary, see [`StringTable`].
    DictionaryHeap,
    /// Dictionary, see [`StringTable`].
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

/// All columns.
#[derive(Debug)]
pub struct Columns {
    _dictionaries: Vec<StringTable>,
}

impl Columns {
    /// Starts columns for `items` rows.
    pub fn builder(_schema: &AttributeSchema, _items: usize, _seed: u64) -> Result<ColumnsBuilder, ColumnsError> {
        todo!()
    }
    /// Opens from file sections: `section(part, ordinal)` gives each array, or None when the file has none.
    pub fn open(
        _schema: &AttributeSchema, _items: usize, _seed: u64,
        _section: &mut dyn FnMut(ColumnPart, u32) -> Result<Option<Region>, String>,
    ) -> Result<Columns, ColumnsError> {
        todo!()
    }
    /// Every array to write: part, ordinal, bytes of one element, bytes.
    pub fn sections(&self) -> Vec<(ColumnPart, u32, usize, &[u8])> {
        todo!()
    }
    /// The schema.
    pub fn schema(&self) -> &AttributeSchema {
        todo!()
    }
    /// An item's value of the attribute with this ordinal; None when missing.
    pub fn get(&self, _ordinal: usize, _item: u32) -> Option<Value> {
        todo!()
    }
    /// An item's value as a number: int, float, bool (0, 1), time (ms); None when missing or not numeric. No allocation.
    pub fn number(&self, _ordinal: usize, _item: u32) -> Option<f64> {
        todo!()
    }
    /// Dictionary codes of a keyword or keywords value (empty when missing or another type). No allocation.
    pub fn codes(&self, _ordinal: usize, _item: u32) -> &[u32] {
        todo!()
    }
    /// The dictionary code of a keyword, if any item has it.
    pub fn code(&self, _ordinal: usize, _keyword: &str) -> Option<u32> {
        todo!()
    }
    /// The keyword of a dictionary code.
    pub fn keyword(&self, _ordinal: usize, _code: u32) -> Option<&str> {
        todo!()
    }
    /// All of an item's attributes as the API's object (missing ones left out).
    pub fn to_json(&self, _item: u32) -> serde_json::Map<String, serde_json::Value> {
        todo!()
    }
    /// Checks every value and dictionary (codes in range, lists in range, floats finite, bools 0 to 2).
    pub fn verify(&self) -> Result<(), ColumnsError> {
        todo!()
    }
}

/// Collects rows in item order.
#[derive(Debug)]
pub struct ColumnsBuilder {}

impl ColumnsBuilder {
    /// Appends one item's values, by ordinal; the schema's defaults are applied here.
    pub fn push(&mut self, _row: &[Option<Value>]) -> Result<(), ColumnsError> {
        todo!()
    }
    /// The columns; exactly `items` rows must have come.
    pub fn finish(self) -> Result<Columns, ColumnsError> {
        todo!()
    }
}
