//! The library's own files as far as the index, without the server above them: what Miri can run, and what it must compile
//! first is little. `tests/miri` runs their tests.

#[path = "../../../src/arena/mod.rs"]
pub mod arena;
#[path = "../../../src/attributes/mod.rs"]
pub mod attributes;
#[path = "../../../src/deadline.rs"]
mod deadline;
#[path = "../../../src/file/mod.rs"]
pub mod file;
#[path = "../../../src/graph/mod.rs"]
pub mod graph;
#[path = "../../../src/index/mod.rs"]
pub mod index;
#[path = "../../../src/priority.rs"]
mod priority;
#[path = "../../../src/vector/mod.rs"]
pub mod vector;
