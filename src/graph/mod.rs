//! HNSW over node numbers (Malkov and Yashunin 2018): search, insert, prune, reachability. No ids, no files.
//!
//! A graph is four flat arrays, the same when building, mapped from a file, and serving:
//!
//! - `links`: level 0, `2 * m` u32 a node; neighbours, then [`NONE`] to the end of the row
//! - `levels`: u8 a node, its highest level
//! - `upper_start`: u32 a node, its first row in `upper` (meaningless at level 0)
//! - `upper`: `m` u32 a row; a node of level L owns L rows, for levels 1 to L
//!
//! Links are read and written atomically, one u32 at a time: a reader beside a writer may see a row half changed,
//! which costs it nothing but a neighbour. It follows no id at or beyond the number of nodes.
//!
//! | file | does |
//! |---|---|
//! | `links` | the arrays and their rows |
//! | `pool` | the sorted candidates of one walk, and the set of visited nodes |
//! | `search` | greedy descent and the walk of one level, plain and filtered |
//! | `build` | levels, insertion in parallel, neighbour selection on links and back-links |
//! | `reach` | which nodes a walk can reach, and links for those it cannot |

mod build;
mod links;
mod pool;
mod reach;
mod search;
#[cfg(test)]
mod tests;

pub use build::{BuildParams, build};
pub use links::{Graph, GraphError, GraphParts, NONE};
pub use reach::{Degrees, Reach, reach, repair};
pub use search::{Allowed, Scratch, WalkStats};

/// Nodes are numbered below this; the top bit of a u32 stays free.
pub const MAX_NODES: usize = 1 << 31;
