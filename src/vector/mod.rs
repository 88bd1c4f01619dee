//! Vectors: metrics, element types, kernels and codes.

mod element;
mod metric;

pub use element::Element;
pub use metric::Metric;
