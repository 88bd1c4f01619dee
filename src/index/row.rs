//! A vector as it is stored: checked, and converted to the schema's element type.

use super::query::{self, QueryError};
use super::schema::Schema;
use crate::vector::{Element, ElementError, Metric};

/// Buffers of conversions.
#[derive(Debug, Default)]
pub(super) struct RowBuffers {
    pub numbers: Vec<f32>,
    /// The stored row.
    pub stored: Vec<u8>,
}

impl RowBuffers {
    /// Makes the stored row of numbers that are in `numbers`; they become what was stored. Returns their length.
    ///
    /// Floats round; integers must be whole and in range, but under cosine, where length does not matter, a vector that
    /// is not is stretched so that its largest number is 127.
    pub fn store(&mut self, schema: &Schema) -> Result<f64, String> {
        let RowBuffers { numbers, stored } = self;
        query::check(numbers, schema.dimension, schema.metric).map_err(plain)?;
        stored.clear();
        let mut encoded = schema.element.encode(numbers, stored);
        if encoded.is_err() && (schema.metric, schema.element) == (Metric::Cosine, Element::I8) {
            to_signed_bytes(numbers);
            stored.clear();
            encoded = schema.element.encode(numbers, stored);
        }
        encoded.map_err(|error: ElementError| error.to_string())?;
        numbers.clear();
        schema.element.decode(stored, numbers);
        query::check(numbers, schema.dimension, schema.metric)
            .map_err(|error| format!("as {}: {}", schema.element, plain(error)))
    }
}

/// What is wrong with an input vector, in words that do not speak of a query.
fn plain(error: QueryError) -> String {
    match error {
        QueryError::Zero => {
            "a zero vector (or one shorter than 1e-18) has no direction, which metric cosine needs".into()
        }
        other => other.to_string(),
    }
}

/// Stretches a vector so that its largest number is 127 and rounds; under cosine the length does not matter.
fn to_signed_bytes(numbers: &mut [f32]) {
    let largest = numbers.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    for value in numbers {
        *value = (*value / largest * 127.0).round();
    }
}
