//! Collecting rows into columns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::{Column, Columns, ColumnsError};
use crate::attributes::{AttributeSchema, Value};

/// Collects rows in item order.
#[derive(Debug)]
pub struct ColumnsBuilder {
    schema: Arc<AttributeSchema>,
    items: usize,
    rows: usize,
    columns: Vec<Column>,
    /// By ordinal: where a list of codes with this hash stands.
    shared: Vec<HashMap<u64, u32>>,
}

impl ColumnsBuilder {
    pub(super) fn new(schema: &AttributeSchema, items: usize, seed: u64) -> Result<Self, ColumnsError> {
        let columns = schema.iter().map(|(name, spec)| {
            Column::new(spec.kind, items, seed).map_err(|error| ColumnsError::new(name, error))
        });
        Ok(ColumnsBuilder {
            schema: Arc::new(schema.clone()),
            items,
            rows: 0,
            columns: columns.collect::<Result<_, _>>()?,
            shared: vec![HashMap::new(); schema.len()],
        })
    }

    /// Appends one item's values, by ordinal; the schema's defaults are applied here. After an error the builder is
    /// of no more use.
    pub fn push(&mut self, row: &[Option<Value>]) -> Result<(), ColumnsError> {
        self.append(row, true)
    }

    /// As `push`, of an item whose missing values are meant to be missing.
    pub fn push_as_is(&mut self, row: &[Option<Value>]) -> Result<(), ColumnsError> {
        self.append(row, false)
    }

    fn append(&mut self, row: &[Option<Value>], defaults: bool) -> Result<(), ColumnsError> {
        if row.len() != self.columns.len() {
            let reason =
                format!("row {} has {} values for {} attributes", self.rows, row.len(), self.columns.len());
            return Err(ColumnsError::new("", reason));
        }
        if self.rows == self.items {
            return Err(ColumnsError::new("", format!("more rows than the {} items announced", self.items)));
        }
        let schema = Arc::clone(&self.schema);
        let columns = self.columns.iter().zip(&mut self.shared);
        for (((name, spec), value), (column, shared)) in schema.iter().zip(row).zip(columns) {
            let value = value.as_ref().or(spec.default.as_ref().filter(|_| defaults));
            column
                .push(value, shared)
                .map_err(|reason| ColumnsError::new(name, format!("item {}: {reason}", self.rows)))?;
        }
        self.rows += 1;
        Ok(())
    }

    /// The columns; exactly `items` rows must have come.
    pub fn finish(self) -> Result<Columns, ColumnsError> {
        if self.rows != self.items {
            return Err(ColumnsError::new("", format!("{} rows came for {} items", self.rows, self.items)));
        }
        let shared = Mutex::new(self.shared);
        Ok(Columns { schema: self.schema, columns: self.columns, shared })
    }
}
