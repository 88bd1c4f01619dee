//! Shortlist: the candidate-generation stage of a recommender.
//!
//! Millions of items in, a few hundred good candidates out. This page is the map of the house; a module imports
//! only from modules with a lower number (`tests/tidy.rs` reads the imports and checks it).
//!
//! | layer | module | owns |
//! |---|---|---|
//! | 1 | [`arena`] | memory: reserve, map, grow; with the kernels, the only unsafe code |
//! | 1 | [`deadline`] | when work ends with what it has by then |
//! | 1 | `priority` | threads that step back behind those that search |
//! | 1 | [`vector`] | metrics, element types, SIMD kernels (chosen once an index), quantiser codes |
//! | 2 | [`graph`] | HNSW over node numbers: search, insert, prune, reachability. No ids, no files |
//! | 2 | [`attributes`] | typed columns, dictionaries, bitsets; the filter language and its evaluation |
//! | 3 | [`mod@file`] | the index file: header, sections, checksums, writing, opening; `format.md` is its page |
//! | 3 | [`log`] | the change log: records, segments, sync groups, replay; `format.md` is its page |
//! | 4 | [`index`] | one index: ids, vectors, graph and attributes together; build, open, search, change |
//! | 5 | [`rank`] | profiles: score, rules, pins, exploration, diversity. Sees candidates and attributes, nothing of graphs |
//! | 5 | [`eval`] | exact ground truth, recall, latency curves; relevance, exposure, intervals |
//! | 6 | [`collection`] | an index, its log and checkpoints; a search request from query to ranked answer; the data directory |
//! | 7 | [`server`] | HTTP: routes, errors, keys, limits, metrics. axum and tokio appear only here |
//!
//! Data goes one way: `vectors -> graph -> index -> file` when building,
//! `query -> filter -> candidates -> rank -> answer` when serving.

pub mod arena;
pub mod attributes;
pub mod collection;
pub mod deadline;
pub mod eval;
pub mod file;
pub mod graph;
pub mod index;
pub mod log;
mod priority;
pub mod rank;
pub mod server;
pub mod vector;
