//! Collecting rows into columns.

use std::collections::HashMap;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::{Column, Columns, ColumnsError};
use crate::arena::Array;
use crate::attributes::strings::append;
use crate::attributes::{AttributeSchema, Value, time};

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
        if row.len() != self.columns.len() {
            let reason =
                format!("row {} has {} values for {} attributes", self.rows, row.len(), self.columns.len());
            return Err(ColumnsError::new("", reason));
        }
        if self.rows == self.items {
            return Err(ColumnsError::new("", format!("more rows than the {} items announced", self.items)));
        }
        let schema = Arc::clone(&self.schema);
        let columns = self.columns.iter_mut().zip(&mut self.shared);
        for (((name, spec), value), (column, shared)) in schema.iter().zip(row).zip(columns) {
            let value = value.as_ref().or(spec.default.as_ref());
            push(column, shared, value)
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
        Ok(Columns { schema: self.schema, items: self.items, columns: self.columns })
    }
}

fn push(column: &mut Column, shared: &mut HashMap<u64, u32>, value: Option<&Value>) -> Result<(), String> {
    let value = match value {
        None => return column.push_missing().map_err(|error| error.to_string()),
        Some(Value::Keywords(list)) if list.is_empty() => {
            return column.push_missing().map_err(|error| error.to_string());
        }
        Some(value) => value,
    };
    let pushed = match (column, value) {
        (Column::Keyword { codes, dictionary }, Value::Keyword(keyword)) => {
            let code = Column::intern(dictionary, keyword)?;
            append(codes, &[code])
        }
        (Column::Keywords { places, lists, dictionary }, Value::Keywords(list)) => {
            let codes = list.iter().map(|keyword| Column::intern(dictionary, keyword));
            let place = place_of(lists, shared, &codes.collect::<Result<Vec<_>, _>>()?)?;
            append(places, &[place])
        }
        (Column::Int(values), Value::Int(number)) if *number != Column::NO_INT => append(values, &[*number]),
        (Column::Float(values), Value::Float(number)) if number.is_finite() => append(values, &[*number]),
        (Column::Bool(values), Value::Bool(flag)) => append(values, &[1 + u8::from(*flag)]),
        (Column::Time(values), Value::Time(millis)) if time::in_range(*millis) => append(values, &[*millis]),
        (_, other) => return Err(format!("the attribute cannot hold {other:?}")),
    };
    pushed.map_err(|error| error.to_string())
}

/// 1 + the position of these codes in `lists`, where they are appended unless an equal list is known.
fn place_of(lists: &mut Array<u32>, shared: &mut HashMap<u64, u32>, codes: &[u32]) -> Result<u32, String> {
    let hash = xxh3_64(bytemuck::cast_slice(codes));
    if let Some(place) = shared.get(&hash) {
        let start = *place as usize;
        if lists.get(start..start + codes.len()) == Some(codes) && lists[start - 1] as usize == codes.len() {
            return Ok(*place);
        }
    }
    let place = u32::try_from(lists.len() + 1).map_err(|_| "the lists outgrow 2^32 words".to_owned())?;
    let words = [&[codes.len() as u32], codes].concat();
    append(lists, &words).map_err(|error| error.to_string())?;
    shared.insert(hash, place);
    Ok(place)
}
