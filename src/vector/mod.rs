//! Vectors: metrics, element types, kernels and codes.
//!
//! A vector is kept as it was given ([`Element`]) for exact scores, and as a *code* ([`Codec`]) that the graph walk
//! compares: fewer bytes, so fewer cache misses. [`kernel`] holds the arithmetic, chosen once an index.

mod code;
mod codes;
mod element;
pub mod kernel;
mod metric;
mod probe;
mod rotate;
mod train;

pub use code::{CodeKind, Codec};
pub use codes::Codes;
pub use element::{Element, ElementError};
pub use kernel::{Backend, Kernel, Operation, Rows};
pub use metric::Metric;
pub use train::{LEAST_STEP, STRETCH, bound, length, lengths, sample_size};
