//! How two vectors are compared, and the sign convention of each number that leaves this crate.
//!
//! *Similarity* is what users see, higher is better: cosine, inner product, or minus the squared Euclidean
//! distance. *Distance* is what the graph sorts by, lower is better: minus the similarity.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The comparison of two vectors, fixed when a collection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Inner product of the normalised vectors, in [-1, 1]. A zero vector is an error.
    Cosine,
    /// Inner product as it is, unnormalised.
    Dot,
    /// Squared Euclidean distance; its similarity is minus that.
    L2,
}

impl Metric {
    /// All metrics, in the order of their codes in the index file.
    pub const ALL: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::L2];

    /// The name used in schemas and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Cosine => "cosine",
            Metric::Dot => "dot",
            Metric::L2 => "l2",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Metric::ALL
            .into_iter()
            .find(|metric| metric.name() == text)
            .ok_or_else(|| format!("metric {text:?} is not one of cosine, dot, l2"))
    }
}
