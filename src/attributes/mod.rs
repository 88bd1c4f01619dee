//! Typed attributes of items, and the filter language over them.

mod bitset;
mod cache;
mod columns;
mod filter;
mod inference;
mod schema;
mod strings;
mod time;
mod value;

pub use bitset::Bitset;
pub use cache::{Cache, CacheKey};
pub use columns::{Cell, ColumnPart, Columns, ColumnsBuilder, ColumnsError};
pub use filter::{Filter, FilterContext, FilterError, ItemFacts, TestSets};
pub use inference::Inference;
pub use schema::{AttributeSchema, AttributeSpec, AttributeType};
pub use strings::StringTable;
pub use time::{format_time, parse_duration, parse_time};
pub use value::Value;
