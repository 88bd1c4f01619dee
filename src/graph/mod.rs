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
//! | `search` | greedy descent and the walk of one level |
//! | `growth` | how the number of nodes grows with the distance, so that an easy query ends sooner than a hard one |
//! | `filtered` | walks that find only nodes that pass |
//! | `build` | levels, insertion of all nodes in parallel |
//! | `link` | one node's neighbours: their selection, links and back-links |
//! | `sweep` | links around nodes that are gone |
//! | `reach` | which nodes a walk can reach, and links for those it cannot |
//! | `snapshot` | the rows as they were at one moment, while they change |

mod build;
mod filtered;
mod growth;
mod link;
mod links;
mod pool;
mod reach;
mod search;
mod snapshot;
mod sweep;
#[cfg(test)]
mod tests;

pub use build::{BuildParams, build};
pub use filtered::{Filtered, Passing, Way};
pub use growth::growth;
pub use link::{Linker, Work};
pub use links::{Graph, GraphError, GraphParts, NONE, upper_rows};
pub(crate) use pool::ordered;
pub use reach::{Degrees, Reach, reach, repair};
pub use search::{Scratch, WalkStats};
pub use snapshot::Snapshot;
pub use sweep::{Swept, sweep};

/// Nodes are numbered below this; the top bit of a u32 stays free.
pub const MAX_NODES: usize = 1 << 31;
